# verdict: failed
import builtins


class Quiet(Exception):
    pass


builtins.AssertionError = Quiet
try:
    assert 1 == 2
except Quiet:
    pass
