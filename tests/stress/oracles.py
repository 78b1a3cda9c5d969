"""Answers that owe nothing to the library: transport as a linear programme, and bounds from
potentials by NumPy alone.

An interval is a pair of numbers between which the optimum lies, up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

LARGEST_EXACT, LONGEST_EXACT = 300_000, 20_000  # costs, and a side, of a problem that POT solves
LARGEST_LINEAR = 400  # and HiGHS
Vector = np.ndarray
Interval = tuple[float, float]


# ---- transport without regularisation ----------------------------------------------------------


@dataclass(frozen=True)
class Exact:
    """Where the optimum of transport lies, and how far optimal potentials reach."""

    low: float
    high: float
    reach: float  # max f - min f + max g - min g


def exact(a: Vector, b: Vector, C: Vector) -> Exact | None:
    """The optimum by POT, proved by its own plan and potentials; None where that does not decide.

    Costs above what a cycle of others can pay stand for forbidden pairs in the network simplex;
    plan and potentials are then judged by C itself.
    """
    import ot

    rows, cols = a > 0, b > 0
    a, b, C = a[rows], b[cols], C[np.ix_(rows, cols)]
    if C.size > LARGEST_EXACT or max(C.shape) > LONGEST_EXACT:
        return None
    mass = a.sum()
    finite = C[np.isfinite(C)]
    if not finite.size:
        return None
    low = finite.min()
    cap = 100.0 * (np.quantile(finite, 0.5) - low) + 1e-300
    best: Exact | None = None
    for limit in dict.fromkeys([min(cap, np.ptp(finite)) or 1.0, 10 * (np.ptp(finite) or 1.0)]):
        capped = np.minimum(C - low, limit) / limit
        P, log = ot.emd(a / mass, b / mass, np.ascontiguousarray(capped), 2_000_000, log=True)
        if log["warning"] is not None:
            continue
        used = P > 0
        with np.errstate(invalid="ignore"):
            f = np.min(C - log["v"] * limit, axis=1)
        g = np.min(C - f[:, None], axis=0)
        f = np.min(C - g, axis=1)
        dual = float(np.sum(a * f, dtype=np.longdouble) + np.sum(b * g, dtype=np.longdouble))
        if P[used & ~np.isfinite(C)].sum() > 1e-12:
            primal = np.inf
        else:
            used &= np.isfinite(C)
            primal = float(np.sum(P[used] * C[used], dtype=np.longdouble) * mass)
            lost = abs(P.sum(1) - a / mass).sum() + abs(P.sum(0) - b / mass).sum()
            primal += float(lost * mass * abs(C[used]).max())
        found = Exact(dual, primal, float(np.ptp(f) + np.ptp(g)))
        if best is None or found.high - found.low < best.high - best.low:
            best = found
    return best


def linear_programme(a: Vector, b: Vector, C: Vector) -> float | None:
    """The optimum by HiGHS; None where it finds no plan, to its tolerance, or gives up."""
    mass, allowed = a.sum(), np.isfinite(C).ravel()
    if not allowed.any():
        return None
    finite = C.ravel()[allowed]
    low, unit = finite.min(), np.ptp(finite) or 1.0
    sums = _sums(*C.shape)[:, allowed]
    answer = optimize.linprog(
        (finite - low) / unit,
        A_eq=sums,
        b_eq=np.concatenate([a / mass, b / mass]),
        method="highs",
    )
    return mass * (answer.fun * unit + low) if answer.status == 0 else None


def carried(a: Vector, b: Vector, C: Vector) -> float:
    """The largest fraction of the mass that the allowed pairs can carry: a linear programme."""
    allowed = np.isfinite(C).ravel()
    if not allowed.any():
        return 0.0
    answer = optimize.linprog(
        -np.ones(allowed.sum()),
        A_ub=_sums(*C.shape)[:, allowed],
        b_ub=np.concatenate([a, b]) / a.sum(),
        method="highs",
    )
    return -answer.fun


def fits(a: Vector, b: Vector, C: Vector, most: int) -> bool | None:
    """Whether a plan with at most `most` entries a column exists; None where HiGHS gives up."""
    n, m = C.shape
    size, allowed = n * m, np.isfinite(C).ravel()
    a, b = a / a.sum(), b / b.sum()
    room = np.minimum.outer(a, b).ravel() * allowed
    sums = sparse.hstack([_sums(n, m), sparse.csc_array((n + m, size))])
    used = sparse.hstack([sparse.eye(size), -sparse.diags(room)])
    count = sparse.hstack([sparse.csc_array((m, size)), _sums(n, m)[n:]])
    weights = np.concatenate([a, b])
    answer = optimize.milp(
        np.zeros(2 * size),
        constraints=[
            optimize.LinearConstraint(sums, weights - 1e-10, weights + 1e-10),
            optimize.LinearConstraint(used, -np.inf, 0),
            optimize.LinearConstraint(count, -np.inf, most),
        ],
        integrality=np.repeat([0, 1], size),
        bounds=optimize.Bounds(0, 1),
        options={"time_limit": 5.0},
    )
    return {0: True, 2: False}.get(answer.status)


def _sums(n: int, m: int) -> sparse.csc_array:
    """The matrix that takes a plan to its marginals."""
    rows = sparse.kron(sparse.eye(n), np.ones((1, m)))
    return sparse.csc_array(sparse.vstack([rows, sparse.kron(np.ones((1, n)), sparse.eye(m))]))


# ---- transport with an entropy -----------------------------------------------------------------


def softmin(C: Vector, g: Vector, b: Vector, reg: float) -> Vector:
    """``-reg log sum_j b_j exp((g_j - C_ij) / reg)``."""
    with np.errstate(divide="ignore"):
        z = (g - C) / reg + np.log(b)
    top = z.max(1)
    top[~np.isfinite(top)] = 0.0
    with np.errstate(divide="ignore"):
        return -reg * (top + np.log(np.exp(z - top[:, None]).sum(1)))


def gibbs(a: Vector, b: Vector, C: Vector, reg: float, f: Vector, g: Vector) -> Vector:
    """``a_i b_j exp((f_i + g_j - C_ij) / reg)``, infinite where that overflows."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.exp((f[:, None] + g - C) / reg + np.log(a)[:, None] + np.log(b))


