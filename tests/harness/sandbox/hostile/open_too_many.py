# verdict: crashed
streams = []
while True:
    streams.append(open("one", "w"))
