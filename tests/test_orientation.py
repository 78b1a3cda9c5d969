"""A problem and its transpose: the same bits, and as few passes, in the caller's orientation."""

from __future__ import annotations

import numpy as np
import pytest
from problems import COSTS, clouds, exact_ot, marginal_error, pairwise, spec

import ot_fast as otf
from ot_fast._entropic_cost import entropic_cost

N, M = 37, 90
METHODS = ("auto", "newton", "scaling", "log", "sns", otf.Scaling(dtype="float64"))


def entropic(method):
    return lambda a, b, C, reg, axis, **o: otf.sinkhorn(a, b, C, reg, method=method, **o)


def constrained(formulation):
    return lambda a, b, C, reg, axis, **o: otf.sparsity_constrained(
        a, b, C, reg, 6, axis=axis, formulation=formulation, **o
    )


# Functions of (a, b, C, reg, axis, **options).
SOLVERS = {f"sinkhorn {method}": entropic(method) for method in METHODS} | {
    "sinkhorn_path": lambda a, b, C, reg, axis, **o: otf.sinkhorn_path(a, b, C, [reg], **o)[0],
    "quadratic": lambda a, b, C, reg, axis, **o: otf.quadratic(a, b, C, 10 * reg, **o),
    "semi_dual": constrained("semi_dual"),
    "dual": constrained("dual"),
}
LOSSES = {"sinkhorn_divergence": otf.sinkhorn_divergence, "entropic_cost": entropic_cost}
every_solver = pytest.mark.parametrize("name", SOLVERS)
every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def weights(n, m, seed=1):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) + 0.5, rng.random(m) + 0.5
    a[1] = b[2] = 0
    return a / a.sum(), b / b.sum()


def check_transposed(r, t):
    """Results of a problem and of its transpose, bit by bit."""
    same = np.testing.assert_array_equal
    same(r.f, t.g)
    same(r.g, t.f)
    same(r.a, t.b)
    same(r.b, t.a)
    same(r.plan, t.plan.T)
    same(r.sparse_plan.toarray(), t.sparse_plan.toarray().T)
    for key in ("value", "value_linear", "dual_value", "gap", "marginal_error", "n_iter", "status"):
        assert getattr(r, key) == getattr(t, key), key
    for key in ("n_iter", "reg", "error", "dual_value"):
        same(r.history[key], t.history[key])
    ones = np.ones(r.plan.shape[1])
    same(r.plan_operator @ ones, t.plan_operator.T @ ones)


def without_time(record):
    return {key: value for key, value in record.items() if key != "elapsed"}


def check_solver(name, a, b, C, D, reg):
    """A solver on costs C and on their transpose D: cold, from a result and from potentials."""
    solve, records = SOLVERS[name], {0: [], 1: []}
    near = otf.sinkhorn(a, b, C, 2 * reg, tol=1e-3)
    f, g = near.potentials
    far = otf.sinkhorn(b, a, D, 2 * reg, tol=1e-3)
    starts = [
        (None, None),
        (near, far),
        ((f, g), (g, f)),
        ((f, None), (None, f)),
        ((None, g), (g, None)),
    ]
    for init, turned in starts:
        r = solve(a, b, C, reg, 0, init=init, callback=records[0].append)
        check_transposed(r, solve(b, a, D, reg, 1, init=turned, callback=records[1].append))
    first, second = ([without_time(r) for r in records[k]] for k in (0, 1))
    assert first == second


@every_solver
@every_dtype
@pytest.mark.parametrize("cost", COSTS)
def test_clouds_and_their_transpose(name, dtype, cost):
    a, b = weights(N, M)
    x, y = clouds(N, M, 9 if cost == "sqeuclidean" else 2, dtype=dtype)
    C, D = otf.PointCloud(x, y, **spec(cost)), otf.PointCloud(y, x, **spec(cost))
    np.testing.assert_array_equal(C.to_dense(), D.to_dense().T)
    check_solver(name, a, b, C, D, 0.02 * float(C.to_dense().max()))


def laid_out(C, layout):
    """The same matrix in memory of another order."""
    if layout == "strided":
        wide = np.full((2 * C.shape[0], C.shape[1] + 3), np.nan, C.dtype)
        view = wide[::2, :-3]
    else:
        view = np.empty(C.shape, C.dtype, order=layout)
    view[:] = C
    return view


