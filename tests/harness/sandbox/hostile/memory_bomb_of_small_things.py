# verdict: crashed
things = []
while True:
    things.append([len(things)] * 4096)
