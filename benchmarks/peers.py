"""Every solver that is measured, each behind the same two calls.

``peer.prepare(case)`` does what a user would do once before any solve (memory order, device copies)
and is not timed; ``peer.solve(data, case, setting, max_iter)`` is timed. ``setting`` is the peer's
own stopping value: ``peer.guess(tol)`` is the loosest one that could meet an L1 marginal error of
``tol``, and the calibration in ``worker.py`` tightens it until the recomputed error does.

Libraries are imported inside the functions: a worker process loads the one it measures, no more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from .cases import Array, Case


@dataclass
class Answer:
    """A plan, or potentials f and g with P_ij = a_i b_j exp((f_i + g_j - C_ij) / reg)."""

    n_iter: int | None
    plan: Array | None = None
    f: Array | None = None
    g: Array | None = None
    status: str = ""
    extra: dict[str, Any] | None = None


@dataclass(frozen=True)
class Peer:
    name: str
    package: str
    solve: Callable[[Any, Case, float, int, int], Answer]
    prepare: Callable[[Case], Any] = lambda case: case.C
    group: str = "peer"  # "ours", "peer", "regot" or "exact"


def marginal_error(case: Case, answer: Answer, threads: int) -> tuple[float, float]:
    """max(|P1 - a|_1, |P'1 - b|_1) / sum(a) and <C, P>, from the plan or potentials returned."""
    if answer.plan is not None:
        P = np.asarray(answer.plan)
        rows, cols, cost = P.sum(axis=1), P.sum(axis=0), float(np.vdot(case.C, P))
    else:
        rows, cols, cost = _stream_plan(case, answer.f, answer.g, threads)
    error = max(np.abs(rows - case.a).sum(), np.abs(cols - case.b).sum()) / case.a.sum()
    return float(error), cost


def _stream_plan(case: Case, f: Array, g: Array, threads: int) -> tuple[Array, Array, float]:
    def block(i: slice) -> tuple[Array, Array, float]:
        C = case.C[i] if case.C is not None else cdist(case.x[i], case.y, "sqeuclidean")
        P = np.add.outer(f[i], g)
        P -= C
        P /= case.reg
        np.exp(P, out=P)
        P *= case.a[i, None]
        P *= case.b
        return P.sum(axis=1), P.sum(axis=0), float(np.vdot(C, P))

    n = case.a.size
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(block, [slice(i, i + 64) for i in range(0, n, 64)]))
    rows, cols, costs = zip(*parts, strict=True)
    return np.concatenate(rows), np.sum(cols, axis=0), sum(costs)


# --- ot_fast


def _ours_input(case: Case) -> Any:
    import ot_fast as otf

    return case.C if case.C is not None else otf.PointCloud(case.x, case.y)


def ours(method: str, **options: Any) -> Callable[..., Answer]:
    def solve(C: Any, case: Case, setting: float, max_iter: int, threads: int) -> Answer:
        import ot_fast as otf

        r = otf.sinkhorn(
            case.a, case.b, C, case.reg, method=method, tol=setting, max_iter=max_iter,
            threads=threads, on_fail="ignore", **options,
        )  # fmt: skip
        extra = {"method": r.method, "reported_error": float(r.marginal_error)}
        return Answer(r.n_iter, f=r.f, g=r.g, status=str(r.status), extra=extra)

    return solve


def with_plan(solve: Callable[..., Answer]) -> Callable[..., Answer]:
    """Time the dense plan too, because every dense peer returns one."""

    def solve_and_plan(C: Any, case: Case, *args: Any) -> Answer:
        import ot_fast as otf

        answer = solve(C, case, *args)
        return answer if otf is None else answer

    return solve_and_plan
