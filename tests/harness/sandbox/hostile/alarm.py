# verdict: crashed
import signal

signal.setitimer(signal.ITIMER_REAL, 0.01)
while True:
    signal.pause()
