# verdict: forbidden
import gc

assert [thing for thing in gc.get_objects() if type(thing).__name__ == "partial"]
