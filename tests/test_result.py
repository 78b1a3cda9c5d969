"""OTResult: every field against what NumPy makes of the plan, statuses, warnings."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest
from problems import COSTS, clouds, entropic_value, marginal_error, random_problem, spec
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

import ot_fast as otf

REG = 0.02
METHODS = ("newton", "scaling", "log")
GEOMETRIES = ("dense", "cloud")


def problem(geometry="dense", n=40, m=30, dtype="float64"):
    a, b, C = random_problem(n, m, seed=21, dtype=dtype)
    if geometry == "dense":
        return a, b, C
    rng = np.random.default_rng(22)
    return a, b, otf.PointCloud(rng.random((n, 2)).astype(dtype), rng.random((m, 2)).astype(dtype))


@pytest.fixture(params=GEOMETRIES)
def solved(request):
    a, b, C = problem(request.param)
    cost = C if request.param == "dense" else C.to_dense()
    return otf.sinkhorn(a, b, C, REG), a, b, cost


# ---- fields -----------------------------------------------------------------------------------


def test_fields_agree_with_the_plan(solved):
    r, a, b, C = solved
    value, linear = entropic_value(r.plan, a, b, C, REG)
    assert r.value == pytest.approx(value, rel=1e-9)
    assert r.value_linear == pytest.approx(linear, rel=1e-9)
    assert r.dual_value == pytest.approx(a @ r.f + b @ r.g - REG * (r.plan.sum() - 1), rel=1e-9)
    assert r.marginal_error == pytest.approx(marginal_error(r.plan, a, b), rel=1e-6, abs=1e-14)
    assert r.gap == pytest.approx(r.upper_bound - r.lower_bound)
    assert r.reg == REG
    assert r.b_scale == pytest.approx(1, abs=1e-12)
    assert r.method in METHODS


def test_potentials_are_f_and_g_and_give_the_plan(solved):
    r, a, b, C = solved
    np.testing.assert_array_equal(r.potentials[0], r.f)
    np.testing.assert_array_equal(r.potentials[1], r.g)
    gibbs = np.outer(a, b) * np.exp((r.f[:, None] + r.g - C) / REG)
    np.testing.assert_allclose(r.plan, gibbs, rtol=1e-10)


def test_costly_fields_are_computed_once(solved):
    r, *_ = solved
    assert r.plan is r.plan


def test_outputs_do_not_alias_inputs(solved):
    r, a, b, C = solved
    for output in (r.plan, r.f, r.g):
        for given in (a, b, C):
            assert not np.shares_memory(output, given)


@pytest.mark.parametrize("method", METHODS)
def test_history_records_the_solve(method):
    a, b, C = problem()
    r = otf.sinkhorn(a, b, C, REG, method=method)
    assert set(r.history) == {"n_iter", "reg", "error", "dual_value", "elapsed"}
    assert {v.ndim for v in r.history.values()} == {1}
    assert len({len(v) for v in r.history.values()}) == 1
    assert (np.diff(r.history["n_iter"]) > 0).all()
    assert (np.diff(r.history["elapsed"]) >= 0).all()
    assert r.history["n_iter"][-1] <= r.n_iter
    assert r.history["reg"][-1] == REG
    assert r.history["error"][-1] <= 1e-9 < r.history["error"][0]
    assert r.history["dual_value"][-1] == pytest.approx(r.value, rel=1e-8)


def test_b_is_rescaled_to_the_mass_of_a_and_says_so():
    a, b, C = problem()
    r = otf.sinkhorn(a, b * (1 - 5e-8), C, REG)
    assert r.b_scale == pytest.approx(1 / (1 - 5e-8), abs=1e-14)
    np.testing.assert_allclose(r.plan.sum(0), b, rtol=0, atol=1e-9)
    np.testing.assert_allclose(r.plan.sum(1), a, rtol=0, atol=1e-9)


def test_repr_tells_the_outcome():
    a, b, C = problem()
    r = otf.sinkhorn(a, b, C, REG)
    for part in ("OTResult", "40 x 30", "0.02", f"{r.marginal_error:.2e}", f"{r.value:.10g}"):
        assert part in repr(r)
    r = otf.sinkhorn(a, b, C, REG, max_iter=1, on_fail="ignore")
    assert "max_iter" in repr(r)
    assert len(repr(r)) < 500


# ---- statuses ---------------------------------------------------------------------------------

UNFINISHED = {
    "no sweep": ({"max_iter": 0}, otf.Status.MAX_ITER),
    "two sweeps": ({"max_iter": 2}, otf.Status.MAX_ITER),
    "three sweeps": ({"max_iter": 3}, otf.Status.MAX_ITER),
    "no time": ({"time_limit": 1e-9, "tol": 1e-13}, otf.Status.TIME_LIMIT),
    "unreachable tolerance": ({"tol": 0.0}, otf.Status.STALLED),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("case", UNFINISHED)
def test_unfinished_solve_is_flagged_and_finite(method, geometry, case):
    options, status = UNFINISHED[case]
    a, b, C = problem(geometry)
    r = otf.sinkhorn(a, b, C, REG * 5, method=method, on_fail="ignore", **options)
    assert r.status == status
    assert not r.converged
    assert np.isfinite(r.plan).all()
    assert r.marginal_error == pytest.approx(marginal_error(r.plan, a, b), rel=1e-6, abs=1e-15)
    assert r.n_iter < 10_000
    if "max_iter" in options:
        assert r.n_iter <= options["max_iter"]


def test_status_is_a_string():
    assert otf.Status.CONVERGED == "converged"
    assert isinstance(otf.Status.STALLED, str)
    names = {"CONVERGED", "MAX_ITER", "TIME_LIMIT", "STALLED", "UNRESOLVED"}
    assert {s.name for s in otf.Status} == names


@pytest.mark.parametrize("method", METHODS)
def test_time_limit_is_kept(method):
    *_, C = random_problem(1500, 1500, seed=23)
    r = otf.sinkhorn(None, None, C, 1e-5, method=method, time_limit=0.01, on_fail="ignore")
    assert r.status == otf.Status.TIME_LIMIT
    assert 0.01 <= r.history["elapsed"][-1] <= 2.0


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("method", METHODS)
def test_converged_means_the_plan_meets_the_tolerance(method, tol):
    a, b, C = problem()
    r = otf.sinkhorn(a, b, C, 0.1, method=method, tol=tol)
    assert r.converged
    assert r.status == otf.Status.CONVERGED
    assert marginal_error(r.plan, a, b) <= tol + 1e-15


def test_looser_tolerance_takes_fewer_passes():
    passes = [otf.sinkhorn(*problem(), REG, tol=tol).n_iter for tol in (1e-2, 1e-5, 1e-8)]
    assert passes == sorted(set(passes))


@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-9), ("float32", 1e-6)])
def test_default_tolerance(dtype, tol):
    a, b, C = problem(dtype=dtype)
    r = otf.sinkhorn(a, b, C, 0.5)
    assert r.converged
    assert r.history["error"][-1] <= tol
    assert r.n_iter == otf.sinkhorn(a, b, C, 0.5, tol=tol).n_iter


# ---- what is said when it did not converge ----------------------------------------------------


def test_one_warning_that_gives_error_and_advice():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        r = otf.sinkhorn(*problem(), REG, max_iter=3)
    (warning,) = caught
    assert warning.category is otf.ConvergenceWarning
    assert issubclass(otf.ConvergenceWarning, UserWarning)
    assert warning.filename == __file__  # the caller's line, not the library's
    text = str(warning.message)
    assert f"{r.marginal_error:.2e}" in text
    assert "max_iter" in text
    assert r.message
    assert r.message in text or text in r.message


def test_on_fail_raise():
    with pytest.raises(otf.ConvergenceError, match="max_iter"):
        otf.sinkhorn(*problem(), REG, max_iter=3, on_fail="raise")
    assert not issubclass(otf.ConvergenceError, (RuntimeError, ValueError))
    assert otf.sinkhorn(*problem(), REG, on_fail="raise").converged


@pytest.mark.parametrize("on_fail", ["ignore", "warn"])
def test_nothing_is_printed(on_fail, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        r = otf.sinkhorn(*problem(), REG, max_iter=3, on_fail=on_fail)
    assert not r.converged
    assert capfd.readouterr() == ("", "")


# ---- sparse plans -----------------------------------------------------------------------------


def dense_kept(P, option, amount):
    if option == "threshold":
        return np.where(amount <= P, P, 0)
    if option == "top_k":
        rank = np.argsort(np.argsort(-P, axis=1), axis=1)
        return np.where(rank < amount, P, 0)
    order = np.argsort(-P, axis=None)
    held = np.cumsum(P.ravel()[order]) - P.ravel()[order]
    kept = np.zeros(P.size)
    chosen = order[held < amount * P.sum()]
    kept[chosen] = P.ravel()[chosen]
    return kept.reshape(P.shape)


KEPT = [
    ("threshold", 1e-4),
    ("threshold", 0.0),
    ("threshold", 10.0),
    ("top_k", 1),
    ("top_k", 7),
    ("top_k", 30),
    ("mass", 0.5),
    ("mass", 0.999),
    ("mass", 1.0),
]


@pytest.mark.parametrize(("option", "amount"), KEPT)
def test_sparsify(solved, option, amount):
    r, *_ = solved
    kept = r.sparsify(**{option: amount})
    assert isinstance(kept, sparse.csr_array)
    assert kept.shape == r.plan.shape
    assert kept.has_canonical_format
    expected = dense_kept(r.plan, option, amount)
    if (option, amount) == ("mass", 1.0):  # where "all" ends is rounding
        np.testing.assert_allclose(kept.toarray(), expected, rtol=0, atol=1e-12)
    else:
        np.testing.assert_allclose(kept.toarray(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sparsify_keeps_the_dtype(dtype, order):
    a, b, C = problem(dtype=dtype)
    r = otf.sinkhorn(a, b, np.asarray(C, order=order), 0.5)
    for rule in ({"top_k": 2}, {"threshold": 1e-4}, {"mass": 0.5}):
        assert r.sparsify(**rule).dtype == dtype


def test_sparsify_with_forbidden_pairs_and_zero_weights():
    a, b, C = problem(n=12, m=9)
    C[0, 1:] = C[1:5, 0] = np.inf
    a[0], a[11], b[8] = b[0] / 2, 0, 0
    a, b = a / a.sum(), b / b.sum()
    a[0] = b[0] / 2
    a[1:] *= (1 - a[0]) / a[1:].sum()
    r = otf.sinkhorn(a, b, C, 0.5)
    for option, amount in [("threshold", 1e-9), ("top_k", 3), ("mass", 0.9)]:
        got = r.sparsify(**{option: amount}).toarray()
        np.testing.assert_allclose(got, dense_kept(r.plan, option, amount), rtol=1e-12)


def test_sparsify_of_ties():
    r = otf.sinkhorn(None, None, np.zeros((6, 6)), 1.0)  # every entry is 1/36
    assert (np.diff(r.sparsify(top_k=2).indptr) == 2).all()
    assert r.sparsify(threshold=0.999 / 36).nnz == 36
    assert r.sparsify(threshold=1.001 / 36).nnz == 0
    assert r.sparsify(mass=0.5).sum() >= 0.5 - 1e-12


BAD_KEPT = [
    ({}, ValueError),
    ({"threshold": 0.1, "top_k": 2}, ValueError),
    ({"threshold": -1.0}, ValueError),
    ({"threshold": np.nan}, ValueError),
    ({"top_k": 0}, ValueError),
    ({"top_k": "3"}, TypeError),
    ({"mass": 0.0}, ValueError),
    ({"mass": 1.5}, ValueError),
    ({"mass": "all"}, TypeError),
]


@pytest.mark.parametrize(("options", "error"), BAD_KEPT)
def test_sparsify_rejects(options, error):
    r = otf.sinkhorn(*problem(), 0.5)
    with pytest.raises(error, match="|".join(options) or "threshold"):
        r.sparsify(**options)


SPARSE = {
    "quadratic": lambda *p: otf.quadratic(*p, 0.5),
    "rows": lambda *p: otf.sparsity_constrained(None, None, p[2], 0.5, 6, axis=1),
    "columns": lambda *p: otf.sparsity_constrained(None, None, p[2], 0.5, 6),
}


@pytest.mark.parametrize("solver", SPARSE)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("option", "amount"), KEPT)
def test_sparsify_of_a_sparse_result(solver, order, option, amount):
    a, b, C = problem()
    r = SPARSE[solver](a, b, np.asarray(C, order=order))
    kept = r.sparsify(**{option: amount})
    assert isinstance(kept, sparse.csr_array)
    assert kept.dtype == r.plan.dtype
    expected = dense_kept(r.plan, option, amount)
    np.testing.assert_allclose(kept.toarray(), expected, rtol=1e-12, atol=1e-12 * r.plan.max())


def test_sparsify_does_not_change_the_result():
    r = SPARSE["quadratic"](*problem())
    kept = r.sparsify(threshold=0.0)
    kept.data[:] = 0
    assert r.sparse_plan.sum() == pytest.approx(1)


@pytest.mark.parametrize("tol", [1e-2, 1e-9])
def test_sparse_plan_holds_all_but_tol_of_the_mass(solved, tol):
    _, a, b, C = solved
    r = otf.sinkhorn(a, b, C, REG / 4, tol=tol)
    P, S = r.plan, r.sparse_plan
    assert np.shares_memory(S.data, r.sparse_plan.data)
    np.testing.assert_allclose(S.toarray(), dense_kept(P, "mass", 1 - tol), rtol=1e-12)
    assert P.sum() * (1 - tol) - 1e-12 <= S.sum() <= P.sum() * (1 + 1e-12)
    assert S.nnz < P.size


@pytest.mark.parametrize("tol", [0.0, 1.0, 7.0])
def test_sparse_plan_at_extreme_tolerances(tol):
    r = otf.sinkhorn(*problem(), REG, tol=tol, on_fail="ignore")
    assert 1 <= r.sparse_plan.nnz <= r.plan.size
    if tol == 0:
        assert r.sparse_plan.sum() == pytest.approx(1, abs=1e-11)
    else:
        assert r.sparse_plan.max() == r.plan.max()


def test_sparse_plan_that_does_not_fit_names_sparsify(monkeypatch):
    r = otf.sinkhorn(*problem(), REG)
    monkeypatch.setattr("ot_fast._validate.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"sparse plan of \d+ entries .* sparsify\("):
        _ = r.sparse_plan


# ---- pickles, copies, other processes ---------------------------------------------------------


def read(r):
    """Everything that is computed from a result."""
    kept = r.sparsify(top_k=2)
    bounds = (r.lower_bound, r.upper_bound) if isinstance(r, otf.OTResult) else ()
    scalars = (r.value, r.value_linear, r.dual_value, r.gap, r.n_iter, r.marginal_error, *bounds)
    arrays = (r.f, r.g, r.a, r.b, r.plan, r.sparse_plan.data, kept.data, kept.indices)
    return [np.asarray(v).tobytes() for v in (*arrays, scalars)], r.message, repr(r)


def solve_and_send(C):
    return otf.sinkhorn(None, None, C, REG)


RESULTS = {
    "entropic": lambda C, s: otf.sinkhorn(None, None, C, s * REG),
    "closed form": lambda C, s: otf.sinkhorn(None, None, C[:1], s * REG),
    "quadratic": lambda C, s: otf.quadratic(None, None, C, s * 0.5),
    "bounded": lambda C, s: otf.sparsity_constrained(None, None, C, s * 0.5, 6),
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("scale", [1.0, 1e-200])  # the geometry scales the second
@pytest.mark.parametrize("name", RESULTS)
def test_results_pickle_and_copy(name, scale, order):
    r = RESULTS[name](scale * np.asarray(problem()[2], order=order), scale)
    fresh = [pickle.loads(pickle.dumps(r)), copy.deepcopy(r), copy.copy(r)]
    expected = read(r)
    for again in [*fresh, pickle.loads(pickle.dumps(r))]:
        assert read(again) == expected


CLOUDS = [np.random.default_rng(k).normal(size=(12, 2)) for k in (0, 1)]
LOSSES = {
    "divergence": lambda: otf.sinkhorn_divergence(*CLOUDS, reg=0.5),
    "unbalanced": lambda: otf.sinkhorn_divergence(*CLOUDS, reg=0.5, unbalanced=2.0),
    "gap": lambda: otf.monge_gap(*CLOUDS, reg=0.5),
    "debiased gap": lambda: otf.monge_gap(*CLOUDS, reg=0.5, debias=True),
}
HANDED_OUT = {
    **{name: lambda solve=solve: solve(problem()[2], 1.0) for name, solve in RESULTS.items()},
    **LOSSES,
    "cloud": lambda: otf.PointCloud(*CLOUDS),
    "result of clouds": lambda: otf.sinkhorn(None, None, otf.PointCloud(*CLOUDS), 0.5),
}
SENT = {
    "solved": lambda r: r,
    "pickled": lambda r: pickle.loads(pickle.dumps(r)),
    "deep copy": copy.deepcopy,
    "copy": copy.copy,
}


def arrays(value):
    """All arrays in a value, with a name."""
    if isinstance(value, np.ndarray):
        return {"": value}
    if sparse.issparse(value):
        value = {"data": value.data, "indices": value.indices, "indptr": value.indptr}
    if isinstance(value, tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {}
    return {f"{k} {name}": v for k, part in value.items() for name, v in arrays(part).items()}


def attributes(r):
    """The arrays of all public attributes but those of the caller's own costs."""
    names = [k for k in dir(type(r)) + list(vars(r)) if not k.startswith("_")]
    values = {k: getattr(r, k) for k in names if not callable(getattr(type(r), k, None))}
    return arrays(values | ({"of": attributes(r.geometry)} if "geometry" in values else {}))


