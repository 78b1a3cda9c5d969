"""The include rules of the project: what each part may know of the others.

Usage: python scripts/check_includes.py [ROOT]. Prints file:line: reason; exits with 1 if any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# What each folder of csrc may include of csrc.
LAYERS = {
    "core": {"core"},
    "algorithms": {"core", "algorithms"},
    "entropic": {"core", "algorithms", "entropic"},
    "sparse": {"core", "algorithms", "entropic", "sparse"},
    "cpu": {"core", "algorithms", "entropic", "sparse", "cpu"},
    "cuda": {"core", "algorithms", "entropic", "sparse", "cuda"},
    "bindings": {"core", "algorithms", "entropic", "sparse", "cpu", "cuda", "bindings"},
}
SOLVERS = {"algorithms", "entropic", "sparse"}
PYTHON = re.compile(r"pybind11/|Python\.h$|numpy/")
CUDA = re.compile(r"cuda|cub/|thrust/|cooperative_groups|cccl|nv/")
DEVICE = re.compile(r"CUDA|NVCC|__HIP|__AVX|__SSE|__x86|__ARM|__aarch64|OT_HAS|OT_LEVEL|OT_HD")
# Compiled once per instruction set: a shared inline of the standard library could be the copy for
# the highest one that the linker keeps.
KERNEL = re.compile(r"kernels\.(cpp|hpp)$|-inl\.hpp$")
FOR_KERNELS = re.compile(KERNEL.pattern + r"|^core/types\.hpp$|^immintrin\.h$")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"\s*#\s*(?:if|ifdef|ifndef|elif|elifdef|elifndef)\b(.*)")

DEVICE_LIBRARIES = {"cupy", "torch", "jax"}
LAYERS_OF = {
    "torch.py": "torch",
    "jax.py": "jax",
}  # modules that exist for one library, never imported by others
EXTENSIONS = {"_core", "_cuda"}
EXITS = {"exit", "quit", "sys.exit", "os._exit", "os.abort"}
APPLICATIONS = {"__main__.py", "_demo.py"}

Finding = tuple[int, str]


def check_cpp(path: Path, layer: str) -> Iterator[Finding]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if layer in SOLVERS and (found := CONDITION.match(line)) and DEVICE.search(found[1]):
            yield number, "solvers hold no #if for a device"
        if not (found := INCLUDE.match(line)):
            continue
        local, name = found[1] == '"', found[2]
        target = name.split("/")[0]
        if local and target not in LAYERS:
            yield number, f'"{name}" must be named from csrc, as "core/types.hpp" is'
        elif local and target not in LAYERS[layer]:
            yield number, f"{layer} must not include {target}"
        elif PYTHON.match(name) and layer != "bindings":
            yield number, "only bindings includes Python"
        elif not local and CUDA.match(name) and layer not in ("cuda", "bindings"):
            yield number, "only cuda and bindings include CUDA headers"
        elif layer == "cpu" and KERNEL.search(path.name) and not FOR_KERNELS.search(name):
            yield number, "kernel files include no standard library, directly or through others"


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(node: ast.AST) -> list[str]:
    """Dotted names that a node imports, relative ones without their dots."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = f"{node.module}." if node.module else ""
        return [base + alias.name for alias in node.names]
    dynamic = ("importlib.import_module", "import_module", "__import__")
    if isinstance(node, ast.Call) and dotted(node.func) in dynamic and node.args:
        name = node.args[0]
        return [str(name.value).lstrip(".")] if isinstance(name, ast.Constant) else []
    return []


def check_python(path: Path) -> Iterator[Finding]:
    tree = ast.parse(path.read_text())
    at_import = {id(node) for node in module_level(tree)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in imported(node):
            first = name.split(".")[0]
            if first == LAYERS_OF.get(path.name):
                continue
            if first in DEVICE_LIBRARIES and path.name != "_arrays.py":
                yield line, f"only _arrays.py imports {first}"
            elif first in DEVICE_LIBRARIES and id(node) in at_import:
                yield line, f"{first} must be imported where it is used, not at import"
            inner = name.removeprefix("ot_fast.").split(".")[0]
            if inner in EXTENSIONS and path.name != "_backends.py":
                yield line, f"only _backends.py imports {inner}"
            if first in ("tests", "benchmarks"):
                yield line, f"the library must not import {first}"
        if isinstance(node, ast.Call) and path.name not in APPLICATIONS:
            called = dotted(node.func)
            if called in ("print", "sys.stdout.write", "sys.stderr.write"):
                yield line, "the library must not print"
            if called in EXITS:
                yield line, "the library must not exit"


def module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes outside any function: what runs on import."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from module_level(child)


def findings(root: Path) -> Iterator[str]:
    for path in sorted((root / "csrc").glob("*/**/*")):
        if path.suffix not in (".hpp", ".cpp", ".cuh", ".cu", ".h"):
            continue
        where = path.relative_to(root)
        layer = where.parts[1]
        if layer not in LAYERS:
            yield f"{where}:1: {layer} is no folder of the design: {', '.join(LAYERS)}"
            continue
        yield from (f"{where}:{line}: {reason}" for line, reason in check_cpp(path, layer))
    for path in sorted((root / "ot_fast").rglob("*.py*")):
        if path.suffix in (".py", ".pyi"):
            where = path.relative_to(root)
            yield from (f"{where}:{line}: {reason}" for line, reason in check_python(path))


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    found = list(findings(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
