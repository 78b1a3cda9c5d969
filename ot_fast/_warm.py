"""How the terms of a loss start: from potentials that are given, or from those of the last call."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import HOST, Place
from ._geometry import PointCloud, Points
from ._losses import Start, Term, solve_term
from ._options import Options
from ._problem import Problem

Vector = NDArray[np.float64]


class WarmStart:
    """Carries potentials from call to call of a loss in a training loop.

    Pass one object as ``init`` to :func:`monge_gap`, :func:`sinkhorn_divergence` or their layers in
    ``ot_fast.torch`` and ``ot_fast.jax``, at every step. Each term of each loss starts from the
    potentials of the last call: where the points they belong to are the same, as they are; on
    another batch, as the dual function that they define, evaluated at the new points (one pass,
    counted). A term of which nothing has changed is not solved again. Whether a start pays is
    measured: now and then a term is solved without one, and where that takes fewer passes (large
    reg, small batches) the next solves are too. A WarmStart can be pickled and copied.

    Attributes
    ----------
    solves : int
        Terms solved.
    passes : int
        Passes over the costs that they took, extensions included.
    saved : int
        Passes saved, counting every solve at the mean of the solves of its term without a start.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> warm = otf.WarmStart()
    >>> for step in range(5):
    ...     gap = otf.monge_gap(x, (2 + 0.01 * step) * x, reg=0.1, init=warm)
    >>> warm.solves, warm.saved > 0
    (5, True)
    """

    def __init__(self) -> None:
        self._last: dict[str, Term] = {}
        self._means: dict[str, dict[str, list[float]]] = {}  # name -> start -> passes, solves
        self.reset_counts()

    def reset_counts(self) -> None:
        """Start counting again; potentials stay."""
        self.solves = self.passes = self.saved = 0

    def solve(self, name: str, p: Problem, options: Options) -> Term:
        """The term of this name, started from its last potentials."""
        last = self._last.get(name)
        f, g, extra, start = None, None, 0, "cold"
        if last is not None:
            new, old = p.geometry, last.cloud
            assert isinstance(new, PointCloud)
            row, column = p.orient(0, 1)  # the sides, x or y, of the core's rows and columns
            fits = _kind(old) == _kind(new)
            same_columns = fits and _equal(old.points[column], new.points[column])
            same = same_columns and _equal(old.points[row], new.points[row])
            if same and _unchanged(last, p, options):
                self.saved += round(self._cold_passes(name))
                return last
            if fits:
                start = self._chosen(name, "same" if same_columns else "extended")
            if start == "same":
                g = last.potentials[column]
                if old.shape == new.shape:  # a guess that the first pass replaces
                    f = last.potentials[row]
            elif start == "extended":
                g, extra = last.extended(new.points[column], column), 1
        term = solve_term(p, options, f, g)
        self._count(name, start, term.n_iter + extra)
        self._last[name] = term
        return term

    def _chosen(self, name: str, start: str) -> str:
        """This start, or "cold" where that has taken fewer passes so far or is due for a trial."""
        cold, other = self._means[name]["cold"], self._means[name].get(start)
        if other is None:
            return start
        better, worse = start, "cold"
        if cold[0] * other[1] < other[0] * cold[1]:
            better, worse = worse, better
        tries = cold[1] + other[1]
        return worse if self._means[name][worse][1] < tries / 100 else better

    def _count(self, name: str, start: str, passes: int) -> None:
        mean = self._means.setdefault(name, {}).setdefault(start, [0.0, 0.0])
        mean[0] += passes
        mean[1] += 1
        self.solves += 1
        self.passes += passes
        self.saved += round(self._cold_passes(name)) - passes

    def _cold_passes(self, name: str) -> float:
        passes, solves = self._means[name]["cold"]
        return passes / solves

    def __copy__(self) -> WarmStart:
        """Shares the terms, which no call changes, and counts on its own."""
        new = type(self)()
        new.__dict__ |= self.__dict__
        new._last, new._means = dict(self._last), copy.deepcopy(self._means)
        return new

    def __repr__(self) -> str:
        return f"WarmStart({self.solves} solves, {self.passes} passes, {self.saved} saved)"


def _kind(cloud: PointCloud) -> tuple[Any, ...]:
    return cloud.ground_cost, cloud.dimension, cloud.dtype, cloud.place


def _equal(x: Points, y: Points) -> bool:
    """Whether two clouds of one place are the same."""
    if x.array.shape != y.array.shape or not np.array_equal(x.box, y.box):
        return False
    with x.place.active():
        return bool((x.array == y.array).all())


def _unchanged(last: Term, p: Problem, options: Options) -> bool:
    """Whether a term between the same points is solved as it was asked for."""
    old = last.problem
    return (
        (old.reg, old.rho) == (p.reg, p.rho)
        and last.error <= options.tolerance(p)
        and np.array_equal(old.a, p.a)
        and np.array_equal(old.b, p.b)
    )


class Given:
    """Starts from potentials of columns that the caller gave, by the name of their term."""

    def __init__(self, potentials: dict[str, Vector]) -> None:
        self.potentials = potentials

    def solve(self, name: str, p: Problem, options: Options) -> Term:
        return solve_term(p, options, g=self.potentials.get(name))


def start_of(
    init: Any, kind: type[Any], terms: Sequence[tuple[str, str | None, int]], p: Problem
) -> Start:
    """How the terms start: a WarmStart as it is, or the potentials of a result or of a tuple.

    `terms` holds the name of each potential, the term that it starts (None: none) and whether it is
    of the rows (0) or columns (1) of the problem. A result may be of any place, as its potentials
    are on the host; a tuple is of that of the problem.
    """
    place: Place = p.geometry.place
    if isinstance(init, WarmStart):
        return init
    if init is None:
        return Given({})
    if isinstance(init, kind):
        init, place = init._host_potentials((p.weight(0), p.weight(1))), HOST
    if not isinstance(init, (tuple, list)) or len(init) != len(terms):
        names = ", ".join(name for name, _, _ in terms)
        raise TypeError(
            f"init must be a WarmStart, a {kind.__name__} or a tuple ({names}); got "
            f"{type(init).__name__}"
        )
    starts = {}
    for value, (name, term, side) in zip(init, terms, strict=True):
        checked = p.lines.start(value, name, side, place)
        if term:
            starts[term] = checked
    return Given(starts)
