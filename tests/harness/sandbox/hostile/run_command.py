# verdict: forbidden
import subprocess

subprocess.run(["/bin/sh", "-c", "sleep 1000 &"], check=False)
