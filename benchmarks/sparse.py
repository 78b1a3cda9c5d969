"""Sparse plans: sparsity-constrained transport against POT, quadratic against regot and POT.

Every value is recomputed from the answer: the dual by sorting, the marginals from the plan. POT
stops far from its marginals, so that its error is stated, not required.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import ot_fast as otf

from . import cases, machine, report

REG = 0.1


def dual(f: Any, g: Any, case: cases.Case, k: int, axis: int) -> float:
    """The dual of at most k entries along the axis."""
    top = np.sort(np.maximum(f[:, None] + g - case.C, 0), axis=axis)
    top = top[-k:] if axis == 0 else top[:, -k:]
    return float(case.a @ f + case.b @ g - (top**2).sum() / (2 * case.reg))


def exact_g(f: Any, case: cases.Case, k: int) -> Any:
    """The maximiser of the dual in g for f given: the k largest, projected on the simplex."""
    z = np.sort(f[:, None] - case.C, axis=0)[::-1][:k]
    x = (np.cumsum(z, axis=0) - case.reg * case.b) / np.arange(1, k + 1)[:, None]
    used = (z > x).sum(axis=0) - 1
    return -x[used, np.arange(z.shape[1])]


Solution = tuple[Any, Any, Any]  # plan, f, g; what is None is not known
Solve = Callable[[cases.Case, int | None, int, int], Solution]


def ours(case: cases.Case, k: int | None, axis: int, threads: int) -> Solution:
    problem = case.a, case.b, case.C, case.reg
    if k is None:
        r = otf.quadratic(*problem, threads=threads, on_fail="ignore")
    else:
        r = otf.sparsity_constrained(*problem, k, axis=axis, threads=threads, on_fail="ignore")
    return r.plan, r.f, r.g


def pot(form: str) -> Solve:
    def solve(case: cases.Case, k: int | None, axis: int, threads: int) -> Solution:
        import ot

        run = getattr(ot.smooth, f"smooth_ot_{form}")
        kind = (
            {"reg_type": "l2"} if k is None else {"reg_type": "sparsity_constrained", "max_nz": k}
        )
        with contextlib.redirect_stdout(io.StringIO()):
            plan, log = run(case.a, case.b, case.C, case.reg, log=True, **kind)
        return plan, log["alpha"], log["beta"] if form == "dual" else None

    return solve


def regot(name: str) -> Solve:
    def solve(case: cases.Case, k: int | None, axis: int, threads: int) -> Solution:
        import regot

        run = getattr(regot, f"qrot_{name}")
        r = run(np.asfortranarray(case.C), case.a, case.b, case.reg, tol=1e-9, max_iter=2000)
        return r.plan, None, None

    return solve


def problems(sizes: Iterable[int]) -> Iterator[tuple[cases.Case, int | None, int]]:
    """Case, entries allowed a line (None: quadratic) and the axis of these lines."""
    for n in sizes:
        case = cases.gauss(n, REG)
        for k in (2, 4, 16, None):
            yield case, k, 0
    case = cases.routing()
    for k in (1, 2, 4):
        yield case, k, 1


def measured(
    case: cases.Case, k: int | None, axis: int, solvers: dict[str, Solve], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """In turn, A B C, A B C; short solves a few times in each turn."""
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    answers: dict[str, Solution] = {}
    for solve in solvers.values():
        # Warmed up; so small a problem can end a line search.
        with contextlib.suppress(RuntimeError):
            solve(cases.gauss(20, REG), k and min(k, 20), 0, args.threads)
    for _ in range(args.repeats):
        for name, solve in solvers.items():
            spent: list[float] = []
            while sum(spent) < 0.1 and sum(seconds[name]) < args.limit:
                start = time.perf_counter()
                answers[name] = solve(case, k, axis, args.threads)
                spent.append(time.perf_counter() - start)
                seconds[name].append(spent[-1])
    return [row_of(case, k, axis, name, seconds[name], answers[name]) for name in solvers]


def row_of(
    case: cases.Case, k: int | None, axis: int, name: str, seconds: list[float], answer: Solution
) -> dict[str, Any]:
    plan, f, g = answer
    most, value = k or max(case.shape), float("nan")
    if f is not None:
        value = dual(f, exact_g(f, case, most) if g is None else g, case, most, axis)
    P = np.asarray(plan)
    rows, cols = abs(P.sum(1) - case.a).sum(), abs(P.sum(0) - case.b).sum()
    row = {"case": case.name, "max_nz": k, "axis": axis, "solver": name, "seconds": seconds}
    row |= {"row_error": rows, "col_error": cols, "dual": value}
    row |= {"value": float((P * case.C).sum() + case.reg / 2 * (P * P).sum())}
    row |= {"cardinality": int((P > 0).sum(axis).max())}
    print(
        f"{case.name:14} {k or '-':>4} {name:18} {statistics.median(seconds):9.4f} s  "
        f"dual {value:.9f} value {row['value']:.9f} rows {rows:.1e} columns {cols:.1e} "
        f"entries {row['cardinality']}",
        flush=True,
    )
    return row


def run(args: argparse.Namespace) -> None:
    args.repeats = args.repeats or 3
    args.limit = args.limit or 3.0
    constrained = {f"POT {f}": pot(f) for f in ("semi_dual", "dual")}
    quadratic = {f"regot {f}": regot(f) for f in ("grssn", "lbfgs_dual")}
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case, k, axis in problems((200, 500) if args.quick else (200, 500, 1000)):
            peers = {} if axis == 1 else constrained if k else quadratic
            rows += measured(case, k, axis, {"ot_fast": ours} | peers, args)
    result = {
        "suite": "sparse",
        "reg": REG,
        "machine": machine.describe(args.threads),
        "rows": rows,
    }
    report.write(result, args.out / "sparse.json")
