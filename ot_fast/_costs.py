"""Costs of pairs of points, by their names in SciPy: all that Python knows of them.

The kernels compute a cost by its name and exponent. What follows from it elsewhere is here: how it
scales with the points, a bound from their bounding boxes, values and gradients of single pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """A cost c(x, y) of two points.

    ``c(s x, s y) = s^degree c(x, y)`` exactly, for s a power of two; `degree` is None where that
    does not hold exactly. Degree 0 is a cost of directions: the kernels read points divided by
    their norms, and no point may be zero.
    """

    name: str
    p: float  # of |x - y|^p; 1 for costs that are no power of the Euclidean norm
    degree: int | None

    def bound(self, side: Vector) -> float:
        """The largest cost where coordinates differ by at most `side`, shape (d,)."""
        raise NotImplementedError

    def value(self, x: Any, y: Any, xp: Any = np) -> Any:
        """c(x_i, y_i) for float64 arrays (k, d) of the library whose functions `xp` holds: (k,)."""
        raise NotImplementedError

    def value_and_gradient(self, x: Any, y: Any, xp: Any = np) -> tuple[Any, Any]:
        """The same, and the gradients in y_i, (k, d); 0 where the cost has a kink."""
        raise NotImplementedError


class Norm(Cost):
    """|x - y|^p, the Euclidean norm to a power."""

    def bound(self, side: Vector) -> float:
        square = float(side @ side)
        if self.p == 2:
            return square
        with np.errstate(over="ignore"):
            return float(np.power(square, self.p / 2))

    def value(self, x: Any, y: Any, xp: Any = np) -> Any:
        z = y - x
        square = (z * z).sum(1)
        return square if self.p == 2 else square ** (self.p / 2)

    def value_and_gradient(self, x: Any, y: Any, xp: Any = np) -> tuple[Any, Any]:
        z = y - x
        square = (z * z).sum(1)
        if self.p == 2:
            return square, 2 * z
        apart = square > 0
        safe = xp.where(apart, square, 1.0)
        weight = xp.where(apart, self.p * safe ** (self.p / 2 - 1), 0.0)
        return xp.where(apart, safe ** (self.p / 2), 0.0), weight[:, None] * z


class CityBlock(Cost):
    """sum_k |x_k - y_k|."""

    def bound(self, side: Vector) -> float:
        return float(side.sum())

    def value(self, x: Any, y: Any, xp: Any = np) -> Any:
        return xp.abs(y - x).sum(1)

    def value_and_gradient(self, x: Any, y: Any, xp: Any = np) -> tuple[Any, Any]:
        z = y - x
        return xp.abs(z).sum(1), xp.sign(z)


class Cosine(Cost):
    """1 - x.y / (|x| |y|)."""

    def bound(self, side: Vector) -> float:
        return 2.0

    def value(self, x: Any, y: Any, xp: Any = np) -> Any:
        return 1 - (x * y).sum(1) / (norms(x, xp) * norms(y, xp))

    def value_and_gradient(self, x: Any, y: Any, xp: Any = np) -> tuple[Any, Any]:
        size = norms(y, xp)[:, None]
        u, v = x / norms(x, xp)[:, None], y / size
        cos = (u * v).sum(1)
        return 1 - cos, -(u - cos[:, None] * v) / size


COSTS: dict[str, Cost] = {
    cost.name: cost
    for cost in (
        Norm("sqeuclidean", 2.0, 2),
        Norm("euclidean", 1.0, 1),
        CityBlock("cityblock", 1.0, 1),
        Cosine("cosine", 1.0, 0),
        Norm("power", 1.0, None),  # p is the caller's
    )
}


def cost_of(name: Any, p: Any) -> Cost:
    """The cost of this name, with the exponent p where it takes one."""
    cost = COSTS[_validate.choice(name, "cost", tuple(COSTS))]
    if cost.name == "power":
        if p is None:
            raise ValueError('p must be given with cost="power": the exponent of |x - y|^p')
        return replace(cost, p=_validate.real(p, "p", positive=True))
    if p is not None:
        raise ValueError(f'p must be left out unless cost="power"; got p={p!r}, cost={name!r}')
    return cost


def norms(x: Any, xp: Any = np) -> Any:
    """|x_i| of the rows of x, shape (k,)."""
    return xp.sqrt((x * x).sum(1))
