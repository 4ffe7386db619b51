# verdict: forbidden
import json

with open(json.__file__, "a") as stream:
    stream.write("raise SystemExit")