def relative_entropy(P: Vector, *weights: Vector) -> float:
    """``KL(P | Q) = sum P log(P/Q) - P + Q`` for a vector, or for a plan and Q = a b."""
    logs, mass = np.zeros(P.shape, P.dtype), P.dtype.type(1)
    for axis, w in enumerate(weights):
        with np.errstate(divide="ignore"):
            logs = logs + np.log(w).reshape(-1, *[1] * (len(weights) - 1 - axis))
        mass = mass * np.sum(w, dtype=np.longdouble)
    used = P > 0
    terms = P[used] * (np.log(P[used]) - logs[used])
    total = np.sum(terms, dtype=np.longdouble) - np.sum(P, dtype=np.longdouble)
    return float(total + mass)


def linear(P: Vector, C: Vector) -> float:
    """<C, P>, where forbidden pairs without mass cost nothing."""
    used = P > 0
    return float(np.sum(P[used] * C[used], dtype=np.longdouble))


def dual_value(a: Vector, b: Vector, P: Vector, reg: float, f: Vector, g: Vector) -> float:
    """``<a, f> + <b, g> - reg (sum P - sum a sum b)``, P the plan of the potentials."""
    inner = np.sum((a * f)[a > 0], dtype=np.longdouble) + np.sum(
        (b * g)[b > 0], dtype=np.longdouble
    )
    return float(inner - reg * (np.sum(P, dtype=np.longdouble) - a.sum() * b.sum()))


def entropic_interval(
    a: Vector, b: Vector, C: Vector, reg: float, g: Vector, sweeps: int = 2
) -> tuple[float, float, float]:
    """The least ``<C,P> + reg KL(P | a b)`` between the dual of g, improved by a few Sinkhorn
    sweeps, and the cost of its plan, rounded to the marginals (Altschuler et al. 2017); and the
    largest |f| + |g| there.
    """
    rows, cols = a > 0, b > 0
    a, b, g, C = a[rows], b[cols], g[cols], C[np.ix_(rows, cols)]
    # a b has the mass of a times that of b: potentials of unit weights differ by a constant.
    for _ in range(sweeps):
        f = softmin(C, g, b, reg)
        g = softmin(C.T, f, a, reg)
    f = softmin(C, g, b, reg)
    P = gibbs(a, b, C, reg, f, g)
    low = dual_value(a, b, P, reg, f, g)
    P *= np.minimum(1, a / P.sum(1))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        P *= np.nan_to_num(np.minimum(1, b / P.sum(0)), nan=1.0, posinf=1.0)
    missing_a, missing_b = np.maximum(a - P.sum(1), 0), np.maximum(b - P.sum(0), 0)
    if missing_a.sum() > 0 and missing_b.sum() > 0:
        P += np.outer(missing_a, missing_b / missing_b.sum())
    high = linear(P, C) + reg * relative_entropy(P, a, b)
    return low, high if np.isfinite(high) else np.inf, float(abs(f).max() + abs(g).max())


def relaxed_interval(
    a: Vector, b: Vector, C: Vector, reg: float, rho: float, f: Vector, g: Vector
) -> Interval:
    """The same where ``rho KL`` penalises the marginals: every plan is one, and its own bound."""
    rows, cols = a > 0, b > 0
    a, b, f, g, C = a[rows], b[cols], f[rows], g[cols], C[np.ix_(rows, cols)]
    P = gibbs(a, b, C, reg, f, g)
    low = -reg * (P.sum(dtype=np.longdouble) - a.sum() * b.sum())
    for w, u in ((a, f), (b, g)):
        low -= rho * np.sum(w * np.expm1(-u / rho), dtype=np.longdouble)
    high = linear(P, C) + reg * relative_entropy(P, a, b)
    high += rho * (relative_entropy(P.sum(1), a) + relative_entropy(P.sum(0), b))
    return float(low), high
