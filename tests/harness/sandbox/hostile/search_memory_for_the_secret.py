# verdict: forbidden
with open("/proc/self/mem", "rb") as stream:
    stream.seek(1 << 20)
