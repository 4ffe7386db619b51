# verdict: forbidden
import os


class Path(str):
    def __str__(self):
        return "harmless"

    __fspath__ = __str__


os.rename(Path("{outside}/kept"), Path("{outside}/mark"))
