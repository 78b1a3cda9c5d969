"""The entropic cost between two clouds: what the layers `sinkhorn_clouds` compute."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._losses import Loss, Term, cloud_of, loss_options, problem_of, solve_terms, total
from .divergence import cloud_start

Vector = NDArray[np.float64]


class EntropicCost(Loss):
    """W(x, y) = min <C,P> + reg KL(P | a (x) b), and its gradients."""

    _name = "sinkhorn_clouds"

    def __init__(self, terms: dict[str, Term], tol: float, mass: float) -> None:
        super().__init__(terms, tol)
        self._mass = mass
        # KL(P | a (x) b) at mass M, where a (x) b has mass M^2.
        entropy = mass * mass - mass - mass * math.log(mass)
        self.value = mass * self._term.value + self.reg * entropy

    @property
    def _term(self) -> Term:
        return self._terms["xy"]

    @property
    def gradient_x(self) -> Any:
        return total(self._term.cloud.points[0], (self._mass, self._term.gradient_x))

    @property
    def gradient_y(self) -> Any:
        return total(self._term.cloud.points[1], (self._mass, self._term.gradient_y))

    @property
    def gradient_a(self) -> Any:
        return self._in_weights(0)

    @property
    def gradient_b(self) -> Any:
        return self._in_weights(1)

    def _in_weights(self, side: int) -> Any:
        p, reg = self._term.problem, self.reg
        f, rho = self._term.potential(side), p.rho
        if not math.isinf(rho):
            left, other = np.expm1(-f / rho), p.orient(p.a, p.b)[1 - side]
            f = reg * (float(other.sum()) - 1 - left) - rho * left
        return self._place.put(f)


def entropic_cost(
    x: Any,
    y: Any,
    a: Any,
    b: Any,
    *,
    reg: float,
    cost: str | None = None,
    p: float | None = None,
    unbalanced: float | None = None,
    **options: Any,
) -> EntropicCost:
    """The cross term of :func:`sinkhorn_divergence` alone, with its arguments."""
    checked = loss_options(**options)
    cloud = cloud_of(x, y, cost, p, ("x", "y"))
    whole = problem_of(cloud, a, b, reg, unbalanced, checked)
    xy = replace(whole, mass=1.0)
    terms = solve_terms({"xy": xy}, cloud_start(checked.init, xy), checked)
    return checked.report(EntropicCost(terms, checked.tolerance(xy), whole.mass))
