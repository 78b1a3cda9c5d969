"""Transport with sparse plans: quadratic regularisation, and a bound on the entries of a line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import HOST, Place
from ._errors import ConvergenceError, ConvergenceWarning, InfeasibleError
from ._result import OTResult, Problem
from ._sparse_result import SparseResult
from .entropic import _check_flow, make_problem

FORMULATIONS = ("semi_dual", "dual")
Vector = NDArray[np.float64]


def quadratic(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    init: Any = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
) -> SparseResult:
    """Quadratically regularised optimal transport, ``min <C,P> + reg/2 |P|^2``.

    Its plan ``P_ij = max(f_i + g_j - C_ij, 0) / reg`` is sparse: the smaller reg, the sparser.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,), or None
        Marginals, >= 0, of equal sums; None is uniform. Zeros are legal.
    C : array_like, shape (n, m), or PointCloud or DenseCost
        Costs, in any unit. ``+inf`` forbids a pair. CUDA arrays stay on their device: passes over
        them run there, the work on the few candidate entries on the host.
    reg : float
        Regularisation > 0, in the unit of C over that of mass.
    tol : float, optional
        On ``max(|P1 - a|_1, |P'1 - b|_1) / sum(a)``. Default 1e-9, or 1e-6 for float32 costs.
    max_iter : int, optional
        Passes over C, 10 000 by default.
    init : SparseResult, OTResult or tuple (f, g), optional
        Potentials to start from, in cost units. Without it reg comes down from a dense plan.
    callback : callable, optional
        Called on the way with a dict of ``n_iter, reg, error, dual_value, elapsed`` (cost and mass
        in the solver's normalised units). Exceptions end the solve and propagate.
    threads : int, optional
        Default: ``OT_FAST_NUM_THREADS``, ``OMP_NUM_THREADS``, then all that this process may use.
        Results do not depend on it, to the last bit. Not for CUDA costs, which take the default.
    time_limit : float, optional
        Seconds, looked at between Newton steps.
    on_fail : {"warn", "raise", "ignore"}
        What to do when `tol` is not reached.

    Returns
    -------
    SparseResult

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, or of wrong value or shape.
    InfeasibleError
        Where no plan avoids the forbidden pairs.
    MemoryError
        Where the entries of the plan do not fit.
    ConvergenceError
        With ``on_fail="raise"``.

    Notes
    -----
    Newton's method on the semi-dual, its systems by conjugate gradients, on candidate entries: a
    pass over C (n m additions) keeps the entries of slack ``f_i + g_j - C_ij > -margin``, and no
    other can matter before the potentials have moved by that much. Tens of passes. Memory is that
    of the candidates: a few times the entries of the plan in the end, but up to n m / 32 of 100
    bytes at the start, less than half of a float64 C. Where reg is so small (below 1e-5 of the
    range of C) that rounding keeps Newton's method from `tol`, the plan is a vertex of least cost
    by the network simplex: it has the marginals, and its value exceeds the least by at most
    ``reg/2 sum(a)^2``.
    Problem and dual: Blondel, Seguy and Rolet, Smooth and sparse optimal transport (2018), section
    3; Lorenz, Manns and Meyer, Quadratically regularized optimal transport (2021), for the
    semismooth Newton method.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    >>> r = otf.quadratic(None, None, C, reg=1.0)
    >>> r.converged, bool(abs(r.gap) < 1e-9)
    (True, True)
    >>> r.sparse_plan.nnz < C.size
    True
    """
    setup = _Setup(a, b, C, reg, tol, max_iter, init, callback, threads, time_limit, on_fail)
    p = setup.problem
    return setup.solve("quadratic", len(p.a) >= len(p.b), None, None, False)


def sparsity_constrained(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    max_nz: int,
    *,
    axis: int = 0,
    formulation: str = "semi_dual",
    tol: float | None = None,
    max_iter: int | None = None,
    init: Any = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
) -> SparseResult:
    """Optimal transport with at most `max_nz` entries in every column (or row) of the plan.

    ``min <C,P> + reg/2 |P|^2`` over plans from a to b with ``|P_:j|_0 <= max_nz``. With
    ``max_nz = n`` this is :func:`quadratic`; with ``max_nz = 1`` its dual is that of
    unregularised transport, plus ``reg/2 |b|^2``.

    Parameters
    ----------
    a, b, C, reg
        As in :func:`quadratic`.
    max_nz : int
        Entries allowed in a column, from 1 to n (in a row, from 1 to m, with ``axis=1``).
    axis : {0, 1}
        0 bounds the columns of the plan, 1 its rows.
    formulation : {"semi_dual", "dual"}
        Where the dual is evaluated in the end. ``"semi_dual"``: the potentials of the bounded side
        maximise it for those of the other, which gives the larger bound. ``"dual"``: both as the
        solver has them. The two have the same maximum and the same plan.
    tol, max_iter, init, callback, threads, time_limit, on_fail
        As in :func:`quadratic`.

    Returns
    -------
    SparseResult
        Its plan has at most `max_nz` entries a column, and the marginals to `tol` where
        ``converged``. ``dual_value`` bounds the value of all such plans, ``gap`` says how far the
        plan can be from the best; the problem is not convex, and a gap may remain.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, or of wrong value or shape.
    InfeasibleError
        Where no plan has so few entries: too few in all for the rows that have mass, or columns
        that outweigh the rows they may touch. Where none was *found* although none of this holds,
        the result says so (``status`` "stalled"), and `on_fail` decides: for general masses the
        question is as hard as bin packing.
    MemoryError
        Where the candidate entries do not fit.
    ConvergenceError
        With ``on_fail="raise"``.

    Notes
    -----
    Liu, Puigcerver and Blondel, Sparsity-constrained optimal transport (ICLR 2023), equations 10
    and 11. The quadratic solution comes first. The dual is then maximised by proximal steps, which
    smooth the ties for the `max_nz`-th place, each solved by Newton's method on candidate entries.
    A vertex of the transport polytope (network simplex) completes the largest entries to a support
    that carries a plan, and quadratic transport on that support is the plan returned. Where that
    fails or leaves a gap above 1 % (uneven masses), vertices are searched by simulated annealing
    (Kirkpatrick, Gelatt and Vecchi, 1983) from a fixed sequence of random numbers: a bounded effort
    of the order of the rest, the same plan every time.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.random.default_rng(0).random((60, 60))
    >>> r = otf.sparsity_constrained(None, None, C, reg=1.0, max_nz=2)
    >>> r.cardinality, r.converged, r.dual_value <= r.value
    (2, True, True)
    """
    bound = _validate.integer(max_nz, "max_nz", least=1)
    if isinstance(axis, bool) or axis not in (0, 1):
        raise ValueError(f"axis must be 0 (columns are bounded) or 1 (rows); got {axis!r}")
    formulation = _validate.choice(formulation, "formulation", FORMULATIONS)
    setup = _Setup(a, b, C, reg, tol, max_iter, init, callback, threads, time_limit, on_fail)
    p = setup.problem
    by_rows = (axis == 1) != p.transposed
    size = p.geometry.shape[axis]
    if bound > size:
        raise ValueError(
            f"max_nz must be at most {size}, the length of a {('column', 'row')[axis]}; got {bound}"
        )
    lines, others = (p.a, p.b) if by_rows else (p.b, p.a)
    _check_cardinality(lines, others, bound, axis)
    return setup.solve(formulation, by_rows, axis, bound, formulation == "semi_dual")


def _check_cardinality(lines: Vector, others: Vector, k: int, axis: int) -> None:
    """InfeasibleError where it can be proved that k entries a line are too few.

    t lines touch at most k t of the others, so that the t heaviest must weigh no more than the k t
    heaviest others. With k = 1 a line lies in one other: none may be lighter than all lines.
    """
    line, other = (("column", "row"), ("row", "column"))[axis]
    b, a = (v[v > 0] for v in (lines, others))
    if k * len(b) < len(a):
        raise InfeasibleError(
            f"max_nz = {k} allows {k * len(b)} entries in the {len(b)} {line}s that have mass, and "
            f"{len(a)} {other}s have mass, each of which needs one; raise max_nz to at least "
            f"{-(-len(a) // len(b))}"
        )
    # Where no line outweighs k mean others, t lines never outweigh the k t heaviest.
    if b.max() * len(a) > k:
        a, b = (np.sort(v)[::-1] for v in (a, b))
        held = np.cumsum(a)[np.minimum(k * np.arange(1, len(b) + 1), len(a)) - 1]
        mass = np.cumsum(b)
        short = mass - held > 1e-9
        if short.any():
            t = int(np.argmax(short)) + 1
            raise InfeasibleError(
                f"the {t} heaviest {line}s hold {mass[t - 1]:.6g} of the mass, and the "
                f"{min(k * t, len(a))} {other}s that max_nz = {k} lets them touch at most "
                f"{held[t - 1]:.6g}; raise max_nz"
            )
    if k == 1 and a.min() < b.min() * (1 - 1e-9):
        raise InfeasibleError(
            f"max_nz = 1 sends every {line} to one {other}, and the lightest {other} "
            f"({a.min():.6g} of the mass) is lighter than every {line}; raise max_nz"
        )


class _Setup:
    """What both solvers are given, validated."""

    def __init__(
        self,
        a: Any,
        b: Any,
        C: Any,
        reg: float,
        tol: float | None,
        max_iter: int | None,
        init: Any,
        callback: Any,
        threads: int | None,
        time_limit: float | None,
        on_fail: str,
    ) -> None:
        reg = _validate.real(reg, "reg", positive=True)
        self.on_fail = _validate.choice(on_fail, "on_fail", ("warn", "raise", "ignore"))
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable; got {type(callback).__name__}")
        self.callback = callback
        limit = (
            None if time_limit is None else _validate.real(time_limit, "time_limit", positive=True)
        )
        self.time_limit = limit or 0.0
        most = 10_000 if max_iter is None else _validate.integer(max_iter, "max_iter", least=0)
        self.max_iter = most
        if tol is not None:
            tol = _validate.real(tol, "tol", positive=False)
        self.problem = make_problem(a, b, C, reg, _validate.thread_count(threads))
        self.tol = tol if tol is not None else 1e-6 if self.problem.single else 1e-9
        self.f, self.g, self.warm = _start(self.problem, init)

    def solve(
        self, method: str, by_rows: bool, axis: int | None, max_nz: int | None, semi_dual: bool
    ) -> SparseResult:
        p = self.problem
        core = p.core
        # |P|^2 at unit mass is mass times larger, relative to <C,P>.
        reg = min(p.core_reg * p.mass, 1e300)
        problem = core.Problem(p.geometry.handle, p.a, p.b, reg, p.geometry.scale)
        common = {
            "limits": core.Limits(self.tol, self.max_iter, self.time_limit),
            "by_rows": by_rows,
            "warm": self.warm,
        }
        if max_nz is None:
            solver, options = core.quadratic, core.QuadraticOptions(**common)
        else:
            solver = core.constrained
            options = core.CardinalityOptions(**common, max_nz=max_nz, semi_dual=semi_dual)
        outcome = solver(problem, options, self.f, self.g, self.callback, p.where)
        tol = self.tol
        result = SparseResult(p, self.f, self.g, method, tol, by_rows, axis, max_nz, outcome)
        if result.converged:
            return result
        if p.geometry.has_forbidden:
            _check_flow(p)
        if self.on_fail == "raise":
            raise ConvergenceError(result.message, result)
        if self.on_fail == "warn":
            warnings.warn(result.message, ConvergenceWarning, stacklevel=3)
        return result


def _start(p: Problem, init: Any) -> tuple[Vector, Vector, bool]:
    """f, g of the core's problem, and whether they are a start."""
    f, g = np.zeros(len(p.a)), np.zeros(len(p.b))
    if init is None:
        return f, g, False
    place: Place = p.geometry.place
    if isinstance(init, OTResult | SparseResult):
        init, place = init._host_potentials(), HOST
    try:
        pair = list(init)
        if len(pair) != 2:
            raise TypeError
    except TypeError:
        raise TypeError(
            f"init must be a SparseResult, an OTResult or a pair (f, g); got {type(init).__name__}"
        ) from None
    sizes = p.geometry.shape
    pair = [
        _validate.potential(v, name, k, place) for v, name, k in zip(pair, "fg", sizes, strict=True)
    ]
    if p.transposed:
        pair.reverse()
    k = -p.geometry.exponent
    f[:] = np.ldexp(pair[0], k) - p.geometry.shift
    g[:] = np.ldexp(pair[1], k)
    return f, g, True
