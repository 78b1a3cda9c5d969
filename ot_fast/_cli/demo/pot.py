"""The same problem, on fewer pixels, by ot_fast and by POT."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import ot_fast as otf

from .transfer import TOL, Transfer

Array = NDArray[Any]
T = TypeVar("T")

PIXELS = 2000  # POT holds several n x m arrays at once
_ITERATIONS = 300  # limit of POT's first run
_SECONDS = 10.0  # of one run of POT, about


@dataclass(frozen=True)
class Run:
    """One column of the comparison."""

    solver: str
    n_iter: int
    time: float
    error: float
    cost: float


def compare(transfer: Transfer, threads: int | None) -> list[Run]:
    """Solve one problem of a size that POT can hold with both, to the same error."""
    try:
        import_module("ot")
    except ImportError:
        return []
    from tqdm import tqdm

    cloud: Any = transfer.result.geometry
    x, y = cloud.x[:PIXELS], cloud.y[:PIXELS]
    reg = transfer.result.reg
    steps: list[Callable[[], Run]] = [
        lambda: _run_ot_fast("ot_fast, points", x, y, reg, threads, dense=False),
        lambda: _run_ot_fast("ot_fast, matrix", x, y, reg, threads, dense=True),
        lambda: _run_pot(x, y, reg, threads),
    ]
    bar = tqdm(steps, desc="compare with POT", leave=False)
    return [step() for step in bar]


def _run_ot_fast(
    name: str, x: Array, y: Array, reg: float, threads: int | None, dense: bool
) -> Run:
    from scipy.spatial.distance import cdist

    def solve() -> Any:
        cost = cdist(x, y, "sqeuclidean") if dense else otf.PointCloud(x, y)
        result = otf.sinkhorn(None, None, cost, reg, tol=TOL, threads=threads, on_fail="ignore")
        return result, result.plan  # the dense plan is timed too: POT returns nothing else

    (result, plan), seconds = _best_time(solve)
    return Run(name, result.n_iter, seconds, *_recompute(plan, x, y))


def _run_pot(x: Array, y: Array, reg: float, threads: int | None) -> Run:
    """Run POT with the loosest of its own stopping rules that meets the error asked for.

    POT stops on the 2-norm of one marginal and the error compared is a 1-norm, so its rule is
    tightened until that is met. Where its kernel underflows, its logarithmic solver takes over. A
    run that reaches its limit of iterations is repeated with more, while the time allows it.
    """
    run = Run("POT", 0, 0.0, np.inf, np.nan)
    with _blas_threads(threads), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for method in ("sinkhorn", "sinkhorn_log"):
            stop, limit = TOL, _ITERATIONS
            while True:
                run = _time_pot(x, y, reg, method, stop, limit)
                if run.error <= TOL:
                    repeats = range(2 if run.time < _SECONDS / 2 else 0)
                    again = [_time_pot(x, y, reg, method, stop, limit).time for _ in repeats]
                    return replace(run, time=min([run.time, *again]))
                if not np.isfinite(run.error):
                    break
                at_limit = run.n_iter >= limit - 1
                limit, stop = (4 * limit, stop) if at_limit else (limit, stop / 2)
                if run.time * (4.0 if at_limit else 1.3) > _SECONDS or stop < TOL / 100:
                    return run
    return run


def _time_pot(x: Array, y: Array, reg: float, method: str, stop: float, limit: int) -> Run:
    import ot

    a, b = np.full(len(x), 1.0 / len(x)), np.full(len(y), 1.0 / len(y))
    start = time.perf_counter()
    plan, log = ot.sinkhorn(
        a, b, ot.dist(x, y), reg, method=method, stopThr=stop, numItermax=limit, log=True
    )
    seconds = time.perf_counter() - start
    name = f"POT {metadata.version('POT')} {method}"
    error, cost = _recompute(np.asarray(plan), x, y)
    return Run(name, int(log["niter"]), seconds, error, cost)


def _recompute(plan: Array, x: Array, y: Array) -> tuple[float, float]:
    """Return the marginal error of a plan and its cost, from the plan itself."""
    from scipy.spatial.distance import cdist

    n, m = plan.shape
    rows = np.abs(plan.sum(axis=1) - 1.0 / n).sum()
    cols = np.abs(plan.sum(axis=0) - 1.0 / m).sum()
    return float(max(rows, cols)), float(np.vdot(plan, cdist(x, y, "sqeuclidean")))


def _best_time(solve: Callable[[], T]) -> tuple[T, float]:
    """Return what a call returns and the shortest of three times."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        answer = solve()
        times.append(time.perf_counter() - start)
    return answer, min(times)


def _blas_threads(threads: int | None) -> Any:
    try:
        limits = import_module("threadpoolctl").threadpool_limits
    except ImportError:
        return nullcontext()
    return limits(threads) if threads else nullcontext()
