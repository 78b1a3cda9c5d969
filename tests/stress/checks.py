"""Solves a case and judges what comes back: every check recomputes from what was returned.

Rounding: a cost of C is taken to be known to `Noise.cost`, sums of a plan to `Noise.sums`.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import ot_fast as otf

from . import oracles
from .draw import LOSSES, Case

# From the worst to the best; a case has the worst of what was found.
OUTCOMES = (
    "crash",  # an exception of a wrong kind, or the process died
    "silent",  # a wrong number, or "converged" where it is not
    "nan",
    "changed",  # the inputs
    "untrue",  # an error or a flag without its reason
    "vacuous",  # a bound that is infinite, or beyond what `fair_gap` allows
    "unequal",  # other bits for the same problem, transposed or in another unit
    "slow",
    "flagged",  # not converged, and says so
    "refused",  # an error, with a true reason
    "right",
)
SLOW = 20.0  # seconds: the lesser of wall and processor time, as a busy machine does not count
TIME_LIMIT = 5 * SLOW
LEAST_REG = 1e-12  # of the largest cost: a smaller reg may be refused
TWINS = 100_000  # costs of a problem that is solved again, transposed and in another unit
UNIT = 2.0**20
Vector = np.ndarray


@dataclass
class Record:
    """What a case gave."""

    case: Case
    found: list[tuple[str, str]] = field(default_factory=list)  # outcome, text
    converged: bool | None = None  # None where there is no result
    seconds: float = 0.0
    passes: int = 0

    def add(self, outcome: str, text: str) -> None:
        self.found.append((outcome, text))

    def check(self, holds: bool, outcome: str, text: str) -> None:
        if not holds:
            self.add(outcome, text)

    @property
    def outcome(self) -> str:
        return min((o for o, _ in self.found), key=OUTCOMES.index, default="right")


@dataclass(frozen=True)
class Noise:
    """Rounding of a case, in its costs' unit."""

    eps: float
    cost: float  # of one cost that the plan uses
    sums: float  # relative, of sums over the plan

    @classmethod
    def of(cls, case: Case, P: Vector) -> Noise:
        eps = float(np.finfo(np.float32 if case.single else np.float64).eps)
        finite = np.isfinite(case.C)
        if case.points is None:  # C - min C is rounded
            used = finite & (1e-9 * P.max(initial=0) < P)
            size = abs(case.C[used]).max(initial=0) + abs(case.C[finite].min(initial=np.inf))
        else:  # squared distances may be expanded, about the mean point
            size = 4 * case.C[finite].max(initial=0) * (2 + case.points[0].shape[1] ** 0.5)
            size += case.cost == "cosine"  # 1 less a product
        terms = max(64.0, 8 * max(P.shape) ** 0.5)
        return cls(eps, 4 * eps * float(size if np.isfinite(size) else 0), terms * eps)


def run(case: Case) -> Record:
    """Solve and check."""
    record = Record(case)
    before = [v.tobytes() for v in case.inputs()]
    start = time.monotonic(), time.process_time()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = solve(case)
            results = result if isinstance(result, list) else [result]
            for r in results:  # computed on first access
                getattr(r, "gap", None), getattr(r, "gradient", None)
        record.seconds = _seconds(start)
    except Exception as error:  # of any kind: judging it is the purpose
        record.seconds = _seconds(start)
        _check_error(record, error)
    else:
        converged = [r.converged for r in results]
        record.converged, record.passes = all(converged), sum(r.n_iter for r in results)
        for r in results:
            _check_result(record, r)
        warned = {type(w.message) for w in caught}
        record.check(
            (otf.ConvergenceWarning in warned) != all(converged), "untrue", "warning and status"
        )
        others = warned - {otf.ConvergenceWarning}
        record.check(not others, "crash", f"warns: {[str(w.message) for w in caught]}")
    record.check(record.seconds <= SLOW, "slow", f"{record.seconds:.1f} s")
    after = [v.tobytes() for v in case.inputs()]
    record.check(before == after, "changed", "an input array was written to")
    if record.converged and case.C.size <= TWINS and record.seconds < 2:
        _check_twins(record, result)
    return record


def _seconds(start: tuple[float, float]) -> float:
    """The lesser of wall and processor time since then."""
    return min(time.monotonic() - start[0], time.process_time() - start[1])


# ---- the calls ---------------------------------------------------------------------------------


