# verdict: timed_out
# One call of C that never looks for signals.
len(str(9 ** (9**8)))
