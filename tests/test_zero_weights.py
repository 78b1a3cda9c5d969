"""Rows and columns without weight: results are those of the problem without them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from problems import COSTS, clouds, random_problem, spec
from registry import DTYPES, LEAVING_OUT, SOLVERS, Problem, fields
from scipy import special

import ot_fast as otf
from ot_fast._geometry import DenseCost
from ot_fast._results import weightless

N, M = 67, 90
FEW = np.r_[0, 3:40:3, 66], np.r_[0:9, 31, 60:89:3]  # dropped, of a stored C too
MANY = np.delete(np.arange(N), [5, 9, 66]), np.delete(np.arange(M), [1, 2, 89])  # masked there
METHODS = ["auto", "newton", "log", "scaling", otf.Scaling(dtype="float64"), "sns"]


def kept(value, rows=FEW[0], columns=FEW[1]):
    """The entries of a field that belong to lines with weight."""
    for axis, size in enumerate(value.shape):
        lines = {N: rows, M: columns}.get(size)
        value = value if lines is None else value.take(lines, axis)
    return value


def problem(kind="dense", dtype="float64", seed=0):
    """Weights with zeros, the costs as the solver and as NumPy read them."""
    a, b, C = random_problem(N, M, seed, dtype)
    for w, lines in zip((a, b), FEW, strict=True):
        w[np.setdiff1d(np.arange(len(w)), lines)] = 0
        w /= w.sum()
    if kind == "dense":
        return a, b, C, C
    cloud = otf.PointCloud(*clouds(N, M, 2, seed, dtype), kind)
    return a, b, cloud, cloud.to_dense()


def softmin(w, other, costs, reg):
    """-reg log sum_j w_j exp((g_j - C_ij) / reg)."""
    return -reg * special.logsumexp((other - costs.astype(float)) / reg, b=w, axis=1)


# ---- the same as without them -----------------------------------------------------------------


@pytest.mark.parametrize("name", LEAVING_OUT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_solver_gives_the_bits_of_the_problem_without_them(name, dtype):
    solver = SOLVERS[name]
    names = [k for k in (*solver.answer, *solver.run) if k != "sparse_plan"]
    for kind in {solver.kinds[0], solver.kinds[-1]}:
        whole, less = (
            solver.solve(Problem(kind, dtype, weighted=FEW, drop=drop), tol=solver.tight[dtype])
            for drop in (False, True)
        )
        got, want = fields(whole, names), fields(less, names)
        for key, expected in want.items():
            assert kept(got[key]).tobytes() == expected.tobytes(), (kind, key)
        for key in {"plan", "gradient_x", "gradient_y"} & set(got):
            assert np.count_nonzero(got[key]) == np.count_nonzero(want[key]), (kind, key)
            assert got[key].size > want[key].size


@pytest.mark.parametrize("kind", ["dense", "sqeuclidean"])
@pytest.mark.parametrize("solve", [otf.sinkhorn, otf.quadratic])
def test_what_is_read_from_a_plan(solve, kind):
    a, b, C, _ = problem(kind)
    rows, columns = FEW
    less = C[np.ix_(*FEW)] if kind == "dense" else otf.PointCloud(C.x[rows], C.y[columns])
    r, s = solve(a, b, C, 0.05), solve(a[rows], b[columns], less, 0.05)
    rng = np.random.default_rng(1)
    V, W = rng.random((M, 3)), rng.random(N)
    out = r.plan_operator @ V
    np.testing.assert_array_equal(kept(out), s.plan_operator @ V[columns])
    assert np.count_nonzero(out.any(1)) == len(rows)
    np.testing.assert_array_equal(kept(r.plan_operator.T @ W), s.plan_operator.T @ W[rows])
    for rule in ({"threshold": 1e-3}, {"top_k": 2}, {"mass": 0.9}):
        P = r.sparsify(**rule)
        assert P.shape == (N, M)
        assert P.nnz == s.sparsify(**rule).nnz
        np.testing.assert_array_equal(kept(P.toarray()), s.sparsify(**rule).toarray())
    np.testing.assert_array_equal(kept(r.sparse_plan.toarray()), s.sparse_plan.toarray())
    np.testing.assert_array_equal(r.a, a)
    assert r.geometry.shape == (N, M)
    for again in (pickle.loads(pickle.dumps(r)), copy.deepcopy(r)):
        np.testing.assert_array_equal(again.f, r.f)
        np.testing.assert_array_equal(again.plan, r.plan)
    with pytest.raises(ValueError, match="mismatch"):
        r.plan_operator @ V[columns]


def test_gradients_of_the_plan():
    a, b, C, _ = problem()
    rows, columns = FEW
    G = np.random.default_rng(1).random((N, M))
    got = otf.sinkhorn(a, b, C, 0.05).plan_vjp(G)
    want = otf.sinkhorn(a[rows], b[columns], C[np.ix_(*FEW)], 0.05).plan_vjp(G[np.ix_(*FEW)])
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(kept(ours), theirs)
        assert np.count_nonzero(ours) == np.count_nonzero(theirs)


@pytest.mark.parametrize("exponent", [-700, -3, 5, 700])
@pytest.mark.parametrize("solve", [otf.sinkhorn, otf.quadratic])
def test_scale_laws(solve, exponent):
    a, b, C, _ = problem()
    r, s = solve(a, b, C, 0.05), solve(a, b, np.ldexp(C, exponent), np.ldexp(0.05, exponent))
    np.testing.assert_array_equal(s.plan, r.plan)
    np.testing.assert_array_equal(np.ldexp(s.f, -exponent), r.f)
    np.testing.assert_array_equal(np.ldexp(s.g, -exponent), r.g)


def test_costs_of_lines_without_weight_do_not_matter():
    a, b, C, _ = problem()
    r = otf.sinkhorn(a, b, C, 0.05)
    for sentinel in (np.inf, 1e300, -1e30):
        other = np.full_like(C, sentinel)
        other[np.ix_(*FEW)] = C[np.ix_(*FEW)]
        s = otf.sinkhorn(a, b, other, 0.05)
        np.testing.assert_array_equal(s.plan, r.plan)
        assert (s.value, s.lower_bound, s.upper_bound) == (r.value, r.lower_bound, r.upper_bound)
        assert np.isfinite(s.f).all()
        assert np.isfinite(s.g).all()


@pytest.mark.parametrize("cost", ["dense", *COSTS])
def test_one_line_with_weight(cost):
    x, y = clouds(N, M, 3)
    C = np.random.default_rng(0).random((N, M))
    geometry = C if cost == "dense" else otf.PointCloud(x, y, **spec(cost))
    costs = C if cost == "dense" else geometry.to_dense()
    a = np.zeros(N)
    a[7] = 2.0
    b = np.full(M, 2.0 / M)
    for solve in (otf.sinkhorn, otf.quadratic):
        r = solve(a, b, geometry, 0.1)
        np.testing.assert_allclose(r.plan, np.outer(a, b) / 2, rtol=1e-9)
        assert r.value_linear == pytest.approx(2 * costs[7].mean(), rel=1e-9)
    one = np.zeros(M)
    one[11] = 2.0
    r = otf.sinkhorn(a, one, geometry, 0.1)
    assert r.plan[7, 11] == pytest.approx(2.0, rel=1e-12)
    assert r.value_linear == pytest.approx(2 * costs[7, 11], rel=1e-12)
    np.testing.assert_allclose(r.f + r.g[11], costs[:, 11] - 0.1 * np.log(4 / 2), atol=1e-9)


# ---- potentials of lines without weight -------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["dense", "euclidean"])
@pytest.mark.parametrize("lines", [FEW, MANY], ids=["few", "many"])
def test_potentials_are_soft_c_transforms(method, dtype, kind, lines):
    a, b, C, costs = problem(kind, dtype)
    for w, on, seed in zip((a, b), lines, (1, 2), strict=True):
        w[:] = 0
        w[on] = np.random.default_rng(seed).dirichlet(np.ones(len(on)))
    reg, tol = 0.1 * float(costs.max()), {"float64": 1e-10, "float32": 1e-5}[dtype]
    mass = 3.0
    r = otf.sinkhorn(mass * a, mass * b, C, reg, method=method, tol=tol)
    assert r.converged
    error = {"float64": 1e-12, "float32": 1e-5}[dtype] * float(costs.max())
    for f, g, own, other, c in ((r.f, r.g, a, b, costs), (r.g, r.f, b, a, costs.T)):
        want = softmin(mass * other.astype(float), g.astype(float), c, reg)
        np.testing.assert_allclose(f[own == 0], want[own == 0], rtol=0, atol=error)


@pytest.mark.parametrize("kind", ["dense", "euclidean"])
def test_potentials_of_sparse_plans_are_c_transforms(kind):
    a, b, C, costs = problem(kind)
    for r in (otf.quadratic(a, b, C, 0.5), otf.sparsity_constrained(a, b, C, 0.5, 4)):
        assert r.converged
        slack = (costs - r.f[:, None] - r.g).T  # columns, which are more, come first
        np.testing.assert_allclose(slack[b == 0][:, a > 0].min(1), 0, atol=1e-12)
        np.testing.assert_allclose(slack[:, a == 0].min(0), 0, atol=1e-12)


@pytest.mark.parametrize("rho", [None, 0.7])
@pytest.mark.parametrize("cost", COSTS)
def test_potentials_of_losses(cost, rho):
    p = Problem(cost, weighted=FEW)
    reg = 0.1 * p.scale
    d = otf.sinkhorn_divergence(p.x, p.y, p.a, p.b, reg=reg, unbalanced=rho, **p.spec, tol=1e-12)
    f, g, f_xx, g_yy = d.potentials
    damping = 1 if rho is None else rho / (rho + reg)
    for ours, other, own, weight, pair in (
        (f, g, p.a, p.b, (p.x, p.y)),
        (g, f, p.b, p.a, (p.y, p.x)),
        (f_xx, f_xx, p.a, p.a, (p.x, p.x)),
        (g_yy, g_yy, p.b, p.b, (p.y, p.y)),
    ):
        costs = otf.PointCloud(*pair, **p.spec).to_dense()
        want = damping * softmin(weight, other, costs, reg)
        np.testing.assert_allclose(ours[own == 0], want[own == 0], rtol=0, atol=1e-9 * p.scale)
    assert not d.gradient_x[p.a == 0].any()
    assert not d.gradient_y[p.b == 0].any()


def test_potentials_of_a_large_matrix_are_computed_block_by_block(monkeypatch):
    a, b, C, _ = problem()
    want = otf.sinkhorn(a, b, C, 0.05).potentials
    sizes = []
    subset = DenseCost.subset
    monkeypatch.setattr(
        DenseCost,
        "subset",
        lambda C, *lines: sizes.append(len(lines[0]) * len(lines[1])) or subset(C, *lines),
    )
    monkeypatch.setattr(weightless, "BLOCK", 200)
    got = otf.sinkhorn(a, b, C, 0.05).potentials
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)
    assert len(sizes) > 10
    assert max(sizes[1:]) <= 200


def test_costs_that_were_changed_since_are_not_read():
    a, b, C, _ = problem()
    want = otf.sinkhorn(a, b, C.copy(), 0.05)
    r = otf.sinkhorn(a, b, C, 0.05)
    C += 1
    np.testing.assert_array_equal(r.plan, want.plan)  # of the copy
    with pytest.raises(RuntimeError, match="changed in place"):
        _ = r.f


# ---- starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [k for k in LEAVING_OUT if SOLVERS[k].warm])
def test_a_result_starts_the_next_solve(name):
    solver = SOLVERS[name]
    p, less = (Problem(solver.kinds[-1], weighted=FEW, drop=drop) for drop in (False, True))
    cold, cold_less = solver.solve(p), solver.solve(less)
    want = solver.solve(less, init=cold_less)
    for init in (cold, cold.potentials):
        again = solver.solve(p, init=init)
        assert again.converged
        assert (again.n_iter, again.value) == (want.n_iter, want.value)
    field = "value" if "value" in solver.answer else "dual_value"
    for lines in (MANY, None):  # lines that had no weight before
        q = Problem(solver.kinds[-1], weighted=lines)
        full = solver.solve(q)
        for init in (cold, cold.potentials):
            again = solver.solve(q, init=init)
            assert again.converged
            assert getattr(again, field) == pytest.approx(getattr(full, field), rel=1e-5)
        again = solver.solve(p, init=full)
        assert again.converged
        assert getattr(again, field) == pytest.approx(getattr(cold, field), rel=1e-5)


@pytest.mark.parametrize("solve", [otf.sinkhorn, otf.quadratic])
def test_a_result_with_forbidden_lines_without_weight_starts_the_next_solve(solve):
    C = np.random.default_rng(0).random((N, M))
    a, b = np.ones(N), np.ones(M)
    a[3] = b[5] = 0
    C[3] = C[:, 5] = np.inf
    r = solve(a / a.sum(), b / b.sum(), C, 0.5)
    again = solve(a / a.sum(), b / b.sum(), C, 0.5, init=r)
    assert again.converged
    assert again.value == pytest.approx(r.value, rel=1e-8)
    assert r.f[3] == r.g[5] == 0  # no pair is allowed


@pytest.mark.parametrize("kind", ["dense", "sqeuclidean"])
def test_a_start_computes_no_potential_that_it_does_not_need(kind, monkeypatch):
    a, b, C, _ = problem(kind)
    r = otf.sinkhorn(a, b, C, 0.05)
    asked = []
    transform = weightless._transform
    monkeypatch.setattr(
        weightless,
        "_transform",
        lambda p, side, index, *rest: asked.append(len(index)) or transform(p, side, index, *rest),
    )
    assert otf.sinkhorn(a, b, C, 0.05, init=r).n_iter < r.n_iter
    assert r.value + r.upper_bound + r.plan.sum() > 0
    assert not sum(asked)
    more = a.copy()
    more[[1, 2]] = 0.01
    otf.sinkhorn(more / more.sum(), b, C, 0.05, init=r)
    assert sum(asked) == 2
    assert np.isfinite(r.f).all()
    assert sum(asked) == 2 + (a == 0).sum() + (b == 0).sum()


def test_warm_starts_of_losses():
    warm = otf.WarmStart()
    p = Problem(weighted=FEW)
    for lines in (FEW, FEW, MANY, None, FEW):
        q = Problem(weighted=lines)
        got = otf.sinkhorn_divergence(q.x, q.y, q.a, q.b, reg=p.scale, init=warm, tol=1e-11)
        want = otf.sinkhorn_divergence(q.x, q.y, q.a, q.b, reg=p.scale, tol=1e-11)
        assert got.value == pytest.approx(want.value, rel=1e-9)
        ours, theirs = (d.gradient_a - d.gradient_a[0] for d in (got, want))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)


# ---- what is copied, and what is refused ------------------------------------------------------


def test_a_stored_matrix_is_copied_where_at_most_a_quarter_of_it_has_weight():
    C = np.random.default_rng(0).random((40, 60))
    for layout in (C, np.asfortranarray(C)):
        for n, m in ((40, 60), (39, 60), (40, 16), (21, 30), (20, 30), (10, 60), (3, 2)):
            a, b = np.zeros(40), np.zeros(60)
            a[:n], b[60 - m :] = 1 / n, 1 / m
            r = otf.sinkhorn(a, b, layout, 0.1)
            if 4 * n * m <= C.size:
                assert r._problem.geometry.shape == (n, m)
                np.testing.assert_array_equal(r._problem.geometry.C, C[:n, 60 - m :])
            else:
                assert r._problem.geometry is r.geometry
            np.testing.assert_allclose(r.plan.sum(1), a, atol=1e-9)
            np.testing.assert_allclose(r.plan.sum(0), b, atol=1e-9)
    x, y = clouds(40, 60, 2)
    a = np.full(40, 1 / 39)
    a[5] = 0
    r = otf.sinkhorn(a, None, otf.PointCloud(x, y), 1.0)
    assert r._problem.geometry.shape == (39, 60)
    assert r._problem.geometry.points[1] is r.geometry.points[1]


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_messages_name_the_callers_lines(share):
    rng = np.random.default_rng(0)
    for axis in (0, 1):
        a, b, C = random_problem(30, 30, seed=1)
        for w in (a, b):
            w[rng.random(30) > share] = 0
            w[[3, 17, 28]] = 1.0
            w /= w.sum()
        C = np.moveaxis(C, 0, axis)
        C[17] = np.inf
        C = np.moveaxis(C, 0, axis)
        line = ("row", "column")[axis]
        with pytest.raises(otf.InfeasibleError, match=f"every pair of {line} 17, "):
            otf.sinkhorn(a, b, C, 0.1)
    C = np.ones((30, 30))
    C[[3, 17]] = np.inf
    C[[3, 17], 28] = 1.0  # two rows, one column
    with pytest.raises(otf.InfeasibleError, match=r"can carry only .*(17|28)"):
        otf.quadratic(a, b, C, 1.0)


def test_a_bound_on_entries_is_that_of_the_callers_lines():
    a, b, C, _ = problem()
    r = otf.sparsity_constrained(a, b, C, 0.5, N)  # more than have weight
    np.testing.assert_allclose(r.plan, otf.quadratic(a, b, C, 0.5).plan, atol=1e-9)
    assert r.max_nz == N
    with pytest.raises(ValueError, match=f"max_nz must be at most {N}"):
        otf.sparsity_constrained(a, b, C, 0.5, N + 1)


def test_a_sparse_result_with_masked_lines_is_a_start():
    a, b, C = random_problem(12, 15, seed=3)
    a[[0, 7]], b[4] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    first = otf.quadratic(a, b, C, 1.0)
    assert first._problem.lines.kept is None  # masked, not left out
    r = otf.quadratic(a, b, C, 0.1, init=first)
    np.testing.assert_allclose(r.plan, otf.quadratic(a, b, C, 0.1).plan, atol=1e-8)


def test_potentials_of_far_points_without_weight():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(k, 3)).astype(np.float32) for k in (40, 12))
    x[20:] *= 60  # costs of 1e20 and more: the rounding of C/reg is above the largest exponent
    a = np.r_[np.ones(20), np.zeros(20)] / 20
    d = otf.sinkhorn_divergence(x, y, a, None, reg=1e-5, cost="power", p=10, on_fail="ignore")
    C = np.linalg.norm(x[20:, None].astype(float) - y, axis=-1) ** 10
    want = (C - d.potentials[1]).min(1)
    np.testing.assert_allclose(d.potentials[0][20:], want, rtol=1e-5)
