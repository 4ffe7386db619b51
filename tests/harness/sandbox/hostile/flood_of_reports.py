# verdict: crashed
import os

while True:
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, b"passed" * 100)
        except OSError:
            continue
