# verdict: failed
import sys
import threading

sys.excepthook = threading.excepthook = sys.unraisablehook = print
assert 1 == 2
