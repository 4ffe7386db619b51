# verdict: crashed
with open("large", "wb") as stream:
    while True:
        stream.write(bytes(1 << 20))
