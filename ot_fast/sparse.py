"""Transport with sparse plans: quadratic regularisation, and a bound on the entries of a line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _feasible, _validate
from ._errors import InfeasibleError
from ._options import Callback, Options
from ._problem import Problem
from ._results import Bound, Solve, SparsePlan, SparseResult

MAX_ITER = 10_000
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
    callback: Callback | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
) -> SparseResult:
    """Quadratically regularised optimal transport, ``min <C,P> + reg/2 |P|^2``.

    Its plan ``P_ij = max(f_i + g_j - C_ij, 0) / reg`` is sparse: the smaller reg, the sparser.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,), or None
        Marginals, >= 0, of equal sums; None is uniform. Weights below 1e-18 of their sum count as
        zero. Rows and columns of weight 0 are left out of the solve, of a matrix C where at most a
        quarter of its entries remains (a copy).
    C : array_like, shape (n, m), or PointCloud or DenseCost
        Costs, in any unit. ``+inf`` forbids a pair. CUDA arrays stay on their device: passes over
        them run there, the work on the few candidate entries on the host.
    reg : float
        Regularisation > 0, in the unit of C over that of mass.
    tol : float, optional
        On ``max(|P1 - a|_1, |P'1 - b|_1) / sum(a)``. Default 1e-9, or 1e-6 for float32 costs.
    max_iter : int, optional
        Passes over C, 10 000 by default. The start and the last stage may take a few more.
    init : result or tuple (f, g), optional
        Potentials to start from, in cost units, from any solver; one of the two may be None.
        Without it reg is lowered step by step from a value at which the plan is dense.
    callback : callable, optional
        Called after every stage (a value of reg, or a proximal step) with a dict of ``n_iter, reg,
        error, dual_value, elapsed`` (cost and mass in the solver's normalised units). Exceptions
        end the solve and propagate.
    threads : int, optional
        Default: ``OT_FAST_NUM_THREADS``, ``OMP_NUM_THREADS``, then all that this process may use.
        Results do not depend on it, to the last bit. Not for CUDA arrays.
    time_limit : float, optional
        Seconds > 0, checked between Newton steps.
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
    options = Options(
        tol=tol,
        max_iter=max_iter,
        init=init,
        callback=callback,
        threads=threads,
        time_limit=time_limit,
        on_fail=on_fail,
    )
    p = Problem.balanced(a, b, C, reg, options.thread_count)
    return _solve(p, options, method="quadratic", by_rows=True, bound=Bound())


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
    callback: Callback | None = None,
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
        maximise it for those of the other, which gives the larger bound. ``"dual"``: at the
        potentials of the solver. The two have the same maximum and the same plan.
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
    max_nz = _validate.integer(max_nz, "max_nz", least=1)
    if not isinstance(axis, int | np.integer) or isinstance(axis, bool) or axis not in (0, 1):
        raise ValueError(f"axis must be 0 (columns are bounded) or 1 (rows); got {axis!r}")
    formulation = _validate.choice(formulation, "formulation", FORMULATIONS)
    options = Options(
        tol=tol,
        max_iter=max_iter,
        init=init,
        callback=callback,
        threads=threads,
        time_limit=time_limit,
        on_fail=on_fail,
    )
    p = Problem.balanced(a, b, C, reg, options.thread_count)
    by_rows = (axis == 1) != p.transposed
    size = p.lines.geometry.shape[axis]
    if max_nz > size:
        line = ("column", "row")[axis]
        raise ValueError(f"max_nz must be at most {size}, the length of a {line}; got {max_nz}")
    lines, others = (p.a, p.b) if by_rows else (p.b, p.a)
    _check_cardinality(lines, others, max_nz, axis)
    return _solve(p, options, method=formulation, by_rows=by_rows, bound=Bound(axis, max_nz))


def _check_cardinality(lines: Vector, others: Vector, k: int, axis: int) -> None:
    """InfeasibleError where it can be proved that k entries a line are too few.

    t lines touch at most k t of the others, so that the t heaviest must weigh no more than the k t
    heaviest others. With k = 1 a line touches one other: no other may be lighter than all lines.
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


def _solve(
    p: Problem, options: Options, *, method: str, by_rows: bool, bound: Bound
) -> SparseResult:
    """Start, solve, report; `by_rows` says which lines of the core's problem hold the plan."""
    core = p.core
    f, g, warm = _start(p, options.init)
    limits = options.limits(p, MAX_ITER)
    settings: Any
    if bound.max_nz is None:
        solver = core.quadratic
        settings = core.QuadraticOptions(limits, by_rows=by_rows, warm=warm)
    else:
        solver = core.constrained
        settings = core.CardinalityOptions(
            limits,
            by_rows=by_rows,
            warm=warm,
            max_nz=min(bound.max_nz, p.geometry.shape[bound.axis or 0]),
            semi_dual=method == "semi_dual",
        )
    problem = p.core_problem(p.quadratic_reg)
    outcome = solver(problem, settings, f, g, options.callback, p.where)
    solve = Solve.of(method, options.tolerance(p), outcome)
    plan = SparsePlan.of(p, outcome.plan, by_rows)
    f[p.a == 0], g[p.b == 0] = 0.0, 0.0  # -inf in the core: such lines have no entries
    dual = outcome.dual_value
    if dual < 0:  # the core's costs are >= 0: c-transforms, which let no entry in, are better
        f, g = map(_finite, p.c_transform(np.zeros(len(p.b))))
        dual = float(p.a @ f + p.b @ g)
    result = SparseResult(plan, f, g, dual, solve, bound)
    if not result.converged and p.geometry.has_forbidden:
        _feasible.check_flow(p)
    return options.report(result)


def _start(p: Problem, init: Any) -> tuple[Vector, Vector, bool]:
    """The core's f and g, one of which may be a c-transform, and whether `init` gave them."""
    f, g = p.initial(init)
    if g is not None:
        return _finite(p.c_transform(g)[0]) if f is None else f, g, True
    if f is not None:
        return f, _finite(p.column_min(f)), True
    g = p.far_columns()
    return _finite(p.c_transform(g)[0]) if g.any() else np.zeros(len(p.a)), g, bool(g.any())


def _finite(v: Vector) -> Vector:
    return np.where(np.isfinite(v), v, 0.0)
