"""Bounds on the optimal transport cost without regularisation, from any entropic plan."""

from __future__ import annotations

import math

import numpy as np

from .plan import Plan


def lower_bound(plan: Plan) -> float:
    """The dual value of the potentials made feasible by c-transforms: three passes.

    Every pair with ``f_i + g_j <= C_ij`` bounds the cost from below; so does the least cost. Rows
    and columns of zero weight take no part.
    """
    p = plan.problem
    f, g = p.core_reg * plan.phi, p.core_reg * plan.psi
    rows, columns = p.a > 0, p.b > 0
    pairs = [p.c_transform(np.where(columns, g, -np.inf))]
    low = p.column_min(np.where(rows, f, -np.inf))
    pairs.append(p.c_transform(np.where(columns & np.isfinite(low), low, -np.inf)))
    with np.errstate(invalid="ignore"):
        duals = [
            np.where(rows, p.a * u, 0.0).sum() + np.where(columns, p.b * v, 0.0).sum()
            for u, v in pairs
        ]
    best = max((float(v) for v in duals if math.isfinite(v)), default=-math.inf)
    if best < 0 or not math.isfinite(best):
        least = p.column_min(np.zeros(len(p.a)))
        best = max(best, float(least[columns].min()))
    return p.value(best)


def upper_bound(plan: Plan) -> float:
    """The cost of the plan rounded to exact marginals: two passes, and one over C.

    Rows, then columns that hold too much are scaled down, and what is then missing is added as a
    product (Altschuler, Weed and Rigollet 2017, algorithm 2).
    """
    p = plan.problem
    row = plan.unit[0]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        x = np.where(row > p.a, p.a / row, 1.0)
        col = plan.marginals(x)[1]
        y = np.where(col > p.b, p.b / col, 1.0)
    row, col, cost = plan.marginals(x, y)
    missing_a, missing_b = np.maximum(p.a - row, 0.0), np.maximum(p.b - col, 0.0)
    if missing_a.sum() > 0 and missing_b.sum() > 0:
        spread = p.cost_apply(missing_b / missing_b.sum())
        with np.errstate(invalid="ignore"):
            cost += float(np.where(missing_a > 0, missing_a * spread, 0.0).sum())
    return p.value(cost) if math.isfinite(cost) else math.inf
