"""The house in numbers: files and lines per folder, arrows between folders, cycles, lengths, and the way of a run.

python -m tests.house    # prints them; `tests/test_architecture.py` holds the limits
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("harness", "systems", "models")


def files(*packages: str) -> list[Path]:
    """All Python files of the packages (all of `PACKAGES` by default)."""
    return [file for package in packages or PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def name_of(file: Path) -> str:
    """Dotted name of a module or package."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> Mapping[str, Path]:
    """Every module and package by its dotted name."""
    return {name_of(file): file for file in files()}


@cache
def tree(file: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(file.read_text())


def imported(file: Path, lazily: bool = True) -> Iterator[str]:
    """Modules of ours that a file imports; without those inside functions if not `lazily`."""
    for node in ast.walk(tree(file)) if lazily else _at_import(tree(file)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                name = name if name in modules() else node.module
                if name in modules():
                    yield name


def _at_import(module: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: neither functions nor what only a type checker reads."""
    for node in ast.iter_child_nodes(module):
        checking = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or checking:
            continue
        yield node
        yield from _at_import(node)


def room_of(module: str) -> str:
    """The folder of a module, two levels deep: `harness.records`, `systems.runtime`, or a package itself."""
    parts = module.split(".")
    if len(parts) == 1:
        return module
    folder = (ROOT / parts[0] / parts[1]).is_dir()
    return ".".join(parts[:2]) if folder else parts[0]


@cache
def arrows() -> Mapping[tuple[str, str], list[tuple[str, str]]]:
    """Between rooms: who imports whom, with the modules that do."""
    between: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for module, file in modules().items():
        for other in imported(file):
            ends = room_of(module), room_of(other)
            if ends[0] != ends[1]:
                between[ends].append((module, other))
    return between


def cycles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups of two or more nodes that reach each other."""
    reached = {node: _reach(graph, node) for node in graph}
    groups: list[set[str]] = []
    for node in graph:
        group = {other for other in reached[node] if node in reached.get(other, set())}
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups


def _reach(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen, todo = set[str](), [start]
    while todo:
        for following in graph.get(todo.pop(), set()):
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return seen


def room_graph(package: str) -> dict[str, set[str]]:
    """Arrows between the rooms of a package."""
    graph: dict[str, set[str]] = {room_of(name): set() for name in modules() if name.split(".")[0] == package}
    for a, b in arrows():
        if a in graph and b in graph:
            graph[a].add(b)
    return graph


def file_graph(lazily: bool = False) -> dict[str, set[str]]:
    """Arrows between files; by default of what runs at import."""
    return {name: set(imported(file, lazily)) for name, file in modules().items()}


def way(*starts: str) -> list[Path]:
    """Files that may be read on the way of a run: all that these modules import, lazily too."""
    graph = file_graph(lazily=True)
    names = set(starts).union(*(_reach(graph, start) for start in starts))
    return [modules()[name] for name in sorted(names)]


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    return (node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function."""
    return (node.end_lineno or 0) - node.lineno + 1


def lines(file: Path) -> int:
    """Lines of a file."""
    return len(file.read_text().splitlines())


def typed_share(package: str) -> float:
    """Share of functions whose parameters and result are all annotated."""
    told = [_is_typed(node) for file in files(package) for node in functions(file)]
    return sum(told) / len(told)


def _is_typed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    bare = [item for item in arguments if item.annotation is None and item.arg not in ("self", "cls")]
    return not bare and (node.returns is not None or node.name == "__init__")


def main() -> int:
    """Print the numbers."""
    write = sys.stdout.write
    for package in PACKAGES:
        sizes = [lines(file) for file in files(package)]
        longest = [length(node) for file in files(package) for node in functions(file)]
        write(
            f"{package}: {len(sizes)} files, {sum(sizes)} lines; "
            f"file median {median(sizes):.0f}, longest {max(sizes)}; "
            f"function median {median(longest):.0f}, longest {max(longest)}; typed {typed_share(package):.0%}\n"
        )
        graph = room_graph(package)
        write(f"  {len(graph)} rooms, {sum(map(len, graph.values()))} arrows, cycles: {cycles(graph) or 'none'}\n")
        counts = Counter(str(file.parent.relative_to(ROOT)) for file in files(package))
        write("  files per folder: " + ", ".join(f"{name} {count}" for name, count in counts.most_common(12)) + "\n")
    write(f"cycles of files at import: {cycles(file_graph()) or 'none'}\n")
    run = way("harness.__main__", "harness.commands.bench")
    write(f"reachable from `python -m harness bench`: {len(run)} files, {sum(map(lines, run))} lines\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
