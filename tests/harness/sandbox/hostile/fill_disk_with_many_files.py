# verdict: crashed
# needs: namespaces
for number in range(100_000):
    with open(f"file{number}", "wb") as stream:
        stream.write(bytes(4096))
