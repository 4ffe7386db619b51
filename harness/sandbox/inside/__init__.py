"""What runs inside the sandbox, on the bare standard library: `python -I -S`, with this package alone on its path.

Nothing here may import anything of the project, nor modules that are slow to load.
"""
