"""Every solver that is measured, each behind the same two calls.

``peer.prepare(case)`` does what a user does once, before any solve (memory order, device copies),
and is not timed; ``peer.solve(data, case, options)`` is timed. ``options.setting`` is the peer's
own stopping value. Calibration (``worker.py``) starts it at the target, the loosest value that can
meet an L1 marginal error since every peer stops on an L1 or L2 norm, and tightens it until the
error recomputed from the answer meets the target.

Libraries are imported inside the functions: a worker process loads the one it measures, no more.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from .cases import Array, Case


@dataclass(frozen=True)
class Options:
    setting: float  # the solver's own stopping value
    max_iter: int
    threads: int
    plan: bool  # time the dense plan too, where the solver can do without


@dataclass
class Answer:
    """A plan, or potentials f and g with P_ij = a_i b_j exp((f_i + g_j - C_ij) / reg)."""

    n_iter: int | None = None
    plan: Array | None = None
    f: Array | None = None
    g: Array | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    name: str
    package: str
    solve: Callable[[Any, Case, Options], Answer]
    prepare: Callable[[Case], Any] = lambda case: case.C
    group: str = "peer"  # "ours", "peer", "regot" or "exact"
    grace: float = 0.0  # seconds of compilation in the first solve of a problem
    slow: bool = False  # one iteration costs tens of times the best peer's: a short time limit


# --- ot_fast


def _ours_input(case: Case) -> Any:
    import ot_fast as otf

    return case.C if case.C is not None else otf.PointCloud(case.x, case.y)


def ours(method: str, kernel: str | None = None) -> Callable[[Any, Case, Options], Answer]:
    """Our solver; with `kernel`, scaling on a kernel stored in that type."""

    def solve(C: Any, case: Case, o: Options) -> Answer:
        import ot_fast as otf

        r = otf.sinkhorn(
            *(case.a, case.b, C, case.reg),
            method=otf.Scaling(dtype=kernel) if kernel else method,
            tol=o.setting,
            max_iter=o.max_iter,
            threads=o.threads,
            on_fail="ignore",
        )
        extra = {"method": r.method, "status": str(r.status), "error": float(r.marginal_error)}
        return Answer(r.n_iter, r.plan if o.plan else None, r.f, r.g, extra)

    return solve


# --- POT


def pot(method: str) -> Callable[[Any, Case, Options], Answer]:
    def solve(C: Array, case: Case, o: Options) -> Answer:
        import ot

        plan, log = ot.sinkhorn(
            *(case.a, case.b, C, case.reg),
            method=method,
            stopThr=o.setting,
            numItermax=o.max_iter,
            log=True,
            warn=False,
        )
        return Answer(1 + log.get("niter", log.get("n_iter")), plan)

    return solve


def pot_emd(C: Array, case: Case, o: Options) -> Answer:
    import ot

    return Answer(plan=ot.emd(case.a, case.b, C, numItermax=10**9))


def pot_lazy(data: None, case: Case, o: Options) -> Answer:
    import ot

    log_u, log_v, log = ot.bregman.empirical_sinkhorn(
        *(case.x, case.y, case.reg, case.a, case.b),
        isLazy=True,
        batchSize=1000,
        numIterMax=o.max_iter,
        stopThr=o.setting,
        warn=False,
        log=True,
    )
    f, g = case.reg * (log_u - np.log(case.a)), case.reg * (log_v - np.log(case.b))
    return Answer(1 + log["niter"], f=f, g=g)


# --- regot


def _fortran(case: Case) -> Array:
    return np.asfortranarray(case.C)


def regot(name: str) -> Callable[[Any, Case, Options], Answer]:
    def solve(C: Array, case: Case, o: Options) -> Answer:
        import regot

        solver = getattr(regot, f"sinkhorn_{name}")
        r = solver(C, case.a, case.b, case.reg, tol=o.setting, max_iter=o.max_iter)
        return Answer(r.niter, r.plan)

    return solve


# --- OTT-JAX


def _on_device(case: Case) -> tuple[Any, ...]:
    import jax

    jax.config.update("jax_enable_x64", True)
    parts = (case.C,) if case.C is not None else (case.x, case.y)
    return tuple(jax.device_put(v) for v in (*parts, case.a, case.b))


@cache
def ott_compiled(lse_mode: bool, max_iter: int, plan: bool) -> Callable[..., Any]:
    import jax
    from ott.geometry import geometry, pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    @jax.jit
    def solve(parts: tuple[Any, ...], a: Any, b: Any, reg: float, threshold: float) -> Any:
        if len(parts) == 1:
            geom = geometry.Geometry(cost_matrix=parts[0], epsilon=reg)
        else:
            geom = pointcloud.PointCloud(*parts, epsilon=reg, batch_size=1000)
        solver = sinkhorn.Sinkhorn(lse_mode=lse_mode, threshold=threshold, max_iterations=max_iter)
        out = solver(linear_problem.LinearProblem(geom, a, b))
        return out.n_iters, out.f, out.g, out.matrix if plan else None

    return solve


def ott(lse_mode: bool) -> Callable[[Any, Case, Options], Answer]:
    def solve(data: tuple[Any, ...], case: Case, o: Options) -> Answer:
        import jax

        *parts, a, b = data
        run = ott_compiled(lse_mode, o.max_iter, o.plan)
        n_iter, f, g, plan = jax.block_until_ready(run(tuple(parts), a, b, case.reg, o.setting))
        f = np.asarray(f) - case.reg * np.log(case.a)
        g = np.asarray(g) - case.reg * np.log(case.b)
        return Answer(int(n_iter), plan, f, g)

    return solve


# --- the floor of any method that stores the kernel: its two matrix-vector products, nothing else


def _kernel(case: Case) -> Array:
    return np.exp(case.C / -case.reg)


def two_gemv(K: Array, case: Case, o: Options) -> Answer:
    u, v = np.ones(case.a.size), case.b
    for _ in range(o.max_iter):
        v = case.b / (u @ K)
        u = case.a / (K @ v)
    return Answer(o.max_iter)


MODULES = {"ot_fast": "ot_fast", "POT": "ot", "regot": "regot", "ott-jax": "ott", "numpy": "numpy"}

PEERS: dict[str, Peer] = {
    p.name: p
    for p in (
        Peer("ot_fast", "ot_fast", ours("auto"), _ours_input, "ours"),
        Peer("ot_fast scaling", "ot_fast", ours("scaling"), _ours_input, "ours"),
        Peer("ot_fast log", "ot_fast", ours("log"), _ours_input, "ours"),
        Peer("ot_fast newton", "ot_fast", ours("newton"), _ours_input, "ours"),
        *(
            Peer(f"ot_fast {t} kernel", "ot_fast", ours("scaling", t), _ours_input, "ours")
            for t in ("float64", "float32")
        ),
        Peer("POT sinkhorn", "POT", pot("sinkhorn")),
        Peer("POT stabilized", "POT", pot("sinkhorn_stabilized")),
        Peer("POT log", "POT", pot("sinkhorn_log"), slow=True),
        Peer("POT lazy", "POT", pot_lazy, slow=True),
        Peer("POT emd", "POT", pot_emd, group="exact"),
        Peer("regot ssns", "regot", regot("ssns"), _fortran, "regot"),
        Peer("regot splr", "regot", regot("splr"), _fortran, "regot"),
        Peer("regot bcd", "regot", regot("bcd"), _fortran, "regot", slow=True),
        Peer("OTT log", "ott-jax", ott(True), _on_device, grace=10.0, slow=True),
        Peer("OTT kernel", "ott-jax", ott(False), _on_device, grace=10.0, slow=True),
        Peer("two gemv", "numpy", two_gemv, _kernel),
    )
}


# --- what is checked in every answer


def check(case: Case, answer: Answer, threads: int) -> tuple[float, float]:
    """max(|P1 - a|_1, |P'1 - b|_1) / sum(a) and <C, P>, of the plan or potentials returned."""
    if answer.plan is not None:
        P = np.asarray(answer.plan)
        rows, cols, cost = P.sum(axis=1), P.sum(axis=0), float(np.vdot(case.C, P))
    else:
        rows, cols, cost = _sums_of_plan(case, answer.f, answer.g, threads)
    error = max(np.abs(rows - case.a).sum(), np.abs(cols - case.b).sum()) / case.a.sum()
    return float(error), cost


def _sums_of_plan(case: Case, f: Array, g: Array, threads: int) -> tuple[Array, Array, float]:
    def block(i: slice) -> tuple[Array, Array, float]:
        C = case.C[i] if case.C is not None else cdist(case.x[i], case.y, "sqeuclidean")
        P = np.add.outer(f[i], g)
        P -= C
        P /= case.reg
        np.exp(P, out=P)
        P *= case.a[i, None]
        P *= case.b
        return P.sum(axis=1), P.sum(axis=0), float(np.vdot(C, P))

    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a diverged answer: its error is NaN
        parts = list(pool.map(block, (slice(i, i + 64) for i in range(0, case.a.size, 64))))
    rows, cols, costs = zip(*parts, strict=True)
    return np.concatenate(rows), np.sum(cols, axis=0), sum(costs)
