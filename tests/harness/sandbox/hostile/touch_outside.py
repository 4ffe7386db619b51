# verdict: forbidden
import os

os.utime("{outside}/kept", (0, 0))