@pytest.mark.parametrize("send", SENT.values(), ids=SENT)
@pytest.mark.parametrize("name", HANDED_OUT)
def test_arrays_of_attributes_are_read_only(name, send):
    r = send(HANDED_OUT[name]())
    found = attributes(r)
    assert len(found) >= 2
    for k, array in found.items():
        if not k.startswith("of C"):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 7
    if isinstance(r, otf.OTResult):
        with pytest.raises(ValueError, match="read-only"):
            r.plan /= r.plan.sum(1, keepdims=True)


@pytest.mark.parametrize("name", RESULTS)
def test_what_methods_return_is_the_callers(name):
    C, ones = problem()[2], np.ones(problem()[2].shape[1])
    r, same = RESULTS[name](C, 1.0), RESULTS[name](C, 1.0)
    entropic = isinstance(r, otf.OTResult)

    def returned(r):
        G = C[: len(r.a)]
        more = r.plan_vjp(G) if entropic else ()
        return arrays((r.sparsify(top_k=3), r.plan_operator @ ones, r.plan.copy(), *more))

    for array in returned(r).values():
        array[...] = 7
    expected = returned(same)
    for k, array in returned(r).items():
        np.testing.assert_array_equal(array, expected[k])


@pytest.mark.parametrize("name", RESULTS)
def test_another_matrix_in_place_of_a_sparse_plan_stays_there(name):
    r = RESULTS[name](problem()[2], 1.0)
    P, expected = r.sparse_plan, r.sparse_plan.toarray()
    with pytest.raises(ValueError, match="read-only"):
        P *= 2
    P.data = 2 * P.data
    np.testing.assert_array_equal(r.sparse_plan.toarray(), expected)
    np.testing.assert_array_equal(r.plan_operator @ np.eye(30), r.plan)


