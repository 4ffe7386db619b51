# verdict: failed
input()