@every_solver
@every_dtype
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize("turned_layout", ["C", "F"])
def test_matrices_and_their_transpose(name, dtype, layout, turned_layout):
    a, b = weights(N, M)
    C = np.random.default_rng(5).random((N, M)).astype(dtype)
    if name not in ("semi_dual", "dual"):
        C[3, 5:70] = np.inf
    before = C.copy()
    check_solver(name, a, b, laid_out(C, layout), laid_out(C.T, turned_layout), 0.02)
    np.testing.assert_array_equal(C, before)


@pytest.mark.parametrize("method", ["auto", "log", "scaling"])
@every_dtype
@pytest.mark.parametrize("shape", [(1, 9), (2, 1000), (483, 1031)])  # one and several tiles
def test_matrices_in_any_order(method, dtype, shape):
    C = np.random.default_rng(6).random(shape).astype(dtype)
    a, b = (np.random.default_rng(k).dirichlet(np.ones(k)) for k in shape)
    r = otf.sinkhorn(a, b, C, 0.05, method=method)
    assert marginal_error(r.plan, a, b) <= 1.01 * r.tol
    for D in (np.asfortranarray(C), laid_out(C, "strided"), laid_out(C.T, "strided").T):
        again = otf.sinkhorn(a, b, D, 0.05, method=method)
        np.testing.assert_array_equal(again.plan, r.plan)
        assert (again.lower_bound, again.upper_bound) == (r.lower_bound, r.upper_bound)
    for D in (C.T, np.ascontiguousarray(C.T)):
        check_transposed(r, otf.sinkhorn(b, a, D, 0.05, method=method))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("step", [2, -1])
def test_parts_of_a_matrix_with_one_row_or_column(order, step):
    C = np.asarray(np.random.default_rng(7).random((6, 8)), order=order)[::step, ::step]
    for part in (C[:1, :1], C[:1], C[:, :1]):
        n, m = part.shape
        r = otf.sinkhorn(None, None, part, 0.1)
        np.testing.assert_allclose(r.plan, np.full((n, m), 1 / (n * m)), rtol=1e-12)
        assert r.value_linear == pytest.approx(part.mean(), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@every_dtype
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("unbalanced", [None, 0.7])
def test_losses_and_their_transpose(name, dtype, cost, unbalanced):
    a, b = weights(N, M)
    x, y = clouds(N, M, 2, dtype=dtype)
    options = {"reg": 0.1, "unbalanced": unbalanced, **spec(cost)}
    loss = LOSSES[name]
    r, t = loss(x, y, a, b, **options), loss(y, x, b, a, **options)

    def check(r, t):
        assert (r.value, r.n_iter, r.marginal_error) == (t.value, t.n_iter, t.marginal_error)
        for one, other in (("x", "y"), ("y", "x"), ("a", "b"), ("b", "a")):
            got, want = getattr(r, f"gradient_{one}"), getattr(t, f"gradient_{other}")
            np.testing.assert_array_equal(got, want)

    check(r, t)
    if name == "sinkhorn_divergence":
        f, g, f_xx, g_yy = r.potentials
        again = loss(x, y, a, b, init=r, **options)
        check(again, loss(y, x, b, a, init=(g, f, g_yy, f_xx), **options))
        assert again.n_iter < r.n_iter
    batches = [clouds(n, m, 2, seed=n, dtype=dtype) for n, m in ((40, 50), (50, 40), (50, 40))]
    one, other = otf.WarmStart(), otf.WarmStart()
    for u, v in batches:  # a start is carried from one orientation to the other
        check(
            loss(u, v, None, None, init=one, **options),
            loss(v, u, None, None, init=other, **options),
        )
    assert (one.solves, one.passes, one.saved) == (other.solves, other.passes, other.saved)


def test_gradients_of_a_loss_in_points_and_weights():
    x, y = clouds(5, 8, 2)
    a, b = weights(5, 8)
    r = otf.sinkhorn_divergence(x, y, a, b, reg=0.5, tol=1e-12)
    h, rng = 1e-6, np.random.default_rng(3)
    for side, points in enumerate((x, y)):
        v = rng.normal(size=points.shape)
        up, down = (
            otf.sinkhorn_divergence(
                *((x + s * v, y) if side == 0 else (x, y + s * v)), a, b, reg=0.5, tol=1e-12
            ).value
            for s in (h, -h)
        )
        slope = float((r.gradient[side] * v).sum())
        assert slope == pytest.approx((up - down) / (2 * h), rel=1e-5)


@pytest.mark.parametrize("shape", [(N, M), (M, N)])
def test_a_map_of_new_points(shape):
    x, y = clouds(*shape, 2)
    a, b = weights(*shape)
    r = otf.sinkhorn(a, b, otf.PointCloud(x, y), 0.5, tol=1e-12)
    new = clouds(50, 1, 2, seed=5)[0]
    P = b * np.exp((np.where(b > 0, r.g, 0) - pairwise(new, y, "sqeuclidean")) / 0.5)
    expected = (P / P.sum(1, keepdims=True)) @ y
    np.testing.assert_allclose(otf.entropic_map(r, new), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(8, 15), (15, 8)])