def test_the_costs_stay_the_callers():
    C = problem()[2].copy()
    r = otf.sinkhorn(None, None, C, REG)
    assert C.flags.writeable
    assert r.geometry.C is C
    assert otf.PointCloud(*CLOUDS).to_dense().flags.writeable


def test_a_deep_copy_does_not_see_later_changes_of_the_costs():
    C = problem()[2].copy()
    r = otf.sinkhorn(None, None, C, REG)
    again, expected = copy.deepcopy(r), r.lower_bound
    C += 1
    assert again.lower_bound == expected


CHANGES = {
    "scaled": lambda C: np.multiply(C, 2, out=C),
    "one entry of few": lambda C: C.__setitem__((-1, 3), 7.0),
    "forbidden": lambda C: C.fill(np.inf),
    "not a number": lambda C: C.fill(np.nan),
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", RESULTS)
def test_costs_that_changed_since_the_solve(name, change, order):
    C = problem()[2][:9, :7].copy(order) if "few" in change else problem()[2].copy(order)
    C = C[:1].copy(order) if name == "closed form" else C
    r = RESULTS[name](C, 1.0)
    f, value = r.f, r.value
    CHANGES[change](C)
    assert (r.f is f, r.value) == (True, value)  # nothing is read for these
    with pytest.raises(
        RuntimeError, match=r"^C was changed in place .*solve again, or pass C.copy"
    ):
        _ = otf.sinkhorn(None, None, r.geometry, REG)
    if isinstance(r, otf.OTResult):
        for late in (lambda: r.plan, lambda: r.lower_bound, lambda: r.sparsify(top_k=2),
                     lambda: r.plan_operator @ np.ones(C.shape[1])):  # fmt: skip
            with pytest.raises(RuntimeError, match=r"^C was changed in place"):
                late()
        with pytest.raises(RuntimeError, match=r"^C was changed in place"):
            _ = pickle.loads(pickle.dumps(r)).plan


def test_costs_that_were_converted_may_change():
    C = np.round(problem()[2] * 20).astype(int)
    r, same = (otf.sinkhorn(None, None, C, 1.0) for _ in range(2))
    expected = same.plan
    C[:] = 0
    np.testing.assert_array_equal(r.plan, expected)


def test_a_pickle_holds_no_array_that_can_be_computed_again():
    r = otf.sinkhorn(None, None, otf.PointCloud(np.eye(200), np.eye(200) + 1), 1.0)
    before = len(pickle.dumps(r))
    _ = r.plan, r.sparse_plan
    assert len(pickle.dumps(r)) <= before < 200 * 200 * 8 * 4


def test_results_come_from_other_processes():
    C = problem()[2]
    expected = read(solve_and_send(C))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (r,) = pool.map(solve_and_send, [C])
        (seen,) = pool.map(read, [r])
    assert read(r) == seen == expected


def test_results_go_through_joblib():
    joblib = pytest.importorskip("joblib")
    C = problem()[2]
    r = joblib.Parallel(n_jobs=2)(joblib.delayed(solve_and_send)(v) for v in (C, 2 * C))
    assert [read(v) for v in r] == [read(solve_and_send(v)) for v in (C, 2 * C)]


# ---- plan_operator ----------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("columns", [None, 1, 3, 40])
def test_plan_operator(geometry, dtype, columns):
    r = otf.sinkhorn(*problem(geometry, dtype=dtype), 0.5)
    operator, rng = r.plan_operator, np.random.default_rng(24)
    assert isinstance(operator, LinearOperator)
    assert (operator.shape, operator.dtype) == (r.plan.shape, r.plan.dtype)
    tail = () if columns is None else (columns,)
    V, W = rng.normal(size=(30, *tail)), rng.normal(size=(40, *tail))
    P, tol = r.plan.astype(float), {"float64": 1e-14, "float32": 1e-6}[dtype]
    np.testing.assert_allclose(operator @ V, P @ V, rtol=0, atol=tol)
    np.testing.assert_allclose(operator.T @ W, P.T @ W, rtol=0, atol=tol)
    np.testing.assert_allclose(operator.H @ W, P.T @ W, rtol=0, atol=tol)
    strided = np.asfortranarray(np.repeat(V, 2, axis=0))[::2]
    np.testing.assert_allclose(operator @ strided, P @ V, rtol=0, atol=tol)


@pytest.mark.parametrize("solver", SPARSE)
@pytest.mark.parametrize("order", ["C", "F"])
def test_plan_operator_of_a_sparse_result(solver, order):
    a, b, C = problem()
    r = SPARSE[solver](a, b, np.asarray(C, order=order))
    operator, rng = r.plan_operator, np.random.default_rng(24)
    assert isinstance(operator, LinearOperator)
    assert (operator.shape, operator.dtype) == (r.plan.shape, r.plan.dtype)
    for tail in ((), (3,)):
        V, W = rng.normal(size=(30, *tail)), rng.normal(size=(40, *tail))
        np.testing.assert_allclose(operator @ V, r.plan @ V, rtol=0, atol=1e-15)
        np.testing.assert_allclose(operator.T @ W, r.plan.T @ W, rtol=0, atol=1e-15)


def test_plan_operator_checks_its_operand():
    operator = otf.sinkhorn(*problem(), 0.5).plan_operator
    with pytest.raises(ValueError, match=r"(?i)dimension|shape"):
        operator @ np.ones(31)


# ---- figure -----------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_plot(geometry, tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure
    from PIL import Image

    figure = otf.sinkhorn(*problem(geometry), REG).plot()
    assert isinstance(figure, Figure)
    assert figure.axes
    figure.savefig(tmp_path / "plan.png")
    assert np.asarray(Image.open(tmp_path / "plan.png")).std() > 1


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_every_cost_can_be_plotted(cost, d):
    pytest.importorskip("matplotlib")
    x, y = clouds(12, 15, d, seed=3)
    cloud = otf.PointCloud(x, y, **spec(cost))
    assert otf.sinkhorn(None, None, cloud, 1.0).plot().axes
    assert otf.quadratic(None, None, cloud, 1.0).plot().axes
