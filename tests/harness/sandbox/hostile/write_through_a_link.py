# verdict: forbidden
import os

os.symlink("{outside}/mark", "link")
with open("link", "w") as stream:
    stream.write("here")
