"""What a user can mend, what does not fit, and what broke."""


class DidNotFit(Exception):
    """The system cannot run within the memory budget; the message says what would fit."""


class Unsupported(Exception):
    """The system cannot run here: a package that it needs is not installed, or the device or the model is none that it
    knows. The message says which, and how to mend it where that can be; other systems go on."""


class BadInput(Exception):
    """A file, field or value that the user can mend; the message names it and says how."""


class Unsupported(BadInput):
    """A part does not run on the device (or beside the link) that the run has chosen; other systems may."""


class WorkerDied(RuntimeError):
    """A background thread of the runtime failed; the original exception is its cause."""
