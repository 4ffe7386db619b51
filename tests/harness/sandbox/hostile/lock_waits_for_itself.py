# verdict: timed_out
import threading

lock = threading.Lock()
lock.acquire()
lock.acquire()
