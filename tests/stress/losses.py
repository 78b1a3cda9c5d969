"""Checks of losses on clouds: their terms between bounds from the potentials returned."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import oracles
from .checks import Noise, Record, check_finite, weighed
from .draw import pairwise

Vector = np.ndarray


def check_loss(record: Record, r: Any) -> None:
    """The value lies between what the potentials prove, and gradients are those of their plan."""
    case, (a, b) = record.case, record.case.weights
    names = {"monge_gap": ("gradient", "gradient_x")}.get(case.solver, ("gradient_x", "gradient_y"))
    if not check_finite(record, r, ("value", "marginal_error", *names)) or not r.converged:
        return
    x, y = case.points
    rho = case.options.get("unbalanced")
    mass = 1.0 if rho is not None else a.sum()
    a, b = a / mass, b / mass
    if case.solver == "entropic_cost":  # its potentials are not public
        term = r._terms["xy"]
        f, g, own = term.potential(0), term.potential(1), []
    else:
        f, g, *own = r.potentials
    low, high, far = _interval(case, case.C, a, b, f, g, rho)
    span = r.marginal_error * (far + _far(f, g) + 40 * r.reg)
    if case.solver.startswith("sinkhorn_divergence") or case.options.get("debias"):
        for k, (points, w) in enumerate(((x, a), (y, b))):
            h = own[k] if own else np.zeros(len(w))
            C = pairwise(points, points, case.cost, case.p)
            below, above, far = _interval(case, C, w, w, h, h, rho, 20 if own else 300)
            low, high = low - above / 2, high - below / 2
            span += r.marginal_error * (far + _far(h, h) + 40 * r.reg)
    if rho is not None:
        constant = 0.5 * r.reg * (a.sum() - b.sum()) ** 2
        low, high = low + constant, high + constant
    if case.solver == "entropic_cost":  # KL(P | a b) where a b has the square of the mass
        constant = r.reg * (mass - 1 - np.log(mass))
        low, high = low + constant, high + constant
    low, high = mass * low, mass * high
    if case.solver == "monge_gap":
        moved = float(np.mean(np.diag(case.C)))
        if not case.options.get("debias"):
            low, high = (v - 2 * r.reg * np.log(len(a)) for v in (low, high))
        low, high = moved - high, moved - low
    noise = Noise.of(case, np.outer(a, b))
    total = a.sum() * noise.cost + noise.sums * (weighed(a, f) + weighed(b, g))
    terms = r.reg * a.sum() * b.sum()  # of unequal masses: they cancel
    slack = mass * (span + 4 * total + noise.sums * terms) + 4 * noise.eps * max(
        abs(low), abs(high)
    )
    record.check(
        low - slack <= r.value <= high + slack,
        "silent",
        f"value {r.value!r}, of the potentials [{low!r}, {high!r}]",
    )
    _check_marginals(record, r, a, b, f, g, rho, noise)
    if case.cost == "sqeuclidean" and (own or case.solver != "monge_gap"):
        _check_gradients(record, r, mass, (a, b), (f, g), own, noise)


def _far(f: Vector, g: Vector) -> float:
    return float(abs(f).max() + abs(g).max())


def _interval(
    case: Any, C: Vector, a: Vector, b: Vector, f: Vector, g: Vector, rho: Any, sweeps: int = 3
) -> tuple[float, float, float]:
    if rho is not None:
        return *oracles.relaxed_interval(a, b, C, case.reg, rho, f, g), 0.0
    return oracles.entropic_interval(a, b, C, case.reg, g, sweeps)


def _check_marginals(
    record: Record, r: Any, a: Vector, b: Vector, f: Vector, g: Vector, rho: Any, noise: Noise
) -> None:
    """The plan of the potentials has the marginals, as "converged" says."""
    rows, cols = a > 0, b > 0
    a, b, f, g = a[rows], b[cols], f[rows], g[cols]
    P = oracles.gibbs(a, b, record.case.C[np.ix_(rows, cols)], r.reg, f, g)
    want = [a, b] if rho is None else [w * np.exp(-u / rho) for w, u in ((a, f), (b, g))]
    rounding = 8 * (noise.cost + noise.eps * (abs(f).max() + abs(g).max())) / r.reg
    if rounding > 0.1:  # potentials and costs do not resolve the plan
        return
    error = max(
        abs(P.sum(k) - w).sum() / mass
        for k, w, mass in zip((1, 0), want, (a.sum(), b.sum()), strict=True)
    )
    record.check(
        error <= 1.01 * r.tol + rounding,
        "silent",
        f"converged, but the marginals are off by {error:.3g}",
    )


def _check_gradients(
    record: Record,
    r: Any,
    mass: float,
    weights: tuple[Vector, Vector],
    potentials: tuple[Vector, Vector],
    own: list[Vector],
    noise: Noise,
) -> None:
    """``sum_j P_ij 2 (x_i - y_j)``, less the same of own terms, with plans of the potentials."""
    case, points = record.case, [v.astype(np.float64) for v in record.case.points]
    largest = max(abs(u).max() for u in (*potentials, *own))
    rounding = 8 * (noise.cost + noise.eps * largest) / r.reg
    if rounding > 1e-3:  # potentials and costs do not resolve the plan
        return
    P = oracles.gibbs(*weights, case.C, r.reg, *potentials)
    for side, name in enumerate(("gradient_x", "gradient_y")):
        x, y, w = points[side], points[1 - side], weights[side]
        Q = P.T if side else P
        want, moved = 2 * (x * Q.sum(1)[:, None] - Q @ y), Q.sum()
        if own:
            Q = oracles.gibbs(w, w, pairwise(x, x, case.cost, None), r.reg, own[side], own[side])
            want, moved = want - 2 * (x * Q.sum(1)[:, None] - Q @ x), moved + Q.sum()
        slack = 3 * r.tol + rounding + 4 * noise.eps + 1e-12
        slack *= (
            4 * mass * max(moved, *(u.sum() for u in weights)) * max(abs(x).max(), abs(y).max())
        )
        off = abs(np.asarray(getattr(r, name)) - mass * want).max()
        record.check(off <= slack, "silent", f"{name} is off by {off:.3g}, rounding {slack:.3g}")
