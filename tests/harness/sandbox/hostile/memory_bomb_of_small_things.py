# verdict: crashed
# cpu: 10
things = []
while True:
    things.append([len(things)] * 4096)
