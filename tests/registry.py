"""Every public solver: how to call it on a small problem, and what its results hold.

Tests of what all solvers share run over SOLVERS: instruction sets, threads, devices, warm starts,
pickles (test_registry.py, test_cuda.py). A public function that is neither here nor in
NOT_SOLVERS fails there. ``python tests/registry.py OUT`` saves what all of them find at the
instruction-set level in use, ``python tests/registry.py --tests`` names their test files.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from problems import COSTS, clouds, pairwise, spec

import ot_fast as otf
from ot_fast._arrays import place_of

NOT_SOLVERS = {"info"}
KINDS = ("dense", *COSTS)
DTYPES = ("float64", "float32")


class Problem:
    """Weights, points and their costs, as arrays that `put` makes; `reg` is relative to C.

    `weighted` holds the rows and the columns that have weight; with `drop` there are no others.
    """

    def __init__(
        self,
        kind: str = "sqeuclidean",
        dtype: Any = "float64",
        put: Callable[[Any], Any] = np.asarray,
        shape: tuple[int, int] = (67, 90),
        weighted: tuple[Any, Any] | None = None,
        drop: bool = False,
    ) -> None:
        rng = np.random.default_rng(47)
        n, m = shape
        x, y = clouds(n, m, 3, seed=47, dtype=dtype)
        rows, columns = weighted or (np.arange(n), np.arange(m))
        a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
        C = rng.random(shape) if kind == "dense" else pairwise(x, y, kind)
        self.scale = float(C.max())
        start = C.mean(1) / 2, C.mean(0) / 2
        if drop:
            a, b, x, y, C = a[rows], b[columns], x[rows], y[columns], C[np.ix_(rows, columns)]
            start = start[0][rows], start[1][columns]
            rows, columns = np.arange(len(a)), np.arange(len(b))
        a, b = _only(a, rows), _only(b, columns)
        self.uniform = put(_only(np.ones_like(a), rows)), put(_only(np.ones_like(b), columns))
        self.a, self.b, self.x, self.y = (put(v) for v in (a, b, x, y))
        self.start = put(start[0]), put(start[1])
        self.spec = spec(kind) if kind != "dense" else {}
        if kind == "dense":
            self.C = put(C.astype(dtype))
        else:
            self.C = otf.PointCloud(self.x, self.y, **self.spec)


def _only(w: Any, lines: Any) -> Any:
    """Weights of sum 1 on some lines."""
    out = np.zeros(len(w))
    out[lines] = w[lines] / w[lines].sum()
    return out


@dataclass(frozen=True)
class Solver:
    """One way to call a public function."""

    function: str  # its name in ot_fast
    solve: Callable[..., Any]  # of a Problem and options
    tests: str  # the file that checks it against independent solutions
    answer: tuple[str, ...]  # fields that the problem defines: the same on every machine
    run: tuple[str, ...] = ()  # other fields: the same bits for any number of threads
    kinds: tuple[str, ...] = KINDS
    tight: dict[str, float] = field(default_factory=lambda: {"float64": 1e-13, "float32": 1e-5})
    close: dict[str, float] = field(default_factory=lambda: {"float64": 1e-11, "float32": 1e-4})
    warm: bool = True  # takes `init`: its own result, or its potentials


SOLVERS: dict[str, Solver] = {}
POINTS = COSTS
ENTROPIC = ("potentials", "plan", "value", "value_linear", "lower_bound", "upper_bound")
VALUES = ("value", "dual_value", "gap", "marginal_error", "n_iter", "status", "history")
PLAN = ("plan", "value", "value_linear")
GRADIENTS = ("gradient_x", "gradient_y", "gradient_a", "gradient_b")


def _sinkhorn(p: Problem, **options: Any) -> Any:
    return otf.sinkhorn(p.a, p.b, p.C, 0.1 * p.scale, **options)


for name, method, file in (
    ("auto", {"method": "auto"}, "test_newton.py"),
    ("newton", {"method": "newton"}, "test_newton.py"),
    ("sns", {"method": "sns"}, "test_newton.py"),
    ("log", {"method": "log"}, "test_sinkhorn.py"),
    ("scaling", {"method": "scaling"}, "test_sinkhorn.py"),
    ("scaling float64", {"method": otf.Scaling(dtype="float64")}, "test_sinkhorn.py"),
):
    SOLVERS[f"sinkhorn {name}"] = Solver(
        "sinkhorn",
        partial(_sinkhorn, **method),
        file,
        ENTROPIC,
        ("f", "g", "a", "b", "method", *VALUES),
    )

SOLVERS["sinkhorn, one pass"] = Solver(
    "sinkhorn",
    lambda p, **o: _sinkhorn(p, **o | {"init": p.start, "max_iter": 0, "on_fail": "ignore"}),
    "test_sinkhorn.py",
    ENTROPIC,
    ("f", "g", *VALUES),
    warm=False,
)
SOLVERS["sinkhorn_path"] = Solver(
    "sinkhorn_path",
    lambda p, **o: otf.sinkhorn_path(p.a, p.b, p.C, [0.1 * p.scale, p.scale], **o),
    "test_newton.py",
    ENTROPIC,
    ("f", "g", *VALUES),
    warm=False,
)
SOLVERS["entropic_map"] = Solver(
    "entropic_map",
    lambda p, **o: otf.entropic_map(_sinkhorn(p, **o), p.x),
    "test_sinkhorn.py",
    (),
    kinds=POINTS,
    warm=False,
)
SOLVERS["emd"] = Solver(
    "emd",
    lambda p, **o: otf.emd(p.a, p.b, p.C, **o),
    "test_exact.py",
    ("plan", "value", "lower_bound", "upper_bound"),
    ("f", "g", "a", "b", "sparse_plan", "min_reduced_cost", "rounds", "arcs", *VALUES),
    tight={"float64": 0.0, "float32": 0.0},
    close={"float64": 1e-11, "float32": 1e-4},
)
SOLVERS["quadratic"] = Solver(
    "quadratic",
    lambda p, **o: otf.quadratic(p.a, p.b, p.C, p.scale, **o),
    "test_sparse.py",
    PLAN,
    ("f", "g", "a", "b", "sparse_plan", "cardinality", *VALUES),
    tight={"float64": 1e-12, "float32": 1e-6},
    close={"float64": 1e-10, "float32": 1e-4},
)
for name, options in (
    ("columns", {"max_nz": 3}),
    ("rows", {"max_nz": 4, "axis": 1, "formulation": "dual"}),
):
    SOLVERS[f"sparsity_constrained {name}"] = Solver(
        "sparsity_constrained",
        lambda p, options=options, **o: otf.sparsity_constrained(
            *p.uniform, p.C, p.scale, **options, **o
        ),
        "test_sparse.py",
        ("dual_value",),  # of two plans within the gap either may be found
        (
            "plan",
            "value",
            "value_linear",
            "f",
            "g",
            "a",
            "b",
            "sparse_plan",
            "cardinality",
            *VALUES,
        ),
        tight={"float64": 1e-10, "float32": 1e-6},
        close={"float64": 1e-7, "float32": 1e-5},
    )
for name, rho in (("sinkhorn_divergence", None), ("sinkhorn_divergence unbalanced", 0.7)):
    SOLVERS[name] = Solver(
        "sinkhorn_divergence",
        lambda p, rho=rho, **o: otf.sinkhorn_divergence(
            p.x, p.y, p.a, p.b, reg=0.1 * p.scale, unbalanced=rho, **p.spec, **o
        ),
        "test_losses.py",
        ("value", "transport", *GRADIENTS[:2]),
        (*GRADIENTS, "marginal_error", "n_iter", "status", "message"),
        kinds=POINTS,
        close={"float64": 1e-11, "float32": 1e-4},
    )
for name, debias in (("monge_gap", False), ("monge_gap debiased", True)):
    SOLVERS[name] = Solver(
        "monge_gap",
        lambda p, debias=debias, **o: otf.monge_gap(
            p.x, p.y[: len(p.x)], debias=debias, **p.spec, **o
        ),
        "test_losses.py",
        ("value", "transport", "displacement", "reg", "gradient", "gradient_x"),
        ("marginal_error", "n_iter", "status", "message"),
        kinds=POINTS,
        close={"float64": 1e-11, "float32": 1e-4},
    )


def _emd_1d(p: Problem, threads: int | None = None, **_: Any) -> Any:
    plan = otf.emd_1d(p.x[:, 0], p.y[:, 0], p.a, p.b, threads=threads)
    return place_of(p.x, "x").dense(plan)


def _sliced(function: Any, p: Problem, threads: int | None = None, **_: Any) -> Any:
    return function(p.x, p.y, p.a, p.b, seed=0, n_projections=50, threads=threads).gradient_x


SOLVERS["assignment"] = Solver(
    "assignment",
    lambda p, **_: otf.assignment(p.C)[1],
    "test_assignment.py",
    (),
    warm=False,
)
# On the line nothing iterates: no `tol`, no `on_fail`, and plain arrays as results.
for name, solve, file in (
    (
        "wasserstein_1d",
        lambda p, threads=None, **_: otf.wasserstein_1d(p.x.T, p.y.T, p.a, p.b, 2, threads=threads),
        "test_one_dimension.py",
    ),
    ("emd_1d", _emd_1d, "test_one_dimension.py"),
    ("sliced_wasserstein", partial(_sliced, otf.sliced_wasserstein), "test_sliced.py"),
    ("max_sliced_wasserstein", partial(_sliced, otf.max_sliced_wasserstein), "test_sliced.py"),
):
    SOLVERS[name] = Solver(name, solve, file, (), kinds=("sqeuclidean",), warm=False)

# Solvers that leave out rows and columns without weight.
LEAVING_OUT = [
    name
    for name, solver in SOLVERS.items()
    if solver.function.startswith(("sinkhorn", "entropic", "quadratic", "sparsity"))
]
CASES = [(name, kind) for name, solver in SOLVERS.items() for kind in solver.kinds]


# ---- fields of results -------------------------------------------------------------------------


def fields(result: Any, names: tuple[str, ...], host: Callable[[Any], Any] = np.asarray) -> Any:
    """Fields as arrays on the host, by name; those of a list one after the other."""
    if isinstance(result, list):
        return {
            f"{k} {n}": v for k, r in enumerate(result) for n, v in fields(r, names, host).items()
        }
    if not hasattr(result, "converged"):
        return {"array": host(result)}
    out = {}
    for name in names:
        value = getattr(result, name)
        if name == "history":
            out |= {f"{name} {k}": np.asarray(v) for k, v in value.items() if k != "elapsed"}
        elif name == "sparse_plan":
            plan = value.get() if hasattr(value, "get") else value
            if hasattr(plan, "crow_indices"):  # of PyTorch
                parts = plan.values(), plan.col_indices(), plan.crow_indices()
            else:
                parts = plan.data, plan.indices, plan.indptr
            out |= {f"{name} {k}": np.asarray(v) for k, v in enumerate(parts)}
        elif name == "potentials":  # the same up to a constant
            f, g = (host(v) for v in value)
            out |= {"f - f[0]": f - f[0], "g + f[0]": g + f[0]}
        elif isinstance(value, (float, int, str)):
            out[name] = np.asarray(value)
        else:
            out[name] = host(value)
    return out


def bits(result: Any, solver: Solver, host: Callable[[Any], Any] = np.asarray) -> dict[str, bytes]:
    """All fields of a result, as bytes."""
    found = fields(result, (*solver.answer, *solver.run), host)
    return {name: value.tobytes() for name, value in found.items()}


def check_close(got: Any, want: Any, tol: float, what: str) -> None:
    """Fields are equal relative to the largest entry of each."""
    assert got.keys() == want.keys()
    for name, expected in want.items():
        scale = max(abs(expected).max(initial=0), 1e-3)
        if name.endswith(
            "upper_bound"
        ):  # it grows with what is missing, as much as the solves differ
            scale *= 1000
        np.testing.assert_allclose(
            got[name], expected, rtol=0, atol=tol * scale, err_msg=f"{what}, {name}"
        )


def main() -> None:
    if sys.argv[1] == "--tests":
        files = {"test_registry.py"} | {solver.tests for solver in SOLVERS.values()}
        print(*sorted(str(Path(__file__).parent / file) for file in files))
        return
    warnings.simplefilter("error")
    out = {"isa": otf.info()["isa"]}
    for name, kind in CASES:
        solver = SOLVERS[name]
        for dtype in DTYPES:
            result = solver.solve(Problem(kind, dtype), tol=solver.tight[dtype])
            for key, value in fields(result, solver.answer).items():
                out[f"{name}|{kind}|{dtype}|{key}"] = value
    np.savez(sys.argv[1], **out)


if __name__ == "__main__":
    main()
