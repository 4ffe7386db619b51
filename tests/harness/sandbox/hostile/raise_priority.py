# verdict: forbidden
import os

os.nice(-20)
