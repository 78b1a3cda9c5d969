"""The include rules: a planted violation of each is found, and the tree holds none. The C++ suite
calls every solver."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "check_includes.py"

if not SCRIPT.exists():
    pytest.skip("needs a source checkout", allow_module_level=True)
found = importlib.util.spec_from_file_location("check_includes", SCRIPT)
check_includes = importlib.util.module_from_spec(found)
found.loader.exec_module(check_includes)

PLANTED = [
    ("folder", "csrc/geometry/box.hpp", ""),
    ("path", "csrc/core/array.hpp", '#include "types.hpp"'),
    ("path", "csrc/cpu/backend.hpp", '#include "geometry/box.hpp"'),
    ("layer", "csrc/core/array.hpp", '#include "algorithms/anderson.hpp"'),
    ("layer", "csrc/core/array.hpp", '#  include  "cpu/backend.hpp"'),
    ("layer", "csrc/algorithms/anderson.hpp", '#include "entropic/options.hpp"'),
    ("layer", "csrc/algorithms/anderson.hpp", '#include "cpu/thread_pool.hpp"'),
    ("layer", "csrc/entropic/newton.hpp", '#include "sparse/options.hpp"'),
    ("layer", "csrc/entropic/newton.hpp", '#include "cuda/backend.hpp"'),
    ("layer", "csrc/sparse/deep/er.hpp", '#include "cpu/backend.hpp"'),
    ("layer", "csrc/cpu/backend.hpp", '#include "cuda/backend.hpp"'),
    ("layer", "csrc/cuda/backend.hpp", '#include "cpu/backend.hpp"'),
    ("layer", "csrc/cuda/gpu.cu", '#include "bindings/tensor.hpp"'),
    ("layer", "csrc/bindings/module_cpu.cpp", '#include "algorithms/anderson.hpp"'),
    ("names", "csrc/bindings/bind_entropic.hpp", '#include "entropic/newton.hpp"'),
    ("names", "csrc/bindings/bind_sparse.hpp", '#include "sparse/solvers-inl.hpp"'),
    ("bodies", "csrc/cpu/instantiate.cpp", '#include "entropic/newton.hpp"'),
    ("bodies", "csrc/cuda/instantiate.cu", '#include "sparse/line_dual.hpp"'),
    ("device", "csrc/entropic/newton.hpp", "#ifdef __CUDACC__"),
    ("device", "csrc/algorithms/anderson.hpp", "# if defined(__AVX512F__)"),
    ("device", "csrc/sparse/quadratic.hpp", "#elif __NVCC__"),
    ("python", "csrc/cpu/backend.hpp", "#include <pybind11/pybind11.h>"),
    ("python", "csrc/cuda/gpu.hpp", "#include <Python.h>"),
    ("cuda", "csrc/core/memory.hpp", "#include <cuda_runtime.h>"),
    ("cuda", "csrc/cpu/dispatch.cpp", "#include <cub/cub.cuh>"),
    ("kernel", "csrc/cpu/kernels.cpp", "#include <cmath>"),
    ("kernel", "csrc/cpu/simd-inl.hpp", "#include <algorithm>"),
    ("kernel", "csrc/cpu/kernels/block.hpp", "#include <algorithm>"),
    ("kernel", "csrc/core/types.hpp", "#include <vector>"),
    ("kernel", "csrc/sparse/line_view.hpp", '#include "core/array.hpp"'),
    ("kernel", "csrc/cpu/lines-inl.hpp", '#include "core/array.hpp"'),
    ("kernel", "csrc/cpu/kernels-inl.hpp", '#include "sparse/backend.hpp"'),
    ("kernel", "csrc/cpu/kernels-inl.hpp", '#include "sparse/solvers-inl.hpp"'),
    ("library", "ot_fast/entropic.py", "def f():\n    import torch"),
    ("library", "ot_fast/_problem.py", "import cupy"),
    ("library", "ot_fast/_arrays/torch.py", "def f():\n    from jax import numpy"),
    ("library", "ot_fast/_results/torch.py", "def f():\n    import torch"),
    ("library", "ot_fast/sub/torch.py", "import torch"),
    ("library", "ot_fast/entropic.py", 'import importlib\nimportlib.import_module("torch")'),
    ("library", "ot_fast/_arrays/place.py", "from .torch import Torch"),
    ("library", "ot_fast/_arrays/base.py", "class A:\n    from numba import cuda"),
    ("extension", "ot_fast/entropic.py", "from . import _core"),
    ("extension", "ot_fast/_problem.py", "from ot_fast._core import sinkhorn"),
    ("extension", "ot_fast/_problem.py", "import ot_fast._cuda"),
    ("outside", "ot_fast/entropic.py", "from tests import problems"),
    ("outside", "ot_fast/_cli/demo.py", "import benchmarks.cases"),
    ("print", "ot_fast/entropic.py", "print(1)"),
    ("print", "ot_fast/_results/base.py", "import sys\nsys.stderr.write('no')"),
    ("exit", "ot_fast/entropic.py", "import sys\nsys.exit(1)"),
    ("exit", "ot_fast/_arrays/torch.py", "def f():\n    exit()"),
]

ALLOWED = [
    ("csrc/core/array.hpp", '#include <vector>\n#include "core/types.hpp"\n#ifdef __linux__'),
    ("csrc/sparse/quadratic.hpp", '#include "entropic/newton.hpp"\n#include "algorithms/x.hpp"'),
    ("csrc/cpu/instantiate.cpp", '#include "entropic/solvers-inl.hpp"\n#include <cmath>'),
    ("csrc/cpu/simd-inl.hpp", '#include <immintrin.h>\n#include "core/types.hpp"\n#ifdef __AVX2__'),
    ("csrc/cpu/kernels.hpp", '#include "sparse/line_view.hpp"'),
    ("csrc/cpu/backend.hpp", '#include "sparse/backend.hpp"'),
    ("csrc/cuda/gpu.cu", "#include <cuda_runtime.h>"),
    ("csrc/bindings/module_cpu.cpp", '#include <Python.h>\n#include "sparse/solvers.hpp"'),
    ("ot_fast/_arrays/torch.py", "import torch"),
    ("ot_fast/torch.py", "import torch"),
    ("ot_fast/_backends.py", "from . import _core"),
    ("ot_fast/_cli/__init__.py", "import sys\nprint(1)\nsys.exit(0)"),
]


def plant(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True)
    path.write_text("\n" + text + "\n")


@pytest.mark.parametrize(("rule", "name", "text"), PLANTED)
def test_a_violation_is_found(tmp_path, rule, name, text):
    plant(tmp_path, name, text)
    (result,) = check_includes.findings(tmp_path)
    assert result[0] == rule
    assert result[1].startswith(f"{name}:")


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _, _ in PLANTED} == set(check_includes.RULES)


@pytest.mark.parametrize(("name", "text"), ALLOWED)
def test_what_is_allowed_is_not_a_finding(tmp_path, name, text):
    plant(tmp_path, name, text)
    assert list(check_includes.findings(tmp_path)) == []


def test_the_command_prints_findings_and_fails(tmp_path, run_python):
    plant(tmp_path, "ot_fast/entropic.py", "print(1)")
    done = run_python(args=[SCRIPT, tmp_path], check=False)
    assert done.returncode == 1
    assert done.stdout == "ot_fast/entropic.py:2: the library must not print\n"


def test_the_tree_holds_no_violation():
    assert list((ROOT / "csrc").glob("*/*.hpp"))
    assert [text for _, text in check_includes.findings(ROOT)] == []


def test_the_cpp_suite_calls_every_solver():
    suite = "".join(path.read_text() for path in (ROOT / "tests" / "cpp").glob("test_*.cpp"))
    headers = sorted((ROOT / "csrc").glob("*/solvers.hpp"))
    assert len(headers) >= 2
    for header in headers:
        text = header.read_text()
        names = re.findall(r"^struct (\w+Solvers) \{", text, re.M)
        prefix = rf"{names[0]}<[\w:]+>::" if names else ""  # those without a backend are functions
        functions = re.findall(r"^(?:  static|inline) \w+ (\w+)\(", text, re.M)
        assert functions, header
        for function in functions:
            called = re.search(rf"{prefix}{function}\(", suite)
            assert called, f"{prefix}{function} is not tested"