def solve(case: Case, **more: Any) -> Any:
    """What the case's call returns."""
    kind, _, variant = case.solver.partition(" ")
    options = {"time_limit": TIME_LIMIT} | case.options | more
    if case.solver in LOSSES:
        return _solve_loss(case, kind, options)
    if isinstance(options.get("init"), str):  # a result of another reg
        easier = replace(case, reg=10 * case.reg, options={**case.options, "on_fail": "ignore"})
        easier.options.pop("init")
        options["init"] = solve(easier)
    geometry = case.matrix
    if case.points is not None:
        geometry = otf.PointCloud(*case.points, case.cost, p=case.p)
    if kind == "quadratic":
        return otf.quadratic(case.a, case.b, geometry, case.reg, **options)
    if kind == "sparsity_constrained":
        axis = options.pop("axis", 1 if variant == "rows" else 0)
        return otf.sparsity_constrained(case.a, case.b, geometry, case.reg, axis=axis, **options)
    if kind == "sinkhorn_path":
        regs = case.reg * np.array([10.0, 1.0, 100.0])
        return otf.sinkhorn_path(case.a, case.b, geometry, regs, **options)
    method = otf.Scaling(dtype="float64") if variant == "scaling float64" else variant
    return otf.sinkhorn(case.a, case.b, geometry, case.reg, method=method, **options)


def _solve_loss(case: Case, kind: str, options: dict[str, Any]) -> Any:
    x, y = case.points
    options |= {"cost": case.cost, "p": case.p, "reg": case.reg}
    if kind == "monge_gap":
        return otf.monge_gap(x, y, **options)
    if kind == "entropic_cost":  # what the layers compute
        from ot_fast._entropic_cost import entropic_cost

        return entropic_cost(x, y, case.a, case.b, **options)
    return otf.sinkhorn_divergence(x, y, case.a, case.b, **options)


# ---- errors ------------------------------------------------------------------------------------


def _check_error(record: Record, error: Exception) -> None:
    """An error must have a true reason."""
    case, text = record.case, f"{type(error).__name__}: {error}"
    a, b = case.weights
    if isinstance(error, otf.InfeasibleError):
        possible = _feasible(case, a, b)
        record.check(possible is not True, "untrue", f"{text}; a plan exists")
        record.add("refused", text)
    elif isinstance(error, ValueError) and "reg must be" in text:
        true = case.reg < LEAST_REG * max(case.largest, abs(case.C[np.isfinite(case.C)]).max())
        record.add("refused" if true else "untrue", text)
    elif isinstance(error, ValueError) and ("Rescale x and y" in text or "must be below" in text):
        limit = 1e36 if case.single else 1e298
        far = max(abs(v).max() for v in case.points)
        true = case.largest > limit or far > (2.0**40 if case.single else 2.0**100)
        record.add("refused" if true else "untrue", text)
    else:
        record.add("crash", text)


def _feasible(case: Case, a: Vector, b: Vector) -> bool | None:
    """Whether a plan exists, by a linear or integer programme; None where that is too large."""
    C, most = case.C, case.options.get("max_nz")
    rows, cols = a > 0, b > 0
    a, b, C = a[rows], b[cols], C[np.ix_(rows, cols)]
    allowed = np.isfinite(C)
    if not (allowed.any(0).all() and allowed.any(1).all()):
        return False
    if min(a.min(), b.min()) < 1e-6 * a.sum():  # the programmes do not resolve these
        return None
    if most is not None and C.size <= 64:
        if case.solver.endswith("rows"):
            a, b, C = b, a, C.T
        return oracles.fits(a, b, C, most)
    if most is None and C.size <= 10_000:
        return oracles.carried(a, b, C) > 1 - 1e-9
    return None


# ---- results -----------------------------------------------------------------------------------


def _check_result(record: Record, r: Any) -> None:
    case = record.case
    if not r.converged:
        if r.status is otf.Status.UNRESOLVED:  # r.reg is the least that is resolved
            record.check(case.reg < r.reg, "untrue", f"flag: {r.message}")
        else:
            record.check(r.marginal_error > r.tol * (1 - 1e-9), "untrue", f"flag: {r.message}")
            record.check("above tol" in r.message, "untrue", f"flag: {r.message}")
        record.add("flagged", r.message)
        if not (np.isfinite(case.C).all() or case.solver.startswith("sparsity")):
            possible = _feasible(case, *case.weights)
            record.check(possible is not False, "untrue", f"no plan exists, but: {r.message}")
    if case.solver in LOSSES:
        from .losses import check_loss

        check_loss(record, r)
    elif case.solver.startswith("sinkhorn"):
        _check_entropic(record, r)
    else:
        _check_sparse(record, r)


