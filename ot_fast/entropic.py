"""Entropic optimal transport."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import HOST, Place, to_numpy
from ._errors import ConvergenceError, ConvergenceWarning, InfeasibleError, Status
from ._geometry import DenseCost, PointCloud, as_geometry
from ._result import OTResult, Plan, Problem

METHODS = ("auto", "newton", "scaling", "log", "sns")
SMALL_KERNEL = 1 << 22  # bytes
Vector = NDArray[np.float64]


def sinkhorn(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    *,
    method: str = "auto",
    tol: float | None = None,
    max_iter: int | None = None,
    init: Any = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
    kernel_dtype: str | None = None,
    sns_steps: int | None = None,
    sns_density: float | None = None,
) -> OTResult:
    """Entropic optimal transport, ``min <C,P> + reg KL(P | a (x) b)`` over plans from a to b.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,), or None
        Marginals, >= 0, of equal sums; None is uniform. Zeros are legal.
    C : array_like, shape (n, m), or PointCloud or DenseCost
        Costs, in any unit. ``+inf`` forbids a pair. A CUDA array (CuPy, PyTorch, JAX, Numba) is
        solved on its device, in the library's current stream, and a, b and init must be arrays of
        the same library and device.
    reg : float
        Regularisation > 0, in the unit of C.
    method : {"auto", "newton", "scaling", "log", "sns"}
        ``"newton"``: sparse Newton on the semi-dual with reg scaling, tens of passes at any reg;
        where the plan is not sparse it hands over to Sinkhorn. ``"scaling"`` iterates on a stored
        kernel (float32 storage unless `kernel_dtype` says otherwise, half the memory of a float64
        C) that is absorbed and corrected as needed; ``"log"`` recomputes the exponentials in every
        pass and stores nothing of size n x m. ``"sns"`` is Sinkhorn-Newton-Sparse as published.
        ``"auto"`` is ``"newton"``, handing over to ``"scaling"`` where the kernel fits in memory;
        ``result.method`` and ``result.message`` say which it was.
    tol : float, optional
        On ``max(|P1 - a|_1, |P'1 - b|_1) / sum(a)``. Default 1e-9, or 1e-6 for float32 costs.
    max_iter : int, optional
        Passes over C or over the stored kernel, 100 000 by default.
    init : OTResult or tuple (f, g), optional
        Potentials to start from, in cost units, from any solver; one of the two may be None.
        Without it the solver comes down from a large reg; from a result of larger reg it comes
        down from there.
    callback : callable, optional
        Called after every pass with a dict of ``n_iter, reg, error, dual_value, elapsed`` (cost and
        mass in the solver's normalised units). Exceptions end the solve and propagate.
    threads : int, optional
        Default: ``OT_FAST_NUM_THREADS``, ``OMP_NUM_THREADS``, then all that this process may use.
        Results do not depend on it, to the last bit. Not for CUDA arrays.
    time_limit : float, optional
        Seconds, looked at after every pass.
    on_fail : {"warn", "raise", "ignore"}
        What to do when `tol` is not reached. The result always holds the last iterate.
    kernel_dtype : {"float32", "float64"}, optional
        Storage of the kernel, for ``method="scaling"`` only.
    sns_steps, sns_density : int and float, optional
        N1 and lambda of ``method="sns"``: Sinkhorn steps before the first Newton step (20), and
        the fraction of the plan's entries kept in the Hessian (2 / max(n, m)).

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
    ``"sns"``: Tang et al., Accelerating Sinkhorn with Sparse Newton Iterations, ICLR 2024.

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
    reg = _validate.real(reg, "reg", positive=True)
    method = _validate.choice(method, "method", METHODS)
    on_fail = _validate.choice(on_fail, "on_fail", ("warn", "raise", "ignore"))
    if kernel_dtype is not None:
        _validate.choice(kernel_dtype, "kernel_dtype", ("float32", "float64"))
        if method != "scaling":
            raise ValueError(f'kernel_dtype needs method="scaling"; got method={method!r}')
    if method != "sns" and not (sns_steps is None and sns_density is None):
        raise ValueError(f'sns_steps and sns_density need method="sns"; got method={method!r}')
    if sns_density is not None:
        sns_density = _validate.real(sns_density, "sns_density", positive=True)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable; got {type(callback).__name__}")
    limit = 0.0 if time_limit is None else _validate.real(time_limit, "time_limit", positive=True)
    passes = 100_000 if max_iter is None else _validate.integer(max_iter, "max_iter", least=0)
    count = _validate.thread_count(threads)
    if tol is not None:
        tol = _validate.real(tol, "tol", positive=False)
    problem = make_problem(a, b, C, reg, count)
    if tol is None:
        tol = 1e-6 if problem.single else 1e-9

    phi, psi, start = _start(problem, init)
    core = problem.core
    limits = core.Limits(tol, passes, limit)
    used = method
    outcome: Any
    if min(phi.size, psi.size) == 1:
        outcome = _single(problem, phi, psi)
        used = "closed form"
    elif method == "sns":
        steps = 20 if sns_steps is None else _validate.integer(sns_steps, "sns_steps", least=0)
        density = 2 / max(phi.size, psi.size) if sns_density is None else sns_density
        sns = core.SnsOptions(limits, steps=steps, density=density)
        solved = core.sns(problem.handle, sns, phi, psi, callback, problem.where)
        outcome = SimpleNamespace(
            status=solved.status,
            n_iter=solved.n_iter,
            history=solved.history,
            message=f"{steps} Sinkhorn and {solved.newton_steps} Newton steps",
        )
    else:
        kernel: str | None = kernel_dtype or "float32"
        size = phi.size * psi.size * (8 if kernel == "float64" else 4)
        if method == "scaling":
            place = problem.geometry.place
            _validate.check_memory(size, "the stored kernel", 'use method="log"', place)
        elif method == "log" or not _stores(problem, size):
            kernel = None
        options = core.SinkhornOptions(limits, kernel=kernel, start=start)
        solver = core.newton if method in ("auto", "newton") else core.sinkhorn
        outcome = solver(problem.handle, options, phi, psi, callback, problem.where)
        if method == "auto":
            dense = "log" if kernel is None else "scaling"
            used = "newton" if outcome.newton else dense
    if outcome.n_iter == 0:  # the plan of the start; with exact rows where it would overflow
        given = not np.isnan(phi).any() and Plan(problem, phi, psi).marginals()[0].sum() < 1e100
        if not given:
            h = psi + problem.log_b()
            phi[:] = problem.core.softmin(
                problem.geometry.handle, problem.core_reg, h, problem.where
            )
    _extend(problem, phi, psi)
    result = OTResult(Plan(problem, phi, psi), used, tol, outcome)
    if used == "closed form":
        result.history["error"][0] = result.marginal_error
        if callback is not None:
            callback({key: column[0].item() for key, column in result.history.items()})
    return _checked(result, on_fail)


def _single(p: Problem, phi: Vector, psi: Vector) -> Any:
    """One row or one column: the product plan is the only one."""
    if phi.size == 1:
        cost = p.core.column_min(p.geometry.handle, np.zeros(1), p.a, p.where)
        phi[:], psi[:] = 0.0, np.where(p.b > 0, cost, 0.0) / p.core_reg
    else:
        psi[:] = 0.0
        phi[:] = p.core.softmin(p.geometry.handle, p.core_reg, psi, p.where)
    dual = p.core_reg * float(p.a @ phi + np.where(p.b > 0, p.b * psi, 0.0).sum())
    line = {"n_iter": 1.0, "reg": p.core_reg, "error": 0.0, "dual_value": dual, "elapsed": 0.0}
    history = {key: np.array([value]) for key, value in line.items()}
    return SimpleNamespace(status="converged", n_iter=1, message="", history=history)


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
    init : OTResult or tuple (f, g), optional
        Start of the first solve.
    **options
        As in :func:`sinkhorn`.

    Returns
    -------
    list of OTResult
        In the order of `regs`.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.random.default_rng(0).random((40, 40))
    >>> [bool(r.converged) for r in otf.sinkhorn_path(None, None, C, [0.1, 0.01, 0.001])]
    [True, True, True]
    """
    values = np.atleast_1d(to_numpy(regs, "regs"))
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"regs must be a nonempty vector; got shape {values.shape}")
    geometry = as_geometry(C)
    results: list[OTResult | None] = [None] * values.size
    last = init
    for k in np.argsort(-values, kind="stable"):
        last = results[k] = sinkhorn(a, b, geometry, values[k].item(), init=last, **options)
    return [r for r in results if r is not None]


def make_problem(a: Any, b: Any, C: Any, reg: float, threads: int) -> Problem:
    """Validate and normalise."""
    geometry = as_geometry(C)
    _validate.no_threads(threads, "C", geometry.place)
    n, m = geometry.shape
    wa, wb, mass, b_scale = _validate.marginals(a, b, n, m, geometry.place)
    if geometry.transposed:
        wa, wb = wb, wa
    problem = Problem(geometry, wa, wb, mass, b_scale, reg, geometry.dtype == np.float32, threads)
    if problem.core_reg <= 1e-300:
        raise ValueError(f"reg must be above 1e-300 of the largest cost; reg = {reg:g}")
    if geometry.has_forbidden:
        _check_rows(problem)
    return problem


def _check_rows(p: Problem) -> None:
    """InfeasibleError for rows and columns with mass and no allowed pair."""
    zero = np.where(p.b > 0, 0.0, -np.inf)
    f, g = p.core.c_transform(p.geometry.handle, zero, p.a, p.where)
    names = ("column", "row") if p.transposed else ("row", "column")
    for name, w, low in ((names[0], p.a, f), (names[1], p.b, g)):
        dead = (w > 0) & np.isposinf(low)
        if dead.any():
            k = np.flatnonzero(dead)
            raise InfeasibleError(
                f"C forbids every pair of {name} {k[0]}, which has mass {w[k[0]] * p.mass:g} "
                f"({len(k)} such {name}s); allow a pair or set its weight to 0"
            )


def _check_flow(p: Problem) -> None:
    """InfeasibleError where the allowed pairs cannot carry the mass (a maximum flow)."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import maximum_flow

    C = p.geometry.place.host(p.geometry.to_dense())
    C = C.T if p.transposed else C
    n, m = C.shape
    unit = 2**30
    i, j = np.nonzero(np.isfinite(C))
    source, sink = n + m, n + m + 1
    tail = np.concatenate([i, np.full(n, source), np.arange(n, n + m)])
    head = np.concatenate([j + n, np.arange(n), np.full(m, sink)])
    capacity = np.concatenate(
        [np.full(len(i), unit), np.ceil(p.a * unit), np.ceil(p.b * unit)]
    ).astype(np.int32)
    graph = sp.csr_array((capacity, (tail, head)), shape=(n + m + 2, n + m + 2))
    flow = maximum_flow(graph, source, sink)
    if flow.flow_value >= unit - 2 * (n + m):
        return
    short = np.ceil(p.a * unit) - np.asarray(flow.flow[source, :n].todense()).ravel()
    k = np.flatnonzero(short > 2)
    name = "columns" if p.transposed else "rows"
    raise InfeasibleError(
        f"the pairs that C allows can carry only {flow.flow_value / unit:.6g} of the mass; "
        f"{name} {k[:5].tolist()} cannot send all of theirs. Allow more pairs, or change a or b"
    )


def _start(p: Problem, init: Any) -> tuple[Vector, Vector, float]:
    """phi, psi in units of reg, and the reg from which to come down (0: nothing is known)."""
    n, m = p.a.size, p.b.size
    if init is None:
        return np.full(n, np.nan), np.zeros(m), 0.0
    reg = p.core_reg
    if isinstance(init, OTResult):
        reg = max(reg, min(float(np.ldexp(init.reg, -p.geometry.exponent)), 1e300))
        f, g = (v.astype(np.float64) for v in init._host_potentials())
        place: Place = HOST
    else:
        try:
            f, g = init
        except (TypeError, ValueError):
            raise TypeError(
                f"init must be an OTResult or a pair (f, g); got {type(init).__name__}"
            ) from None
        place = p.geometry.place
    if f is None and g is None:
        return np.full(n, np.nan), np.zeros(m), 0.0
    sizes = p.geometry.shape
    pair: list[Any] = [
        None if v is None else _validate.potential(v, name, k, place)
        for v, name, k in zip((f, g), "fg", sizes, strict=True)
    ]
    if p.transposed:
        pair.reverse()
    k = -p.geometry.exponent
    shift = p.geometry.shift
    if pair[1] is None:
        return np.full(n, np.nan), _column_softmin(p, np.ldexp(pair[0], k) - shift), reg
    psi = np.ldexp(pair[1], k) / p.core_reg
    if pair[0] is None:
        return np.full(n, np.nan), psi, reg
    return (np.ldexp(pair[0], k) - shift) / p.core_reg + math.log(p.mass), psi, reg


def _column_softmin(p: Problem, f: Vector) -> Vector:
    """psi_j = -log sum_i a_i exp(phi_i - C_ij/reg), around the hard minimum: two passes."""
    low = p.core.column_min(p.geometry.handle, f, p.a, p.where)
    psi = np.where(np.isfinite(low), low, 0.0) / p.core_reg
    plan = p.core.Plan(p.geometry.handle, p.a, p.core_reg, f / p.core_reg, psi)
    _, col, _ = p.core.marginals(plan, True, p.where)
    return psi - np.log(np.where(col > 0, col, 1.0))


def _stores(p: Problem, size: int) -> bool:
    """Whether a kernel of this size may be kept where Newton gives way to Sinkhorn."""
    if not isinstance(p.geometry, DenseCost):
        return False
    # Asking for the free memory takes as long as a pass over a small kernel.
    return size <= SMALL_KERNEL or size < _validate.free_memory(p.geometry.place) // 2


def _extend(p: Problem, phi: Vector, psi: Vector) -> None:
    """Potentials of columns without mass: their soft c-transform, as the rows have."""
    empty = p.b == 0
    if empty.any():
        psi[empty] = _column_softmin(p, p.core_reg * phi)[empty]


def _checked(result: OTResult, on_fail: str) -> OTResult:
    if result.converged:
        return result
    if result.status is Status.STALLED and result.geometry.has_forbidden:
        _check_flow(result._problem)
    if on_fail == "raise":
        raise ConvergenceError(result.message, result)
    if on_fail == "warn":
        warnings.warn(result.message, ConvergenceWarning, stacklevel=3)
    return result


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
        What to average; the target points by default.

    Returns
    -------
    ndarray, shape (k, d), (k,) or (k, p)

    Raises
    ------
    TypeError
        If the result is not of a PointCloud.

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
    geometry = result.geometry
    if not isinstance(geometry, PointCloud):
        raise TypeError(f"entropic_map needs the result of a PointCloud; got {geometry!r}")
    p = geometry.p if geometry.cost == "power" else None
    target = PointCloud(x_new, geometry.y, geometry.cost, p=p)
    place = geometry.place
    V = to_numpy(geometry.y if values is None else values, "values", place).astype(np.float64)
    if len(V) != geometry.shape[1]:
        raise ValueError(f"values must have {geometry.shape[1]} rows; got shape {V.shape}")
    problem = result._problem
    reg = math.ldexp(problem.reg, -target.exponent)
    h = result._plan.h
    phi = problem.core.softmin(target.handle, reg, h, problem.where)
    ones = np.ones(target.shape[0])
    W = np.ascontiguousarray(V.reshape(len(V), -1).T, np.float64)
    plan = problem.core.Plan(target.handle, ones, reg, phi, h)
    out = problem.core.apply_plan(plan, W, False, problem.where).T
    out = np.ascontiguousarray(out).reshape(target.shape[0], *V.shape[1:])
    return place.put(out)  # type: ignore[no-any-return]
