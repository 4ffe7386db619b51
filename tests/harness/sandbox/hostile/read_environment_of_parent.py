# verdict: forbidden
import os

with open(f"/proc/{os.getppid()}/environ", "rb") as stream:
    assert stream.read()
