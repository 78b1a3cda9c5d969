"""How arrays are converted: masked arrays are refused wherever one is taken."""

from __future__ import annotations

import re

import numpy as np
import pytest

import ot_fast as otf

N = 20
C = np.random.default_rng(0).random((N, N))
W = np.full(N, 1 / N)
X = np.random.default_rng(1).normal(size=(N, 2))
SOLVERS = {
    "sinkhorn": lambda a, b, c, **o: otf.sinkhorn(a, b, c, 0.1, **o),
    "quadratic": lambda a, b, c, **o: otf.quadratic(a, b, c, 0.1, **o),
    "sparsity_constrained": lambda a, b, c, **o: otf.sparsity_constrained(a, b, c, 0.1, 3, **o),
}
LOSSES = {
    "sinkhorn_divergence": lambda x, y, **o: otf.sinkhorn_divergence(x, y, reg=0.1, **o),
    "monge_gap": lambda x, Tx, **o: otf.monge_gap(x, Tx, reg=0.1, **o),
}


def masked(array, count):
    mask = np.zeros(array.shape, bool)
    mask.flat[:count] = True
    return np.ma.array(array, mask=mask)


def refused(name, count, size, remedy):
    text = (
        f"{name} is a masked array ({count} of {size} entries masked), which would be read as if "
        f"unmasked; {remedy}"
    )
    return pytest.raises(ValueError, match=f"^{re.escape(text)}$")


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
def test_masked_costs_and_weights(solve):
    with refused("C", 12, 400, "pass C.filled(np.inf) to forbid those pairs"):
        solve(None, None, masked(C, 12))
    with refused("a", 3, 20, "pass a.filled(0) to give those entries no mass"):
        solve(masked(W, 3), W, C)
    with refused("b", 1, 20, "pass b.filled(0) to give those entries no mass"):
        solve(W, masked(W, 1), C)
    with refused("init g", 2, 20, "pass g.filled(0) to start those entries at 0"):
        solve(W, W, C, init=(0 * W, masked(W, 2)))
    for rows in (list(masked(C, 12)), tuple(masked(C, 12))):
        with refused("C", 12, 400, "pass C.filled(np.inf) to forbid those pairs"):
            solve(None, None, rows)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_masked_points(loss):
    names = ("x", "Tx" if loss is LOSSES["monge_gap"] else "y")
    remedy = "pass np.ma.compress_rows({0}) to leave those points out"
    with refused(names[0], 2, 40, remedy.format(names[0])):
        loss(masked(X, 2), X)
    with refused(names[1], 2, 40, remedy.format(names[1])):
        loss(X, masked(X, 2))


def test_masked_weights_and_starts_of_losses():
    with refused("b", 1, 20, "pass b.filled(0) to give those entries no mass"):
        LOSSES["sinkhorn_divergence"](X, X, a=W, b=masked(W, 1))
    with refused("init f_xx", 1, 20, "pass f_xx.filled(0) to start those entries at 0"):
        LOSSES["sinkhorn_divergence"](X, X, init=(W, W, masked(W, 1), W))
    with refused("init f", 1, 20, "pass f.filled(0) to start those entries at 0"):
        LOSSES["monge_gap"](X, X, init=(masked(W, 1), W))


def test_masked_geometries():
    with refused("C", 12, 400, "pass C.filled(np.inf) to forbid those pairs"):
        otf.DenseCost(masked(C, 12))
    with refused("y", 2, 40, "pass np.ma.compress_rows(y) to leave those points out"):
        otf.PointCloud(X, masked(X, 2))
    with refused("x", 1, 20, "pass x.compressed() to leave those points out"):
        otf.PointCloud(masked(W, 1), W)


def test_the_remedies_work():
    c, w, x = masked(C, 12), masked(W, 3), masked(X, 2)
    assert not otf.sinkhorn(None, None, c.filled(np.inf), 0.1).plan[0, :12].any()
    assert not otf.sinkhorn(w.filled(0) / w.sum(), W, C, 0.1).plan[:3].any()
    assert otf.PointCloud(np.ma.compress_rows(x), X).shape == (N - 1, N)


def test_an_array_without_masked_entries_is_read():
    got, want = (otf.sinkhorn(None, None, c, 0.1) for c in (np.ma.array(C), C))
    np.testing.assert_array_equal(got.plan, want.plan)


# ---- the package ------------------------------------------------------------------------------


def test_dir_shows_public_names_and_nothing_else():
    assert dir(otf) == sorted(otf.__all__)
    assert all(hasattr(otf, name) for name in dir(otf))
    private = {"numpy", "entropic", "sparse", "divergence", "monge", "annotations"}
    assert not private & set(dir(otf))
    assert [name for name in dir(otf) if name.startswith("_")] == ["__version__"]
