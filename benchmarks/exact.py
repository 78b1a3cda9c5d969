"""Exact transport against POT, whose network simplex is that of LEMON, and HiGHS on small problems.

Solves are cold and interleaved: A B, A B. Values and marginals are recomputed from the plan.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import optimize, sparse
from scipy.spatial.distance import cdist

import ot_fast as otf

from . import machine, report

SMALL = 100  # up to this size HiGHS is run


@dataclass
class Problem:
    """Masses, and costs as a matrix or between two clouds."""

    name: str
    a: Any
    b: Any
    costs: Any = None
    clouds: tuple[Any, Any, str] | None = None

    @cached_property
    def C(self) -> Any:
        return self.costs if self.clouds is None else cdist(*self.clouds)


def problem(kind: str, n: int) -> Problem:
    """A problem by the name of its kind, n x n."""
    rng = np.random.default_rng(0)
    name, a = f"{kind}-{n}", np.full(n, 1 / n)
    if kind == "random":
        return Problem(name, a, a, rng.random((n, n)))
    if kind == "integers":
        return Problem(name, a, a, rng.integers(0, 100, (n, n)).astype(float))
    d = 50 if kind == "gauss50d" else 2
    x, y = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    y = 0.8 * y + 0.3 if d > 2 else y @ np.array([[1.0, 0.3], [0.3, 0.6]]) + 1
    if kind == "dirichlet":
        a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
        return Problem(name, a, b, clouds=(x, y, "sqeuclidean"))
    cost = "euclidean" if kind == "euclidean2d" else "sqeuclidean"
    return Problem(name, a, a, clouds=(x, y, cost))


def digits() -> Problem:
    """Two digits on a grid of 28 x 28, L1."""
    from sklearn.datasets import load_digits

    images = load_digits().images[:2]
    p, q = (np.kron(v, np.ones((4, 4)))[2:30, 2:30].ravel() + 1e-2 for v in images)
    grid = np.stack(np.meshgrid(*2 * [np.arange(28.0)], indexing="ij"), -1).reshape(-1, 2)
    return Problem("digits-L1", p / p.sum(), q / q.sum(), clouds=(grid, grid, "cityblock"))


def problems(quick: bool) -> Iterator[Problem]:
    for n in (64, 128, 256, 512):
        for kind in ("gauss2d", "gauss50d", "random"):
            yield problem(kind, n)
    yield digits()
    for n in (1000,) if quick else (1000, 4000, 8000):
        for kind in ("gauss2d", "gauss50d", "random", "dirichlet", "euclidean2d", "integers"):
            yield problem(kind, n)


Solve = Callable[[Problem, int], Any]  # a CSR plan


def ours(p: Problem, threads: int) -> Any:
    C = p.C if p.clouds is None else otf.PointCloud(*p.clouds)
    return otf.emd(p.a, p.b, C, threads=threads).sparse_plan


def pot(p: Problem, threads: int) -> Any:
    import ot

    return sparse.csr_array(ot.emd(p.a, p.b, p.C, numItermax=10**9))


def highs(p: Problem, threads: int) -> Any:
    n, m = p.C.shape
    A = sparse.vstack(
        [sparse.kron(sparse.eye(n), np.ones((1, m))), sparse.kron(np.ones((1, n)), sparse.eye(m))]
    )
    answer = optimize.linprog(
        p.C.ravel(), A_eq=A.tocsc(), b_eq=np.concatenate([p.a, p.b]), method="highs"
    )
    return sparse.csr_array(answer.x.reshape(n, m))


def measured(p: Problem, args: argparse.Namespace) -> list[dict[str, Any]]:
    solvers = {"ot_fast": ours, "POT": pot} | ({"HiGHS": highs} if len(p.a) <= SMALL else {})
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    plans: dict[str, Any] = {}
    _ = p.C  # made before the clock runs
    for _ in range(args.repeats):
        for name, solve in solvers.items():
            if sum(seconds[name]) > args.limit:
                continue
            start = time.perf_counter()
            plans[name] = solve(p, args.threads)
            seconds[name].append(time.perf_counter() - start)
    return [row_of(p, name, seconds[name], plans[name]) for name in solvers]


def row_of(p: Problem, name: str, seconds: list[float], P: Any) -> dict[str, Any]:
    errors = abs(P.sum(1) - p.a).sum(), abs(P.sum(0) - p.b).sum()
    value = float(P.multiply(p.C).sum())
    row = {"case": p.name, "n": len(p.a), "solver": name, "seconds": seconds}
    row |= {"value": value, "error": float(max(errors)), "entries": P.nnz}
    print(
        f"{p.name:16} {name:8} {1e3 * statistics.median(seconds):10.2f} ms  value {value:.12g} "
        f"marginals {row['error']:.1e} entries {P.nnz}",
        flush=True,
    )
    return row


def run(args: argparse.Namespace) -> None:
    args.repeats = args.repeats or 3
    args.limit = args.limit or 30.0
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for p in problems(args.quick):
            rows += measured(p, args)
    result = {"suite": "exact", "machine": machine.describe(args.threads), "rows": rows}
    report.write(result, args.out / "exact.json")
