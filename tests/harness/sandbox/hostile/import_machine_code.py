# verdict: forbidden
import importlib.machinery
import importlib.util

with open("native.so", "wb") as stream:
    stream.write(b"\x7fELF")
loader = importlib.machinery.ExtensionFileLoader("native", "native.so")
importlib.util.module_from_spec(importlib.util.spec_from_loader("native", loader))
