# verdict: forbidden
import os

os.system("rm -rf {outside}")
