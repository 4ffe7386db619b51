"""What a user can mend, what does not fit, and what broke."""


class DidNotFit(Exception):
    """The system cannot run within the memory budget; the message says what would fit."""


class BadInput(Exception):
    """A file, field or value that the user can mend; the message names it and says how."""


class Unsupported(BadInput):
    """The system cannot run here: a package that it needs is not installed, or the device, link or model is none
    that a part of it knows. The message says which, and how to mend it where that can be; other systems go on."""


class WorkerDied(RuntimeError):
    """A background thread of the runtime failed; the original exception is its cause."""
