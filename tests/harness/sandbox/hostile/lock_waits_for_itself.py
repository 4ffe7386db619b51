# verdict: timed_out
# wall: 1
import threading

lock = threading.Lock()
lock.acquire()
lock.acquire()
