# verdict: forbidden
with open("{outside}/mark", "w") as stream:
    stream.write("here")
