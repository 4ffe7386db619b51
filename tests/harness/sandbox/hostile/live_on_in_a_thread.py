# verdict: passed
# Its end was reached; that a thread goes on for ever must not outlive it.
import threading


def busy():
    while True:
        pass


threading.Thread(target=busy).start()
assert True