def check_marginals(record: Record, r: Any, P: Vector, a: Vector, b: Vector, slack: float) -> float:
    """The error of a plan, recomputed; it decides whether "converged" is true."""
    sums = [np.sum(P, axis=k, dtype=np.longdouble) for k in (1, 0)]
    error = max(abs(s - w).sum() for s, w in zip(sums, (a, b), strict=True)) / a.sum()
    error = float(error)
    if r.converged:
        true = error <= r.tol * (1 + 1e-6) + slack
        record.check(true, "silent", f"converged, but the marginals are off by {error:.3g}")
    elif r.status is not otf.Status.UNRESOLVED:
        wrong = np.isfinite(error) and error < r.tol * (1 - 1e-3) - slack
        record.check(not wrong, "untrue", f"not converged, but the error is {error:.3g}")
    return error


def check_finite(record: Record, r: Any, names: tuple[str, ...]) -> bool:
    """No attribute holds NaN."""
    bad = [n for n in names if np.isnan(np.asarray(getattr(r, n), float)).any()]
    record.check(not bad, "nan", f"NaN in {bad}")
    return not bad


def reach(f: Vector, g: Vector, a: Vector, b: Vector) -> float:
    """How far potentials reach where there is mass: the price of moving mass along the plan."""
    return float(np.ptp(f[a > 0]) + np.ptp(g[b > 0]))


def weighed(w: Vector, u: Vector) -> float:
    """sum w |u| over what has weight."""
    return float(w[w > 0] @ abs(u[w > 0]))


def _check_entropic(record: Record, r: Any) -> None:
    case, (a, b) = record.case, record.case.weights
    numbers = ("value", "value_linear", "dual_value", "lower_bound", "upper_bound", "f", "g")
    if not check_finite(record, r, ("plan", *numbers)):
        return
    C, mass = case.C, a.sum()
    P = np.asarray(r.plan, np.float64)
    f, g = (np.asarray(v, np.float64) for v in r.potentials)
    noise = Noise.of(case, P)
    error = check_marginals(record, r, P, a, b, noise.sums * (1e-3 if not case.single else 1.0))
    if not r.converged and not error < 1e-3:  # far from a plan: only the bounds mean something
        _check_certificate(record, r, error, reach(f, g, a, b), noise)
        return
    _check_gibbs(record, r, P, f, g, noise)
    size = oracles.linear(P, abs(C)) + mass * noise.cost / noise.eps / 4
    rounding = noise.sums * (
        size + (a @ abs(f))[None].sum() + float(b @ np.where(b > 0, abs(g), 0))
    )
    got, want = r.value_linear, oracles.linear(P, C)
    record.check(abs(got - want) <= rounding, "silent", f"value_linear {got!r}, plan {want!r}")
    want += r.reg * oracles.relative_entropy(P, a, b)
    rounding += noise.sums * r.reg * mass * (1 + abs(np.log(mass)) + np.log(P.size) + mass)
    got = r.value
    record.check(abs(got - want) <= rounding, "silent", f"value {got!r}, of the plan {want!r}")
    if np.isfinite(C).all() or r.converged:
        exact = np.longdouble if C.size <= 144 else np.float64
        arrays = (v.astype(exact) for v in (a, b, C))
        low, high, far = oracles.entropic_interval(
            *arrays, r.reg, g.astype(exact), 200 if C.size <= 144 else 20 if case.single else 2
        )
        far += abs(f[a > 0]).max() + abs(g[b > 0]).max()  # the price of mass that is missing
        span = error * mass * (far + 40 * r.reg) + rounding
        text = f"of the optimum in [{low!r}, {high!r}], error {error:.2g}"
        record.check(low - span <= r.value <= high + span, "silent", f"value {r.value!r} {text}")
        record.check(r.dual_value <= high + span, "silent", f"dual_value {r.dual_value!r} {text}")
        if r.converged:
            record.check(r.dual_value >= low - span, "silent", f"dual {r.dual_value!r} {text}")
    _check_certificate(record, r, error, reach(f, g, a, b), noise)


