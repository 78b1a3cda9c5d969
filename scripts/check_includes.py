"""The include rules of the project: what each part may know of the others.

Usage: python scripts/check_includes.py [ROOT]. Prints file:line: reason; exits with 1 if any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# A family of problems, and the families whose solvers it builds on.
FAMILIES: dict[str, set[str]] = {
    "assignment": set(),
    "entropic": set(),
    "exact": {"entropic"},
    "flow": set(),
    "one_dimension": set(),
    "sparse": {"entropic"},
}
SHARED = {"core", "algorithms"}
MACHINES = {"cpu", "cuda"}
# What each folder of csrc may include of csrc.
LAYERS = (
    {"core": {"core"}, "algorithms": SHARED}
    | {family: SHARED | below | {family} for family, below in FAMILIES.items()}
    | {machine: SHARED | {machine, *FAMILIES} for machine in MACHINES}
    | {"bindings": {"core", "bindings", *MACHINES, *FAMILIES}}
)
SOLVERS = {"algorithms", *FAMILIES}
# What is seen of a family outside it: options and results with the solvers by name, and for a
# machine their bodies to instantiate, among them those that the machine's own compiler makes.
NAMES = {"options.hpp", "solvers.hpp"}
BODIES = NAMES | {"solvers-inl.hpp", "entropic_start.hpp"}
# What a family asks of a machine beside core/backend.hpp.
SEAM = {"backend.hpp", "line_view.hpp", "host_lines.hpp"}
PYTHON = re.compile(r"pybind11/|Python\.h$|numpy/")
CUDA = re.compile(r"cuda|cub/|thrust/|cooperative_groups|cccl|nv/")
DEVICE = re.compile(r"CUDA|NVCC|__HIP|__AVX|__SSE|__x86|__ARM|__aarch64|OT_HAS|OT_LEVEL|OT_HD")
# Compiled once per instruction set: a shared inline of the standard library could be the copy for
# the highest one that the linker keeps. Beside the kernels, what they include.
KERNEL = re.compile(r"^cpu/(kernels[./]|.*-inl\.hpp$)|^core/types\.hpp$|^sparse/line_view\.hpp$")
FOR_KERNELS = re.compile(rf"{KERNEL.pattern}|^(immintrin\.h|cstddef|cstdint)$")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"\s*#\s*(?:if|ifdef|ifndef|elif|elifdef|elifndef)\b(.*)")

DEVICE_LIBRARIES = {"cupy", "torch", "jax", "numba"}
EXTENSIONS = {"_core", "_cuda"}
EXITS = {"exit", "quit", "sys.exit", "os._exit", "os.abort"}
WRITES = {"print", "sys.stdout.write", "sys.stderr.write"}
APPLICATIONS = re.compile(r"^__main__\.py$|^_cli/")

# Every rule by name; tests/test_guards.py plants a violation of each.
RULES = {
    "folder": "{0} is no folder of the design: {1}",
    "path": '"{0}" must be named from csrc, as "core/types.hpp" is',
    "layer": "{0} must not include {1}",
    "names": "bindings see only {1} of a family, not {0}",
    "bodies": "{1} sees only the names, bodies and seam of a family, not {0}",
    "device": "solvers hold no #if for a device",
    "python": "only bindings includes Python",
    "cuda": "only cuda and bindings include CUDA headers",
    "kernel": "kernel files include no standard library, directly or through others",
    "library": "only {0}.py and _arrays/{0}.py import {0}",
    "extension": "only _backends.py imports {0}",
    "outside": "the library must not import {0}",
    "print": "the library must not print",
    "exit": "the library must not exit",
}

Finding = tuple[int, str, tuple[str, ...]]  # line, name of the rule, what its text says


def check_cpp(path: Path, within: str) -> Iterator[Finding]:
    """Findings in a file; `within` is its path in csrc."""
    layer = within.split("/")[0]
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if layer in SOLVERS and (found := CONDITION.match(line)) and DEVICE.search(found[1]):
            yield number, "device", ()
        if not (found := INCLUDE.match(line)):
            continue
        local, name = found[1] == '"', found[2]
        target, _, rest = name.partition("/")
        if local and target not in LAYERS:
            yield number, "path", (name,)
        elif local and target not in LAYERS[layer]:
            yield number, "layer", (layer, target)
        elif local and target in FAMILIES and layer == "bindings" and rest not in NAMES:
            yield number, "names", (name, " and ".join(sorted(NAMES)))
        elif local and target in FAMILIES and layer in MACHINES and rest not in BODIES | SEAM:
            yield number, "bodies", (name, layer)
        elif PYTHON.match(name) and layer != "bindings":
            yield number, "python", ()
        elif not local and CUDA.match(name) and layer not in ("cuda", "bindings"):
            yield number, "cuda", ()
        elif KERNEL.search(within) and not FOR_KERNELS.search(name):
            yield number, "kernel", ()


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


def check_python(path: Path, within: str) -> Iterator[Finding]:
    """Findings in a module; `within` is its path in the package."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in imported(node):
            first = name.split(".")[0]
            # The layers for a library and its arrays are in files of its name. Others import
            # neither it nor them: those of the arrays are imported with their first array.
            if first in DEVICE_LIBRARIES and within not in (f"{first}.py", f"_arrays/{first}.py"):
                yield line, "library", (first,)
            inner = name.removeprefix("ot_fast.").split(".")[0]
            if inner in EXTENSIONS and within != "_backends.py":
                yield line, "extension", (inner,)
            if first in ("tests", "benchmarks"):
                yield line, "outside", (first,)
        if isinstance(node, ast.Call) and not APPLICATIONS.match(within):
            called = dotted(node.func)
            if called in WRITES:
                yield line, "print", ()
            if called in EXITS:
                yield line, "exit", ()


def findings(root: Path) -> Iterator[tuple[str, str]]:
    """The name of the rule broken, and file:line: reason."""
    csrc, package = root / "csrc", root / "ot_fast"
    found: list[tuple[Path, Finding]] = []
    for path in sorted(csrc.glob("*/**/*")):
        if path.suffix not in (".hpp", ".cpp", ".cuh", ".cu", ".h"):
            continue
        within = path.relative_to(csrc).as_posix()
        layer = within.split("/")[0]
        if layer in LAYERS:
            found += [(path, finding) for finding in check_cpp(path, within)]
        else:
            found.append((path, (1, "folder", (layer, ", ".join(LAYERS)))))
    for path in sorted(package.rglob("*.py*")):
        if path.suffix in (".py", ".pyi"):
            within = path.relative_to(package).as_posix()
            found += [(path, finding) for finding in check_python(path, within)]
    for path, (line, rule, words) in found:
        yield rule, f"{path.relative_to(root)}:{line}: {RULES[rule].format(*words)}"


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    found = list(findings(root))
    for _, text in found:
        print(text)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
