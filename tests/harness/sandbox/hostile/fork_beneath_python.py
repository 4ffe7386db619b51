# verdict: forbidden
# needs: seccomp
# This way of starting a process tells no audit hook.
import _posixsubprocess
import os

nothing = os.open("/dev/null", os.O_RDWR)
_posixsubprocess.fork_exec(
    [b"/bin/sleep", b"1000"], [b"/bin/sleep"], True, (), None, None,
    -1, -1, -1, -1, -1, -1, *os.pipe(), False, True, -1, None, None, None, -1, None, False,
)  # fmt: skip
