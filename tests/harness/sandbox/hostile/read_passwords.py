# verdict: forbidden
with open("/etc/passwd") as stream:
    assert stream.read()
