# verdict: timed_out
# wall: 1
import time

time.sleep(10_000)
