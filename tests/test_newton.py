"""Sparse Newton at any reg, Sinkhorn-Newton-Sparse, and regularisation paths."""

from __future__ import annotations

import numpy as np
import pytest
from problems import marginal_error, random_problem
from scipy.optimize import linear_sum_assignment

import ot_fast as otf

SMALL_REG = 1 / 1200


def assignment(n, seed=0):
    return np.random.default_rng(seed).random((n, n))


def grid_l1(side):
    """Two random images on a pixel grid under the L1 distance: ties everywhere."""
    rng = np.random.default_rng(2)
    points = np.stack(np.meshgrid(*[np.arange(side)] * 2), -1).reshape(-1, 2)
    C = np.abs(points[:, None] - points[None]).sum(-1).astype(float)
    a, b = rng.random(side**2) ** 4 + 1e-3, rng.random(side**2) ** 4 + 1e-3
    return a / a.sum(), b / b.sum(), C / C.max()


def solved(r, a, b, tol=1e-9):
    assert r.converged, r.message
    assert marginal_error(r.plan, a, b) <= tol * (1 + 1e-6)
    assert r.lower_bound <= r.value_linear + 1e-9
    assert r.value == pytest.approx(r.dual_value, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("reg", [10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("shape", [(60, 60), (1, 7), (50, 90), (90, 50)])
def test_newton_at_every_reg(reg, shape):
    a, b, C = random_problem(*shape, seed=3)
    r = otf.sinkhorn(a, b, C / C.max(), reg, method="newton")
    solved(r, a, b)


@pytest.mark.parametrize("reg", [1e-2, 1e-4])
def test_newton_on_points(reg):
    rng = np.random.default_rng(4)
    x, y = rng.random((300, 2)), rng.random((350, 2))
    r = otf.sinkhorn(None, None, otf.PointCloud(x, y), reg, method="newton")
    solved(r, np.full(300, 1 / 300), np.full(350, 1 / 350))


def test_newton_needs_tens_of_passes():
    r = otf.sinkhorn(None, None, assignment(500), SMALL_REG)
    assert r.method == "newton"
    assert r.converged
    assert r.n_iter <= 40


def test_newton_with_ties():
    a, b, C = grid_l1(14)
    r = otf.sinkhorn(a, b, C, SMALL_REG, method="newton")
    solved(r, a, b)
    assert r.n_iter <= 200


def test_small_reg_finds_the_assignment():
    C = assignment(80, seed=5)
    i, j = linear_sum_assignment(C)
    r = otf.sinkhorn(None, None, C, 1e-6, method="newton")
    assert r.value_linear == pytest.approx(C[i, j].mean(), abs=1e-6)
    assert r.lower_bound == pytest.approx(C[i, j].mean(), abs=1e-5)
    assert r.lower_bound <= C[i, j].mean() + 1e-12 <= r.upper_bound + 2e-12


def test_auto_hands_over_where_the_plan_is_dense():
    C = assignment(400, seed=6)
    dense = otf.sinkhorn(None, None, C, 0.5)
    assert dense.method == "scaling"
    assert dense.converged
    solved(dense, np.full(400, 1 / 400), np.full(400, 1 / 400))


def test_sns_agrees_with_sinkhorn():
    a, b, C = random_problem(40, 50, seed=7)
    ours = otf.sinkhorn(a, b, C, 0.02, method="sns", sns_density=0.2, tol=1e-11)
    log = otf.sinkhorn(a, b, C, 0.02, method="log", tol=1e-11)
    assert ours.converged
    np.testing.assert_allclose(ours.plan, log.plan, atol=1e-11)
    assert "Newton" in ours.message


def test_sns_beats_sinkhorn_in_iterations():
    C = assignment(200, seed=8)
    newton = otf.sinkhorn(None, None, C, 2e-3, method="sns")
    plain = otf.sinkhorn(None, None, C, 2e-3, method="log")
    assert newton.converged
    assert newton.n_iter < plain.n_iter


@pytest.mark.parametrize("option", [{"sns_steps": 5}, {"sns_density": 0.1}])
def test_sns_options_belong_to_sns(option):
    with pytest.raises(ValueError, match='need method="sns"'):
        otf.sinkhorn(None, None, assignment(5), 0.1, **option)


def test_path_keeps_the_order_and_warm_starts():
    C = assignment(300, seed=9)
    regs = [1e-3, 1e-1, 1e-2]
    path = otf.sinkhorn_path(None, None, C, regs)
    assert [r.reg for r in path] == regs
    for r in path:
        solved(r, np.full(300, 1 / 300), np.full(300, 1 / 300))
    near = otf.sinkhorn(None, None, C, 0.9e-3, init=path[0])
    cold = otf.sinkhorn(None, None, C, 0.9e-3)
    assert near.n_iter < cold.n_iter


def test_empty_path_is_an_error():
    with pytest.raises(ValueError, match="regs must be a nonempty vector"):
        otf.sinkhorn_path(None, None, assignment(5), [])
