# verdict: forbidden
import sys

frame = sys._getframe()
while frame.f_back is not None:
    frame = frame.f_back
    for value in frame.f_globals.values():
        if callable(value) and hasattr(value, "__code__"):
            value.__code__ = (lambda *arguments: None).__code__
