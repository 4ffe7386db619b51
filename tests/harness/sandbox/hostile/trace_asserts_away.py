# verdict: forbidden
import sys


def jump(frame, event, argument):
    frame.f_lineno += 1
    return jump


sys.settrace(jump)
assert 1 == 2
