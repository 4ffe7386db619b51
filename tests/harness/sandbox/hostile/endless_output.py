# verdict: crashed
while True:
    print("x" * 4096)
