# verdict: timed_out
import re

re.match(r"(a|a)*b", "a" * 64)