def _check_gibbs(record: Record, r: Any, P: Vector, f: Vector, g: Vector, noise: Noise) -> None:
    """log(P / ab) = (f + g - C) / reg where it is no rounding."""
    case, (a, b) = record.case, record.case.weights
    tiny = 1e-30 if np.asarray(r.plan).dtype == np.float32 else 1e-290
    i, j = np.nonzero(tiny < P)
    with np.errstate(divide="ignore"):
        got = np.log(P[i, j]) - np.log(a[i]) - np.log(b[j])
    seen = got > (-60 if case.single else -600)
    i, j, got = i[seen], j[seen], got[seen]
    want = (f[i] + g[j] - case.C[i, j]) / r.reg
    sizes = abs(f[i]) + abs(g[j]) + abs(case.C[i, j])
    slack = (8 * noise.eps * sizes + noise.cost) / r.reg + 16 * noise.sums + 4e-15 * abs(got)
    off = abs(got - want) - slack
    worst = float(off.max(initial=0))
    record.check(worst <= 0, "silent", f"plan and potentials: log P differs by {worst:.2g}")


def fair_gap(case: Case, reg: float, error: float, span: float) -> float:
    """How far apart honest bounds may be: what the entropy costs (reg times the logarithm of the
    number of pairs, for each of the two), and moving what mass is missing along the plan.
    """
    n, m = case.C.shape
    mass = float(case.weights[0].sum())
    return mass * (4 * reg * (1 + np.log(n * m)) + 8 * max(error, 1e-14) * (span + 40 * reg))


def _check_certificate(record: Record, r: Any, error: float, span: float, noise: Noise) -> None:
    case, (a, b) = record.case, record.case.weights
    low, high = r.lower_bound, r.upper_bound
    exact = oracles.exact(a, b, case.C)
    rounding = noise.sums * (abs(low) if np.isfinite(low) else 0) + a.sum() * noise.cost
    rounding += 1e-30 * a.sum()  # where all costs used are 0
    if exact is not None:
        rounding += 1e-13 * (a.sum() * exact.reach + abs(exact.low))
        # Potentials over reg are rounded, and with them the entries of the plan.
        rounding += 4e-16 * span / r.reg * abs(exact.low)
        text = f"{low!r} <= [{exact.low!r}, {exact.high!r}] <= {high!r}"
        record.check(low <= exact.high + rounding, "silent", f"lower bound: {text}")
        record.check(high >= exact.low - rounding, "silent", f"upper bound: {text}")
        span = min(span, exact.reach)
        if case.C.size <= oracles.LARGEST_LINEAR and case.largest < 1e6:
            other = oracles.linear_programme(a, b, case.C)
            near = 1e-6 * (a.sum() * case.largest + abs(exact.high))
            if other is not None and abs(other - exact.high) > near:
                raise AssertionError(f"POT finds {exact}, HiGHS {other}")
    record.check(low <= high + rounding, "silent", f"bounds cross: {low!r}, {high!r}")
    finite = np.isfinite(low) and np.isfinite(high)
    record.check(finite, "vacuous", f"bounds {low!r}, {high!r}")
    fair = fair_gap(case, r.reg, error, span) + 2 * rounding
    if finite and error < 1e-3:
        record.check(
            high - low <= fair, "vacuous", f"{low!r} <= OT <= {high!r}: fair is {fair:.3g}"
        )


