"""Replays at five times the speed: a copy of `systems` whose busiest modules are compiled with mypyc.

    python -m harness compiled    # needs a C compiler; one to three minutes
    PYTHONPATH=build/compiled python -P -m harness grid replay=traces/bench

The copy gives the same numbers and stays as it is when the sources change. Without that `PYTHONPATH` nothing uses it.
"""

from __future__ import annotations

import ast
import shutil
from contextlib import chdir
from pathlib import Path

from rich.console import Console

from harness.records.provenance import CODE

TARGET = CODE / "build" / "compiled"
# Interpreted classes cannot extend compiled ones: policies are compiled all together, new ones with them.
MODULES = {
    "cache": ("*",),
    "contract": ("meter", "traffic"),
    "methods/adapmoe": ("adaptive_layers", "allocation", "next_gate"),
    "methods/arbiter": ("admission", "arbitration", "stopwatch", "value"),
    "methods/cascade": ("governor",),
    "methods/moe_infinity": ("*",),
    "methods/moe_spac": ("*",),
    "methods/moe_speq": ("governor", "lookahead"),
    "methods/oracle": ("belady", "course", "foresight", "schedules", "scheduled_placement"),
    "methods/sp_moe": ("chosen_by_replay", "cutoff", "warm_up"),
    "methods/spec_moe": ("affinity", "pregated", "repinning"),
    "methods/spec_moe_off": ("streaming",),
    "policies": ("*",),
    "replay": ("loop", "routing"),
    "runtime": ("rows",),
    "store": ("slot_table", "slots"),
}
INTERPRETED = "part", "decoding_part", "plain_parts", "composition"
"""Modules of parts, whose options are read by their types; they compute nothing."""
CONFIG = """\
[mypy]
follow_imports = silent
ignore_missing_imports = true

[mypy-torch.*,transformers.*,safetensors.*]
follow_imports = skip
"""
"""Types are taken from all that is imported; torch's take minutes to read, and nothing compiled here uses them."""


def main() -> int:
    """Compile into `TARGET`; what the compilers say goes to the terminal."""
    compile_into(TARGET)
    Console().print(f"PYTHONPATH={TARGET.relative_to(CODE)} python -P -m harness grid", highlight=False)
    return 0


def compile_into(target: Path) -> None:
    """Copy `systems` into a folder, in place of all it held, and compile there.

    Raises:
        SystemExit: mypyc or the C compiler fails, and has said why.
    """
    from mypyc.build import mypycify
    from setuptools import setup

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(CODE / "systems", target / "systems", ignore=shutil.ignore_patterns("__pycache__"))
    folder = target / "systems"
    modules = [
        path
        for package, names in MODULES.items()
        for name in names
        for path in folder.glob(f"{package}/{name}.py")
        if path.stem not in INTERPRETED
    ]
    for module in modules:
        module.write_text(_with_interpreted_parts(module.read_text(encoding="utf-8")), encoding="utf-8")
    with chdir(target):
        Path("mypy.ini").write_text(CONFIG, encoding="utf-8")
        extensions = mypycify(
            ["--config-file=mypy.ini", *(str(module.relative_to(target)) for module in modules)], debug_level="0"
        )
        for extension in extensions:  # nobody links against it: its functions may be inlined
            extension.extra_compile_args.append("-fno-semantic-interposition")
        setup(packages=[], ext_modules=extensions, script_args=["--quiet", "build_ext", "--inplace"])


def _with_interpreted_parts(source: str) -> str:
    """Hide parts that share a file with their policy from mypyc, which would lose the types of their options."""
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.ClassDef) and any(
            isinstance(b, ast.Name) and b.id.endswith("Part") for b in node.bases
        ):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
            text = "\n".join(["from __future__ import annotations", *lines[first : node.end_lineno]])
            lines[first : node.end_lineno] = [f"exec({text!r}, globals())"]
    return "\n".join(lines) + "\n"