def test_gradients_of_the_plan(shape):
    x, y = clouds(*shape, 2)
    G = np.random.default_rng(2).random(shape)
    r = otf.sinkhorn(None, None, otf.PointCloud(x, y), 1.0, tol=1e-13)
    t = otf.sinkhorn(None, None, otf.PointCloud(y, x), 1.0, tol=1e-13)
    (da, db, dC), (db_t, da_t, dC_t) = r.plan_vjp(G), t.plan_vjp(G.T)
    for got, want in ((da, da_t), (db, db_t), (dC, dC_t.T)):
        np.testing.assert_array_equal(got, want)


# ---- wide problems converge as tall ones ------------------------------------------------------


@pytest.mark.parametrize("reg", [1e-4, 1e-6])
def test_two_points_against_many(reg):
    x, y = np.random.default_rng(0).random((2, 2)), np.random.default_rng(1).random((20_000, 2))
    cloud = otf.PointCloud(x, y)
    r = otf.sinkhorn(None, None, cloud, reg * float(cloud.to_dense().max()))
    assert r.converged
    assert r.n_iter < 60
    C = pairwise(x, y, "sqeuclidean")
    assert marginal_error(r.plan, np.full(2, 0.5), np.full(20_000, 1 / 20_000)) <= 1e-9
    # Two rows: the half of the columns that prefer row 0 most goes there.
    order = np.argsort(C[0] - C[1])
    exact = (C[0][order[:10_000]].sum() + C[1][order[10_000:]].sum()) / 20_000
    assert r.lower_bound <= exact * (1 + 1e-12)
    assert exact <= r.upper_bound * (1 + 1e-12)
    assert r.gap <= 2 * reg * C.max()


@pytest.mark.parametrize(("n", "reg"), [(2, 1e-4), (2, 1e-6), (10, 1e-5)])
@pytest.mark.parametrize("method", ["auto", "log"])
def test_few_rows_against_many_columns(n, reg, method):
    C = np.random.default_rng(n).random((n, 20_000))
    r = otf.sinkhorn(None, None, C, reg, method=method, max_iter=2000, on_fail="ignore")
    t = otf.sinkhorn(None, None, C.T.copy(), reg, method=method, max_iter=2000, on_fail="ignore")
    check_transposed(r, t)
    if method == "auto":
        assert r.converged
        assert r.n_iter < 80
        assert r.gap < 2 * reg


@pytest.mark.parametrize("shape", [(20, 25), (25, 20)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reg", [1.0, 1e-3])
def test_a_row_or_a_column_far_from_all_others(shape, axis, reg):
    x, y = clouds(*shape, 2)
    C = pairwise(x, y, "sqeuclidean")
    C[(3,) if axis == 0 else (slice(None), 3)] += 1e6
    r = otf.sinkhorn(None, None, C, reg, tol=1e-6)
    assert r.converged
    assert r.n_iter < 150
    r = otf.quadratic(None, None, C, reg * C.size)
    assert r.converged
    assert abs(r.gap) < 1e-6 * r.value


@pytest.mark.parametrize("max_nz", [None, 2])
def test_sparse_plans_of_few_rows(max_nz):
    C = np.random.default_rng(1).random((3, 4000))
    if max_nz is None:
        r, t = (otf.quadratic(None, None, D, 1.0) for D in (C, C.T.copy()))
    else:
        r, t = (
            otf.sparsity_constrained(None, None, D, 1.0, max_nz, axis=axis)
            for axis, D in enumerate((C, C.T.copy()))
        )
    check_transposed(r, t)
    assert r.converged
    assert abs(r.gap) < 1e-2 * r.value


def test_a_wide_problem_against_the_linear_programme():
    x, y = clouds(4, 300, 2)
    a, b = weights(4, 300)
    C = pairwise(x, y, "euclidean")
    r = otf.sinkhorn(a, b, otf.PointCloud(x, y, "euclidean"), 1e-5 * C.max())
    assert r.converged
    assert r.lower_bound == pytest.approx(exact_ot(a, b, C), rel=1e-3)
