# verdict: timed_out
import time

time.sleep(10_000)
