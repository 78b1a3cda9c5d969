"""How arrays are converted: what other libraries call missing is refused wherever one is taken, and
low precision is what it is called."""

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


class Wrapped:
    """What another library may hand out: an object that NumPy reads."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_masked_arrays_of_other_libraries():
    np.testing.assert_array_equal(
        otf.sinkhorn(None, None, Wrapped(C), 0.1).plan, otf.sinkhorn(None, None, C, 0.1).plan
    )
    with refused("C", 12, 400, "pass C.filled(np.inf) to forbid those pairs"):
        otf.sinkhorn(None, None, Wrapped(masked(C, 12)), 0.1)


def test_masked_arrays_of_methods_and_paths():
    r = otf.sinkhorn(None, None, otf.PointCloud(X, X), 0.1)
    with refused("G", 12, 400, "fill the masked entries"):
        r.plan_vjp(masked(C, 12))
    with refused("x_new", 2, 40, "pass np.ma.compress_rows(x_new) to leave those points out"):
        otf.entropic_map(r, masked(X, 2))
    with refused("values", 2, 40, "fill the masked entries"):
        otf.entropic_map(r, X, masked(X, 2))
    with refused("regs", 1, 20, "pass regs.compressed()"):
        otf.sinkhorn_path(None, None, C, masked(W, 1))
    for option in ("tol", "time_limit"):
        with pytest.raises(TypeError, match=f"^{option} must be .*MaskedConstant"):
            otf.sinkhorn(None, None, C, 0.1, **{option: np.ma.masked})


# ---- tables -----------------------------------------------------------------------------------

COLUMNS = ["Float64", "Float32", "double[pyarrow]", "float[pyarrow]", "Int64", "boolean"]


def table(values, dtype):
    """Quarters in columns of a nullable dtype of pandas, and as an array of the dtype kept."""
    pd = pytest.importorskip("pandas")
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    quarters = np.round(4 * values) / (1 if dtype == "Int64" else 4)
    if dtype == "boolean":
        quarters = quarters > 0.5
    frame = (pd.DataFrame if values.ndim == 2 else pd.Series)(quarters).astype(dtype)
    return frame, quarters.astype("float32" if "loat" in dtype and "64" not in dtype else float)


@pytest.mark.parametrize("dtype", COLUMNS)
def test_nullable_columns_without_missing_values(dtype):
    frame, array = table(C, dtype)
    costs = otf.DenseCost(frame)
    assert costs.dtype == array.dtype
    np.testing.assert_array_equal(costs.C, array)
    ones, w = table(np.ones(N), dtype)
    np.testing.assert_array_equal(otf.sinkhorn(ones, ones, C, 0.1).a, w)
    points = otf.PointCloud(frame, frame)
    np.testing.assert_array_equal(points.x, array)
    mixed = frame.copy()
    mixed[3] = array[:, 3].astype(float)
    np.testing.assert_array_equal(otf.PointCloud(mixed, mixed).x, array)


@pytest.mark.parametrize("dtype", COLUMNS)
def test_missing_values_raise_with_the_remedy(dtype):
    frame, _ = table(C, dtype)
    w, _ = table(np.ones(N), dtype)
    frame.iloc[1, 2] = None
    w.iloc[3] = None
    for call, message in (
        (lambda: otf.sinkhorn(None, None, frame, 0.1), "C has .* pass C.fillna(np.inf) to forbid"),
        (lambda: otf.sinkhorn(w, None, C, 0.1), "a has .* pass a.fillna(0) to give those"),
        (lambda: otf.sinkhorn(None, w, C, 0.1), "b has .* pass b.fillna(0) to give those"),
        (lambda: otf.PointCloud(X, frame), "y has .* pass y.dropna() to leave those"),
        (lambda: otf.sinkhorn(W, W, C, 0.1, init=(w, None)), "init f has .* pass f.fillna(0)"),
        (lambda: otf.sinkhorn_path(W, W, C, w), "regs has .* pass regs.dropna()"),
    ):
        name, rest = message.split(" has .* ")
        text = rf"^{name} has missing values \(1 of (20|400) entries\); {re.escape(rest)}"
        with pytest.raises(ValueError, match=text):
            call()


def test_columns_that_are_not_numbers():
    pd = pytest.importorskip("pandas")
    for column in (["a"] * N, [str(v) for v in W], [object()] * N):
        with pytest.raises(TypeError, match=r"^C must hold real numbers; its dtype is object"):
            otf.sinkhorn(None, None, pd.DataFrame(C).assign(last=column), 0.1)


# ---- low precision ----------------------------------------------------------------------------


def half(dtype):
    return np.dtype(getattr(pytest.importorskip("ml_dtypes"), dtype, None) or dtype)


def softmax(n, dtype, scale, seed=0):
    """Weights of sum 1, each rounded to a half type."""
    z = scale * np.random.default_rng(seed).normal(size=n)
    w = np.exp(z - z.max())
    return (w / w.sum()).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("scale", [0, 0.1, 1, 3])
@pytest.mark.parametrize("n", [10, 1000, 100_000])
def test_rounded_weights_are_weights(dtype, scale, n):
    w = softmax(n, half(dtype), scale)
    cost = otf.PointCloud(np.arange(2.0), np.arange(float(n)) / n)
    r = otf.sinkhorn(None, w, cost, 1.0)
    total = w.astype(float).sum()
    np.testing.assert_allclose(r.b_scale, 1, rtol=0, atol=1e-12)  # a has the sum of b
    r = otf.sinkhorn([0.5, 0.5], w, cost, 1.0)
    np.testing.assert_allclose(r.b_scale * total, 1, rtol=1e-12)
    np.testing.assert_allclose(r.plan.sum(), 1, rtol=1e-8)


@pytest.mark.parametrize(
    ("dtype", "slack"), [("float16", 2e-3), ("bfloat16", 1.6e-2), ("float32", 1e-5)]
)
def test_sums_that_no_rounding_explains_are_refused(dtype, slack):
    dtype = half(dtype) if "b" in dtype or "16" in dtype else dtype
    w = np.full(16, 1 / 16).astype(dtype)
    with pytest.raises(ValueError, match=r"^a and b must have equal sums"):
        otf.sinkhorn(np.full(4, (1 + 1.2 * slack) / 4), w, C[:4, :16], 0.1)
    r = otf.sinkhorn(np.full(4, (1 + 0.6 * slack) / 4), w, C[:4, :16], 0.1)
    assert r.b_scale == pytest.approx(1 + 0.6 * slack)


def test_bfloat16_is_stored_as_float32():
    low = C.astype(half("bfloat16"))
    r, want = (otf.sinkhorn(None, None, c, 0.1) for c in (low, low.astype(np.float32)))
    assert r.plan.dtype == np.float32
    np.testing.assert_array_equal(r.plan, want.plan)
    assert otf.PointCloud(low, low).x.dtype == np.float32
    eighth = C.astype(half("float8_e4m3fn"))
    with pytest.raises(TypeError, match=r"^C must hold real .*float8_e4m3fn \(convert it to float"):
        otf.sinkhorn(None, None, eighth, 0.1)


# ---- the package ------------------------------------------------------------------------------


def test_dir_shows_public_names_and_nothing_else():
    assert dir(otf) == sorted(otf.__all__)
    assert all(hasattr(otf, name) for name in dir(otf))
    private = {"numpy", "entropic", "sparse", "divergence", "monge", "annotations"}
    assert not private & set(dir(otf))
    assert [name for name in dir(otf) if name.startswith("_")] == ["__version__"]
