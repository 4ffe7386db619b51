# verdict: crashed
import sys

sys.setrecursionlimit(1 << 30)


class Deep:
    def __repr__(self):
        return repr(Deep())


repr(Deep())
