# verdict: forbidden
# needs: seccomp
# Neither call tells an audit hook.
import os
import signal

signal.pidfd_send_signal(os.pidfd_open(os.getppid()), signal.SIGKILL)
