"""Entropic optimal transport."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _feasible, _second_start, _validate
from ._arrays import to_numpy
from ._errors import Status
from ._geometry import DenseCost, PointCloud, as_geometry, points_of
from ._options import SNS, Callback, Options, Scaling
from ._problem import LARGEST_REG, History, Problem
from ._results import OTResult, Plan, Solve

METHODS = ("auto", "newton", "scaling", "log", "sns")
MAX_ITER = 100_000
SMALL_KERNEL = 1 << 22  # bytes that are stored without asking for the free memory
LARGEST_MASS = 1e100  # of the plan of a start that is taken as it is
Vector = NDArray[np.float64]
Method = str | Scaling | SNS


def sinkhorn(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    *,
    method: Method = "auto",
    tol: float | None = None,
    max_iter: int | None = None,
    init: Any = None,
    callback: Callback | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
) -> OTResult:
    """Entropic optimal transport, ``min <C,P> + reg KL(P | a (x) b)`` over plans from a to b.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,), or None
        Marginals, >= 0, of equal sums; None is uniform. Weights below 1e-18 of their sum count as
        zero. Rows and columns of weight 0 are left out of the solve, of a matrix C where at most a
        quarter of its entries remains (a copy).
    C : array_like, shape (n, m), or PointCloud or DenseCost
        Costs, in any unit. ``+inf`` forbids a pair. A CUDA array (CuPy, PyTorch, JAX, Numba) is
        solved on its device, in the library's current stream, and a, b and init must be arrays of
        the same library and device.
    reg : float
        Regularisation > 0, in the unit of C. Where float64 does not resolve it (below 1e-11 of the
        potentials), the problem is solved at the least reg that it does: ``result.reg``, with
        ``status`` "unresolved" and ``converged`` False.
    method : {"auto", "newton", "scaling", "log", "sns"}, Scaling or SNS
        ``"newton"``: sparse Newton on the semi-dual with decreasing reg, tens of passes at any reg;
        where the plan is not sparse it continues as Sinkhorn. ``"scaling"`` iterates on a stored
        kernel into which the potentials are absorbed as needed; :class:`Scaling` says in which
        precision it is stored (float32 by default, half the memory of a float64 C). ``"log"``
        recomputes the exponentials in every pass and stores nothing of size n x m. ``"sns"`` is
        Sinkhorn-Newton-Sparse as published; :class:`SNS` holds its parameters. ``"auto"`` is
        ``"newton"``, continued as ``"scaling"`` where the kernel fits in memory and as ``"log"``
        elsewhere; ``result.method`` says which it was.
    tol : float, optional
        On ``max(|P1 - a|_1, |P'1 - b|_1) / sum(a)``. Default 1e-9, or 1e-6 for float32 costs.
    max_iter : int, optional
        Passes over C or over the stored kernel, 100 000 by default; 0 evaluates `init`. An
        iteration takes a second pass where columns of the plan underflow.
    init : result or tuple (f, g), optional
        Potentials to start from, in cost units, from any solver; one of the two may be None.
        Without it reg is lowered step by step from a large value; from an OTResult of larger reg it
        is lowered from there.
    callback : callable, optional
        Called after every pass with a dict of ``n_iter, reg, error, dual_value, elapsed`` (cost and
        mass in the solver's normalised units). Exceptions end the solve and propagate.
    threads : int, optional
        Default: ``OT_FAST_NUM_THREADS``, ``OMP_NUM_THREADS``, then all that this process may use.
        Results do not depend on it, to the last bit. Not for CUDA arrays.
    time_limit : float, optional
        Seconds > 0, checked after every pass.
    on_fail : {"warn", "raise", "ignore"}
        What to do when `tol` is not reached. The result always holds the last iterate.

    Returns
    -------
    OTResult

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, or of wrong value or shape.
    InfeasibleError
        Where no plan avoids the forbidden pairs.
    MemoryError
        Where the stored kernel does not fit (``"scaling"`` only).
    ConvergenceError
        With ``on_fail="raise"``.

    Notes
    -----
    One pass over C is a whole iteration: f, the exact row marginal and the column marginal. It
    costs n m exponentials (``log``) or reads 4 n m bytes (``scaling``). Sinkhorn: Cuturi 2013.
    Steps are Anderson accelerated in the b-weighted metric and guarded by the dual objective.
    ``"newton"`` solves with ``diag(c) - T' diag(1/a) T``, T the entries of the plan above a
    threshold, by conjugate gradients (after Tang and Qiu, Safe and Sparse Newton, NeurIPS 2024);
    ``"sns"``: Tang et al., Accelerating Sinkhorn with Sparse Newton Iterations, ICLR 2024. A solve
    of up to 4 million costs on the host that stalls (not ``"sns"``) starts again from the
    potentials of exact transport.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> rng = np.random.default_rng(0)
    >>> C = rng.random((50, 60))
    >>> r = otf.sinkhorn(None, None, C, reg=0.05)
    >>> r.converged, bool(abs(r.plan.sum(1) - 1 / 50).max() < 1e-9)
    (True, True)
    >>> r.lower_bound <= r.upper_bound <= r.value_linear + 1e-6
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
    method = _method(method)
    problem = Problem.balanced(a, b, C, reg, options.thread_count)
    plan, solve = _solve(problem, method, options)
    result = OTResult(plan, solve)
    stuck = result.status in (Status.STALLED, Status.UNRESOLVED)
    if result.status is Status.MAX_ITER and max_iter is None:  # not the caller's limit
        stuck = True
    if stuck and problem.geometry.has_forbidden:
        _feasible.check_flow(problem)
    return options.report(result)


def _method(method: Any) -> Method:
    """The method, checked; "scaling" and "sns" become their default options."""
    if isinstance(method, Scaling | SNS):
        return method
    if not isinstance(method, str):
        raise TypeError(
            f"method must be one of {METHODS}, a Scaling or an SNS; got {type(method).__name__}"
        )
    _validate.choice(method, "method", METHODS)
    return Scaling() if method == "scaling" else SNS() if method == "sns" else method


def _solve(p: Problem, method: Method, options: Options) -> tuple[Plan, Solve]:
    """Start, and solve."""
    phi, psi, start = _start(p, options.init)
    if p.shape[1] == 1:
        p, solve = _solve_column(p, options, phi, psi)
    elif options.max_iter == 0:
        p, solve = _evaluate(p, method, options, phi, psi)
    elif isinstance(method, SNS):
        p, solve = _solve_sns(p, method, options, phi, psi)
    else:
        p, solve = _solve_sinkhorn(p, method, options, phi, psi, start)
    return Plan(p, phi, psi), solve


# ---- the start ---------------------------------------------------------------------------------


def _start(p: Problem, init: Any) -> tuple[Vector, Vector, float]:
    """phi (NaN where unknown), psi, and the reg of the start (0: there is none)."""
    phi, reg = np.full(len(p.a), np.nan), p.core_reg
    f, g = p.initial(init)
    if isinstance(init, OTResult):
        reg = max(reg, min(p.core_cost(init.reg), LARGEST_REG))
    if g is not None:
        return phi if f is None else p.phi(f), p.psi(g), reg
    if f is not None:
        return phi, p.column_softmin(f), reg
    return phi, p.psi(p.far_columns()), 0.0


# ---- the solvers: potentials are start and result ----------------------------------------------
# They also return the problem at the reg that the potentials are of: where float64 does not resolve
# the one asked for, it is larger.


def _solve_column(p: Problem, options: Options, phi: Vector, psi: Vector) -> tuple[Problem, Solve]:
    """One column: the product plan is the only one, at any reg."""
    psi[:] = 0.0
    phi[:] = p.softmin(psi)
    tol = options.tolerance(p)
    if not Plan(p, phi, psi).error <= tol:  # reg is too small for the plan to have digits
        f = p.c_transform(psi)[0]
        f = np.where(np.isfinite(f), f, 0.0)  # a row without weight may have no pair
        q = p.at(max(np.abs(f).max(), p.core_reg))
        phi[:] = f / q.core_reg
        p = q
    record = {
        "n_iter": 1.0,
        "reg": p.core_reg,
        "error": Plan(p, phi, psi).error,
        "dual_value": p.core_reg * float(p.a @ phi + np.where(p.b > 0, p.b * psi, 0.0).sum()),
        "elapsed": 0.0,
    }
    if options.callback is not None:
        options.callback(dict(record))
    columns = {key: np.array([value]) for key, value in record.items()}
    return p, Solve("closed form", tol, Status.CONVERGED, 1, columns)


def _evaluate(
    p: Problem, method: Method, options: Options, phi: Vector, psi: Vector
) -> tuple[Problem, Solve]:
    """max_iter = 0: the plan of the start, with exact rows where that is no plan."""
    reg, status = p.core_reg, Status.MAX_ITER
    known = not np.isnan(phi).any()
    if not known:
        phi[:] = p.c_transform(np.where(p.b > 0, reg * psi, -np.inf))[0] / reg
    p = p.at(p.core.resolved_reg(p.core_problem(reg, warm=True), phi, psi, p.where))
    if p.core_reg > reg:
        status = Status.UNRESOLVED
        psi *= reg / p.core_reg
        phi *= reg / p.core_reg
    if not known or not Plan(p, phi, psi).marginals()[0].sum() < LARGEST_MASS:
        phi[:] = p.softmin(psi)
    columns = {key: np.zeros(0) for key in History.__annotations__}
    return p, Solve(_name(method, newton=True), options.tolerance(p), status, 0, columns)


def _solve_sns(
    p: Problem, sns: SNS, options: Options, phi: Vector, psi: Vector
) -> tuple[Problem, Solve]:
    density = 2 / max(p.shape) if sns.density is None else float(sns.density)
    settings = p.core.SnsOptions(options.limits(p, MAX_ITER), steps=int(sns.steps), density=density)
    problem = p.core_problem(p.core_reg)
    outcome = p.core.sns(problem, settings, phi, psi, options.callback, p.where)
    p = p.at(outcome.reg)
    if not outcome.error <= 2:  # larger than that of any plan with exact rows
        phi[:] = p.softmin(psi)
    steps = f"{sns.steps} Sinkhorn and {outcome.newton_steps} Newton steps"
    return p, replace(Solve.of(sns.name, options.tolerance(p), outcome), message=steps)


def _solve_sinkhorn(
    p: Problem, method: Method, options: Options, phi: Vector, psi: Vector, start: float
) -> tuple[Problem, Solve]:
    """Newton or Sinkhorn, in the log domain or on a stored kernel."""
    kernel = _kernel(p, method)
    solver = p.core.newton if method in ("auto", "newton") else p.core.sinkhorn
    problem = p.core_problem(p.core_reg)

    def run(options: Options, again: bool) -> Any:
        limits, reg = options.limits(p, MAX_ITER), p.core_reg if again else start
        settings = p.core.SinkhornOptions(limits, kernel=kernel, start=reg)
        return solver(problem, settings, phi, psi, options.callback, p.where)

    outcome = _second_start.solve(p, phi, psi, options, MAX_ITER, run)
    name = _name(method, newton=outcome.newton, kernel=kernel)
    return p.at(outcome.reg), Solve.of(name, options.tolerance(p), outcome)


def _kernel(p: Problem, method: Method) -> str | None:
    """The dtype of the stored kernel; None where exponentials are recomputed in every pass."""
    entries, place = math.prod(p.shape), p.geometry.place
    if isinstance(method, Scaling):
        size = entries * np.dtype(method.dtype).itemsize
        _validate.check_memory(size, "the stored kernel", 'use method="log"', place)
        return method.dtype
    if method == "log" or not isinstance(p.geometry, DenseCost):
        return None
    size = 4 * entries
    # Asking for the free memory takes as long as a pass over a small kernel.
    fits = size <= SMALL_KERNEL or size < _validate.free_memory(place) // 2
    return "float32" if fits else None


def _name(method: Method, *, newton: bool, kernel: str | None = None) -> str:
    """`result.method`: for "auto", the method that solved the problem."""
    if not isinstance(method, str):
        return method.name
    if method != "auto":
        return method
    return "newton" if newton else "log" if kernel is None else "scaling"


# ---- what is built on a solve ------------------------------------------------------------------


def sinkhorn_path(
    a: Any, b: Any, C: Any, regs: Any, *, init: Any = None, **options: Any
) -> list[OTResult]:
    """Entropic transport along a path of regularisations, each solve warm-started by the last.

    Parameters
    ----------
    a, b, C
        As in :func:`sinkhorn`; C is validated once.
    regs : array_like, shape (k,)
        Regularisations > 0, in any order; they are solved from the largest to the smallest.
    init : result or tuple (f, g), optional
        Start of the first solve.
    **options
        ``method, tol, max_iter, callback, threads, time_limit, on_fail`` of every solve, as in
        :func:`sinkhorn`.

    Returns
    -------
    list of OTResult
        In the order of `regs`.

    Raises
    ------
    TypeError, ValueError, InfeasibleError, MemoryError, ConvergenceError
        As :func:`sinkhorn`.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.random.default_rng(0).random((40, 40))
    >>> [bool(r.converged) for r in otf.sinkhorn_path(None, None, C, [0.1, 0.01, 0.001])]
    [True, True, True]
    """
    values = _validate.regs(regs)
    geometry = as_geometry(C)
    results: list[OTResult | None] = [None] * values.size
    last = init
    for k in np.argsort(-values, kind="stable"):
        last = results[k] = sinkhorn(a, b, geometry, values[k].item(), init=last, **options)
    return [r for r in results if r is not None]


def entropic_map(result: OTResult, x_new: Any, values: Any = None) -> NDArray[np.float64]:
    """The plan of a point-cloud problem, extended to new source points and averaged.

    ``T(x) = sum_j P(j | x) v_j`` with ``P(j | x)`` proportional to
    ``b_j exp((g_j - c(x, y_j)) / reg)``: the entropic map of Pooladian and Niles-Weed (2021) for
    the squared Euclidean cost, the barycentric projection on the source points themselves.

    Parameters
    ----------
    result : OTResult
        A solve on a :class:`PointCloud`.
    x_new : array_like, shape (k, d)
    values : array_like, shape (m,) or (m, p), optional
        Values v_j to average; the target points by default.

    Returns
    -------
    ndarray, shape (k, d), (k,) or (k, p)

    Raises
    ------
    TypeError
        Where the result is not an OTResult of a PointCloud, or an array is not real.
    ValueError
        For arrays of wrong value or shape.

    Notes
    -----
    Two passes over the k x m costs, O(k + m) memory.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.linspace(0, 1, 20)[:, None]
    >>> r = otf.sinkhorn(None, None, otf.PointCloud(x, x + 3), reg=1e-3)
    >>> bool(np.allclose(otf.entropic_map(r, x), x + 3, atol=0.02))
    True
    """
    if not isinstance(result, OTResult):
        raise TypeError(f"result must be an OTResult; got {type(result).__name__}")
    geometry, p = result.geometry, result._problem
    solved = p.geometry
    if not (isinstance(geometry, PointCloud) and isinstance(solved, PointCloud)):
        raise TypeError(f"result must be of a PointCloud; it is of {geometry!r}")
    points = points_of((x_new, solved.y), ("x_new", "y"))
    target = PointCloud.of(*points, geometry.ground_cost, transposed=False)
    place = geometry.place
    V = to_numpy(geometry.y if values is None else values, "values", place).astype(np.float64)
    if V.shape[:1] != geometry.shape[1:]:
        raise ValueError(f"values must have {geometry.shape[1]} rows; got shape {V.shape}")
    V = p.lines.restricted(V, 1)
    b, psi = p.orient(p.a, p.b)[1], p.orient(result._plan.phi, result._plan.psi)[1]
    p = replace(p, geometry=target, a=np.ones(target.shape[0]), b=b)
    plan = p.core_plan(p.a, p.softmin(psi), psi + p.log_b())
    W = np.ascontiguousarray(V.reshape(len(V), -1).T, np.float64)
    out = p.core.apply_plan(plan, W, False, p.where).T
    out = np.ascontiguousarray(out).reshape(target.shape[0], *V.shape[1:])
    return place.put(out)  # type: ignore[no-any-return]
