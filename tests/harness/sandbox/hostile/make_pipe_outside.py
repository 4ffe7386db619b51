# verdict: forbidden
# needs: seccomp
# Making a pipe tells no audit hook.
import os

os.mkfifo("{outside}/mark")
