"""Exact optimal transport."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._errors import InfeasibleError
from ._exact_problem import ExactProblem
from ._geometry.listed import ListedCost
from ._options import Callback, Options
from ._results import ExactResult

MAX_ITER = 2**62
SMALL = 4096  # pairs
NONE = (np.zeros(0, np.int32),) * 2


def emd(
    a: Any,
    b: Any,
    C: Any,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    init: Any = None,
    callback: Callback | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
) -> ExactResult:
    """Exact optimal transport, ``min <C,P>`` over plans from a to b, with a proof of optimality.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,), or None
        Marginals, >= 0, of equal sums; None is uniform. Zeros are legal. Integer masses give an
        integer plan.
    C : array_like, shape (n, m), or PointCloud, DenseCost or sparse matrix of SciPy
        Costs, in any unit and of any sign. ``+inf`` forbids a pair. Costs of a PointCloud are
        computed as they are needed: memory O(n + m). Missing entries of a sparse matrix are
        forbidden, stored zeros are costs of 0; it is never made dense. CUDA arrays are copied to
        the host, where the simplex works.
    tol : float, optional
        Relative gap ``(upper_bound - lower_bound) / |value|`` that is accepted. Default 0: the
        solve ends with a proof that no pair can lower the cost.
    max_iter : int, optional
        Pivots of the simplex, not limited by default.
    init : result or tuple (f, g), optional
        Potentials to start from, in cost units, from any solver; one of the two may be None. An
        ExactResult gives its basis too: after a small change of C, a or b a solve takes few pivots.
    callback : callable, optional
        Called after every round (a pass over all pairs) with a dict of ``n_iter, reg, error,
        dual_value, elapsed``: pivots, 0, the most negative reduced cost, the dual value (in the
        solver's units). Exceptions end the solve and propagate.
    threads : int, optional
        Default: ``OT_FAST_NUM_THREADS``, ``OMP_NUM_THREADS``, then all that this process may use.
        Results do not depend on it, to the last bit. Not for CUDA arrays.
    time_limit : float, optional
        Seconds > 0. The result then is a plan with the marginals, and bounds on the least cost.
    on_fail : {"warn", "raise", "ignore"}
        What to do when optimality was not proved.

    Returns
    -------
    ExactResult

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, or of wrong value or shape.
    InfeasibleError
        Where no plan avoids the forbidden pairs; it names rows that cannot send all of their mass.
    ConvergenceError
        With ``on_fail="raise"``.

    Notes
    -----
    Loosely solved entropic transport gives dual potentials (from about 100 x 100 on). The pairs of
    least reduced cost of every row and column are the arcs of a network simplex (strongly feasible
    bases: Cunningham 1976), whose flows are integers of 2^-62 of the mass. A pass over C then finds
    pairs that violate its potentials; these join the arcs, until a pass finds none: there
    ``f_i + g_j - C_ij`` is at most 16 eps ``(|C_ij| + |f_i| + |g_j|)`` for all pairs. One to ten
    passes.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 0.0]])
    >>> r = otf.emd([3, 4], [2, 2, 3], C)
    >>> r.plan
    array([[2., 1., 0.],
           [0., 1., 3.]])
    >>> r.value, r.gap, r.converged
    (7.0, 0.0, True)
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
    p = ExactProblem.of(a, b, C, options.thread_count)
    rows = p.initial(options.init)
    weights = p.core_masses()
    f, g = np.zeros(len(weights[0])) if rows is None else rows, np.zeros(len(weights[1]))
    host = p.host
    core = host.core
    gap = float(options.tol or 0.0)
    limits = core.Limits(gap, options.passes(MAX_ITER), float(options.time_limit or 0.0))
    basis = p.orient(*init.pairs) if isinstance(init, ExactResult) else NONE
    settings = core.ExactOptions(limits, warm=rows is not None, rows=basis[0], columns=basis[1])
    if isinstance(host, ListedCost):
        outcome = core.exact_listed(*host.pairs(), weights, settings, (f, g), options.callback)
    else:
        # The scale, from the median of costs, takes longer than the solve of a small problem.
        scale = host.scale if math.prod(host.shape) > SMALL else host.range
        problem = core.Problem(host.handle, *weights, 1.0, scale)
        outcome = core.exact(problem, settings, f, g, options.callback, p.threads)
    _check_cut(p, outcome)
    return options.report(ExactResult(p, f, g, outcome, gap))


def _check_cut(p: ExactProblem, outcome: Any) -> None:
    """InfeasibleError where the core found rows that cannot send all of their mass."""
    rows, columns, excess = outcome.cut
    if not len(rows):
        return
    row, column = p.orient("row", "column")
    mass = float(p.orient(p.a, p.b)[0][rows].sum())
    raise InfeasibleError(
        f"{row}s {rows[:5].tolist()}{', ...' if len(rows) > 5 else ''} hold mass {mass:.6g}, and "
        f"all pairs that C allows them lie in {len(columns)} {column}s that take "
        f"{p.value_of_mass(excess):.6g} less. Allow more pairs, or change a or b"
    )
