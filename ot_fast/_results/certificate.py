"""Bounds on the optimal transport cost without regularisation, from any entropic plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._completion import ROUNDING, OfPairs, Partial, complete
from .._problem import Vector
from .plan import Plan

SMALL = 100_000  # pairs: entries of a plan of that many are read once
TINY = 10_000  # pairs: a plan of that many is always completed by a flow
SUPPORT = 80.0  # reduced cost over reg: pairs beyond it hold no mass of a plan
NEGLIGIBLE = 1e-3  # of the gap: a product that adds less to it completes the plan
EXPONENT_ROUNDING = 2.0**-50  # relative, of the exponent of an entry
SUM_ROUNDING = 2.0**-50  # relative, of the parts of the cost: large ones may cancel


@dataclass(frozen=True)
class Rounded:
    """A plan whose rows and columns hold at most their weight (Altschuler, Weed and Rigollet 2017,
    algorithm 2): what they miss, the cost, and the entries.
    """

    missing: tuple[Vector, Vector]
    cost: float
    held: OfPairs


def lower_bound(plan: Plan) -> float:
    """The dual value of feasible potentials."""
    p = plan.problem
    return p.value(_dot((p.a, p.b), plan.duals))


def upper_bound(plan: Plan) -> float:
    """The cost of the rounded plan, completed at least cost; inf where no plan exists.

    Where a product of what is missing adds next to nothing to the gap, it completes the plan.
    """
    p = plan.problem
    size = math.prod(p.shape)
    rounded = _by_entries(plan) if size <= SMALL else _by_passes(plan)
    a, b = rounded.missing
    if not (a.sum() > 0 and b.sum() > 0):
        return p.value(rounded.cost)
    b *= a.sum() / b.sum()
    least = _dot((a, b), plan.duals)  # the cost of a completion on pairs without reduced cost
    excess = math.inf if size <= TINY else _product_cost(plan, (a, b))
    slack = rounded.cost - _dot((p.a - a, p.b - b), plan.duals)
    if excess > max(NEGLIGIBLE * slack, ROUNDING * rounded.cost):
        u, v = plan.duals
        partial = Partial(
            p,
            (a, b),
            plan.duals,
            price=lambda i, j, C: C - u[i] - v[j],
            held=rounded.held,
            product=lambda missing: _product_cost(plan, missing),
        )
        flow = complete(partial, SUPPORT * p.core_reg)
        excess = min(excess, math.inf if flow.lack > 0 else flow.cost)
    moved = _dot((a, b), (np.abs(plan.duals[0]), np.abs(plan.duals[1])))
    rounding = SUM_ROUNDING * (moved + abs(rounded.cost) + abs(excess))
    return p.value(rounded.cost + least + excess + rounding)


def _by_entries(plan: Plan) -> Rounded:
    """From the entries, in one pass, and all costs, in another."""
    p = plan.problem
    everywhere = np.zeros(p.shape[0]), np.zeros(p.shape[1])
    begin, j, C = p.core.cheap_pairs(p.geometry.handle, *everywhere, np.inf, SMALL, p.where)
    i = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
    out = p.geometry.place.empty(p.shape, np.float64)
    p.core.plan_rows(p.core_plan(p.a, plan.phi, plan.h), 0, p.shape[0], out, p.where)
    P = p.geometry.place.host(p.geometry.place.finished(out))
    # Without entries of large reduced cost, and infinite ones: a plan has them before it converges.
    u, v = plan.duals
    P = np.where(np.isfinite(P), P, 0.0)
    costly = C - u[i] - v[j] > SUPPORT * p.core_reg
    P[i[costly], j[costly]] = 0.0
    P = P * _shrink(p.a, P.sum(1))[:, None]
    P = P * _shrink(p.b, P.sum(0))
    missing = np.maximum(p.a - P.sum(1), 0.0), np.maximum(p.b - P.sum(0), 0.0)
    return Rounded(missing, float(P[i, j] @ C), lambda i, j, C: P[i, j])


def _by_passes(plan: Plan) -> Rounded:
    """Without storing entries: two passes."""
    p = plan.problem
    x = _shrink(p.a, plan.unit[0])
    y = _shrink(p.b, plan.marginals(x)[1])
    row, col, cost = plan.marginals(x, y)
    # Factors are added to exponents, whose rounding may leave a little too much.
    fit = min(1.0, _shrink(p.a, row).min(), _shrink(p.b, col).min())
    missing = np.maximum(p.a - fit * row, 0.0), np.maximum(p.b - fit * col, 0.0)
    with np.errstate(divide="ignore"):
        f, g = plan.phi + np.log(p.a * x), plan.h + np.log(y)

    def held(i: NDArray[Any], j: NDArray[Any], C: Vector) -> Vector:
        """At most the entries that a pass adds up: their exponents are rounded."""
        c = C / p.core_reg
        with np.errstate(under="ignore", invalid="ignore"):
            rounding = EXPONENT_ROUNDING * (abs(f[i]) + abs(g[j]) + c)
            P = fit * np.exp(f[i] + g[j] - c) * (1 - rounding)
        return np.where(P > 0, P, 0.0)

    return Rounded(missing, fit * cost, held)


def _shrink(weight: Vector, held: Vector) -> Vector:
    """Factors by which rows or columns hold at most their weight."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.where(held > weight, weight / held, 1.0)


def _product_cost(plan: Plan, missing: tuple[Vector, Vector]) -> float:
    """The reduced cost of the product of what is missing: one pass. inf with forbidden pairs."""
    a, b = missing
    spread = plan.problem.cost_apply(b / b.sum())
    with np.errstate(invalid="ignore"):
        cost = float(np.where(a > 0, a * spread, 0.0).sum()) - _dot(missing, plan.duals)
    return cost if math.isfinite(cost) else math.inf


def _dot(weights: tuple[Vector, Vector], duals: tuple[Vector, Vector]) -> float:
    """<a, u> + <b, v>; where there is no weight the potentials may be infinite."""
    return float(sum(w[w > 0] @ z[w > 0] for w, z in zip(weights, duals, strict=True)))