def _check_sparse(record: Record, r: Any) -> None:
    case, (a, b) = record.case, record.case.weights
    numbers = ("value", "value_linear", "dual_value", "gap", "f", "g")
    if not check_finite(record, r, ("plan", *numbers)):
        return
    C, mass, most = case.C, a.sum(), case.options.get("max_nz")
    P = np.asarray(r.plan, np.float64)
    f, g = (np.asarray(v, np.float64) for v in r.potentials)
    noise = Noise.of(case, P)
    single = np.asarray(r.plan).dtype == np.float32
    error = check_marginals(record, r, P, a, b, 4 * (6e-8 if single else 4e-16))
    rows = case.solver.endswith("rows")
    if most is not None:
        found = int((P > 0).sum(1 if rows else 0).max())
        record.check(found <= most, "silent", f"{found} entries in a line, {most} allowed")
    square = float(np.sum(P * P, dtype=np.longdouble))
    size = oracles.linear(P, abs(C)) + mass * noise.cost / noise.eps / 4
    rounding = noise.sums * (size + r.reg * square)
    want = oracles.linear(P, C)
    got = r.value_linear
    record.check(abs(got - want) <= rounding, "silent", f"value_linear {got!r}, plan {want!r}")
    want += 0.5 * r.reg * square
    record.check(abs(r.value - want) <= rounding, "silent", f"value {r.value!r}, plan {want!r}")
    slack = np.maximum(f[:, None] + g - C, 0)[np.ix_(a > 0, b > 0)]
    if most is not None:
        slack = np.sort(slack, axis=1 if rows else 0)
        slack = slack[:, -most:] if rows else slack[-most:]
    potentials = weighed(a, f) + weighed(b, g)
    dual = float(
        np.sum(a * f, dtype=np.longdouble)
        + np.sum(b * g, dtype=np.longdouble)
        - np.sum(slack * slack, dtype=np.longdouble) / (2 * r.reg)
    )
    largest = max(abs(f).max(), abs(g).max())
    rounding += noise.sums * (potentials + slack.sum() / r.reg * (largest + noise.cost / noise.eps))
    record.check(
        abs(dual - r.dual_value) <= rounding, "silent", f"dual {r.dual_value!r}, by f, g {dual!r}"
    )
    if not r.converged:
        return
    far = abs(f[a > 0]).max() + abs(g[b > 0]).max()
    span = error * mass * far + rounding
    record.check(r.gap >= -span, "silent", f"dual_value above value: gap {r.gap:.3g}")
    # Where reg is below 1e-5 of a bound of the costs, a vertex may be returned.
    vertex = 0.5 * r.reg * mass**2 if r.reg * mass < 1e-4 * case.largest else 0.0
    if most is None:
        fair = vertex + 10 * span + 1e-11 * mass * case.largest
        record.check(r.gap <= fair, "vacuous", f"gap {r.gap:.3g} of value {r.value:.6g}")
    exact = oracles.exact(a, b, C)
    if exact is not None:
        dense = 0.5 * r.reg * mass * min(a.max(), b.max())  # reg/2 |P|^2 is no larger
        span += 1e-12 * mass * exact.reach
        linear = r.value_linear
        record.check(linear >= exact.low - span, "silent", f"<C,P> {linear!r}: {exact}")
        if most is None:
            top = exact.high + dense + vertex + 10 * span
            record.check(r.value <= top, "silent", f"value {r.value!r}: at most {top!r}")
        record.check(
            r.dual_value >= exact.low - dense - abs(exact.low) - mass * case.largest,
            "vacuous",
            f"dual_value {r.dual_value!r}",
        )


# ---- the same problem, seen otherwise ----------------------------------------------------------


def _check_twins(record: Record, result: Any) -> None:
    """Transposed, and in another unit, a problem has the same bits."""
    case = record.case
    if case.solver in LOSSES or case.solver == "sinkhorn_path" or "init" in case.options:
        return
    n, m = case.C.shape
    kept = [np.count_nonzero(w) for w in case.weights]  # what is left of n and m
    P = np.asarray(result.plan)
    given = case.a is not None and case.b is not None
    same_mass = not given or case.a.sum(dtype=float) == case.b.sum(dtype=float)
    if n != m and kept[0] != kept[1] and same_mass:  # the plan has the mass of a
        turned = solve(transposed(case), on_fail="ignore")
        record.check(
            np.array_equal(np.asarray(turned.plan).T, P), "unequal", "the transposed problem"
        )
    floats = case.matrix is not None and 1e-10 < case.largest < 1e20
    if floats:
        other = replace(case, matrix=case.matrix * case.matrix.dtype.type(UNIT))
        other.reg *= UNIT
        scaled = solve(other, on_fail="ignore")
        same = np.array_equal(np.asarray(scaled.plan), P)
        record.check(same, "unequal", f"costs and reg times {UNIT:g}")


def transposed(case: Case) -> Case:
    """The same problem with rows and columns exchanged."""
    options = dict(case.options)
    if case.solver.startswith("sparsity"):
        options["axis"] = 0 if case.solver.endswith("rows") else 1
    return replace(
        case,
        C=case.C.T,
        a=case.b,
        b=case.a,
        matrix=None if case.matrix is None else case.matrix.T,
        points=None if case.points is None else case.points[::-1],
        options=options,
    )
