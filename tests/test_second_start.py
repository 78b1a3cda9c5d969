"""Entropic solves that stall start again, from the potentials of exact transport."""

from __future__ import annotations

import numpy as np
import pytest
from problems import exact_ot, marginal_error

import ot_fast as otf

AGAIN = "stalled, and started again from exact transport"


def rough(seed, size=57):
    """Weights of all magnitudes."""
    rng = np.random.default_rng(seed)
    C = rng.random((size, size))
    return rng.dirichlet(np.full(size, 0.01)), rng.dirichlet(np.full(size, 0.01)), C


def far_start(seed):
    rng = np.random.default_rng(seed)
    C = rng.random((50, 50))
    return C, (rng.normal(size=50), rng.normal(size=50))


@pytest.mark.parametrize("seed", [0, 1, 2, 6])
@pytest.mark.parametrize("method", ["scaling", otf.Scaling(dtype="float64")])
def test_stored_kernels_of_rough_weights(seed, method):
    a, b, C = rough(seed)
    r = otf.sinkhorn(a, b, C, 1e-5, method=method)
    assert r.converged
    assert marginal_error(r.plan, a, b) <= 1e-9
    a, b = (np.where(w > 1e-12, w, 0) for w in (a, b))  # what linear programmes resolve
    exact = exact_ot(a / a.sum(), b / b.sum(), C)
    assert r.lower_bound - 1e-9 <= exact <= r.upper_bound + 1e-9
    assert r.gap < 1e-4


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_potentials_far_from_any_solution(seed):
    C, start = far_start(seed)
    seen = []
    r = otf.sinkhorn(None, None, C, 1e-5, init=start, callback=seen.append)
    assert r.converged
    assert AGAIN in r.message
    assert marginal_error(r.plan, np.full(50, 0.02), np.full(50, 0.02)) <= 1e-9
    passes, seconds = ([record[key] for record in seen] for key in ("n_iter", "elapsed"))
    assert passes == sorted(set(passes)) == list(r.history["n_iter"])
    assert seconds == sorted(seconds)
    assert passes[-1] == r.n_iter


def test_limits_are_those_of_both_solves_together():
    C, start = far_start(1)
    first = otf.sinkhorn(None, None, C, 1e-5, init=start)
    passes = first.n_iter - 3
    r = otf.sinkhorn(None, None, C, 1e-5, init=start, max_iter=passes, on_fail="ignore")
    assert not r.converged
    assert r.n_iter <= passes + 1


def test_a_problem_without_a_plan_does_not_start_again():
    C = np.zeros((4, 4))
    C[:3, 1:] = np.inf  # three rows, one column
    with pytest.raises(otf.InfeasibleError):
        otf.sinkhorn(None, None, C, 0.1)


def test_losses():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (2, 297, 1)).astype(float)
    a, b = rng.dirichlet(np.ones(297), 2)
    d = otf.sinkhorn_divergence(x, y, a, b, reg=9e-5, cost="euclidean")
    assert d.converged
