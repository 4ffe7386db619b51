# verdict: forbidden
import os

os.remove("{outside}/kept")
