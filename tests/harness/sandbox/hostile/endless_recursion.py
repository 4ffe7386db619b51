# verdict: failed
def deeper():
    return deeper()


deeper()
