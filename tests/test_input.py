"""Input rules: every accepted kind gives the plain result, every rejected one says why."""

from __future__ import annotations

import array
import decimal
import fractions
import re
import tempfile

import numpy as np
import pytest
import scipy.sparse as sp
from problems import marginal_error, random_problem

import ot_fast as otf

# Multiples of 1/16, so that float16 and integers hold the same numbers exactly.
A = np.array([2, 4, 1, 9]) / 16
B = np.array([3, 3, 5, 1, 4]) / 16
COST = np.arange(20)[::-1].reshape(4, 5) ** 2 % 7 / 8
X, Y = np.arange(8).reshape(4, 2) / 4, np.arange(10).reshape(5, 2)[::-1] / 8
REG = 0.5
ARGUMENTS = {"a": A, "b": B, "C": COST, "x": X, "y": Y}


def solve(a=A, b=B, C=COST, x=None, y=None, reg=REG, **options):
    if x is not None or y is not None:
        C = otf.PointCloud(X if x is None else x, Y if y is None else y)
    return otf.sinkhorn(a, b, C, reg, **options)


def unaligned(v):
    raw = bytearray(v.nbytes + 1)
    out = np.frombuffer(raw, v.dtype, v.size, offset=1).reshape(v.shape)
    out[...] = v
    assert not out.flags.aligned
    return out


def read_only(v):
    v = v.copy()
    v.flags.writeable = False
    return v


def mapped(v):
    with tempfile.TemporaryFile() as file:
        out = np.memmap(file, v.dtype, "w+", shape=v.shape)
    out[...] = v
    return out


def interleaved(v):
    return np.repeat(v, 2, axis=-1)[..., ::2]


LAYOUTS = {
    "list": np.ndarray.tolist,
    "tuple": lambda v: tuple(map(tuple, v)) if v.ndim == 2 else tuple(v),
    "list of arrays": list,
    "array.array": lambda v: array.array("d", v) if v.ndim == 1 else v,
    "Fortran order": np.asfortranarray,
    "strided": interleaved,
    "every other row": lambda v: np.repeat(v, 2, axis=0)[::2],
    "reversed": lambda v: np.ascontiguousarray(v[::-1])[::-1],
    "unaligned": unaligned,
    "read-only": read_only,
    "big-endian": lambda v: v.astype(">f8"),
    "longdouble": lambda v: v.astype(np.longdouble),
    "subclass": lambda v: v.view(np.recarray),
    "memoryview": lambda v: memoryview(np.ascontiguousarray(v)),
    "reversed both ways": lambda v: np.flip(np.flip(v).copy()),
    "memory map": lambda v: mapped(v),
    "matrix": lambda v: np.asmatrix(v) if v.ndim == 2 else v,
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_any_layout_gives_the_same_result(name, layout):
    value = LAYOUTS[layout](ARGUMENTS[name])
    r, plain = (solve(**{name: v}, tol=1e-13) for v in (value, ARGUMENTS[name]))
    assert r.plan.dtype == np.float64
    np.testing.assert_allclose(r.plan, plain.plan, rtol=1e-10)
    assert r.value == pytest.approx(plain.value, rel=1e-10)


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64"])
def test_any_float_dtype_gives_the_same_result(name, dtype):
    r, plain = solve(**{name: ARGUMENTS[name].astype(dtype)}, tol=1e-5), solve(tol=1e-9)
    if name in "xy":
        plain = solve(x=X)
    np.testing.assert_allclose(r.plan, plain.plan, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "kept"), [("float32", "float32"), (">f4", "float32"),
                                             ("float64", "float64"), ("int32", "float64"),
                                             ("longdouble", "float64")])  # fmt: skip
@pytest.mark.parametrize("geometry", ["dense", "cloud"])
def test_dtype_of_the_result(dtype, kept, geometry):
    a, b, C, x, y = ((16 * v).astype(dtype) for v in ARGUMENTS.values())
    cost = C if geometry == "dense" else otf.PointCloud(x, y)
    r = otf.sinkhorn(a, b, cost, 50.0)
    assert {v.dtype.name for v in (r.f, r.g, r.plan)} == {kept}
    assert all(v.dtype.isnative for v in (r.f, r.g, r.plan))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_integers_become_float64_before_arithmetic(dtype, name):
    # 60 + 60 + 100 overflows int8, and 0 - 200 every unsigned type
    a, b = np.array([60, 60, 100]), np.array([100, 20, 100])
    C = np.array([[0, 100, 3], [127, 0, 90], [1, 2, 120]])
    x, y = np.array([[0], [100], [127]]), np.array([[127], [1], [0]])
    arguments = {"a": a, "b": b, "C": C} | ({"x": x, "y": y} if name in "xy" else {})
    as_float = {k: v.astype(float) for k, v in arguments.items()}
    reg = 5000.0 if name in "xy" else 50.0
    r = solve(**as_float | {name: arguments[name].astype(dtype)}, reg=reg)
    np.testing.assert_array_equal(r.plan, solve(**as_float, reg=reg).plan)


def test_broadcast_cost():
    row = np.broadcast_to(COST[0], (4, 5))
    np.testing.assert_array_equal(solve(C=row).plan, solve(C=row.copy()).plan)
    # a cost that depends on the column alone leaves nothing to choose
    np.testing.assert_allclose(solve(C=row).plan, np.outer(A, B), rtol=1e-9)


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (4, 1)])
def test_every_stride_zero(shape):
    a, b = A[: shape[0]] / A[: shape[0]].sum(), B[: shape[1]] / B[: shape[1]].sum()
    for one in (COST[:1, :1], COST[: shape[0], :1], COST[:1, : shape[1]]):
        r = solve(a, b, np.broadcast_to(one, shape))
        np.testing.assert_allclose(r.plan, np.outer(a, b), rtol=1e-9)


def test_ranges_and_bytes_are_numbers():
    for a in (range(1, 5), bytearray([1, 2, 3, 4]), array.array("i", [1, 2, 3, 4])):
        np.testing.assert_array_equal(solve(a=a, b=10 * B).plan, solve([1, 2, 3, 4], 10 * B).plan)


def test_none_is_uniform():
    r = solve(a=None, b=None)
    np.testing.assert_array_equal(r.plan, solve(np.full(4, 0.25), np.full(5, 0.2)).plan)
    assert solve(a=None, b=None, C=COST.astype("float32")).plan.dtype == np.float32


@pytest.mark.parametrize("reg", [1, np.float32(1), np.int64(1), np.array(1.0), np.longdouble(1)])
def test_any_real_scalar_is_a_reg(reg):
    np.testing.assert_array_equal(solve(reg=reg).plan, solve(reg=1.0).plan)


def test_numpy_integers_are_integers():
    assert solve(max_iter=np.int32(2), threads=np.int64(1), on_fail="ignore").n_iter <= 3


@pytest.mark.parametrize("kind", ["dense", "cloud", "zero weights", "forbidden pairs"])
def test_inputs_are_never_changed(kind):
    a, b, C, x, y = (v.copy() for v in ARGUMENTS.values())
    if kind == "zero weights":
        a[1], a[0] = 0, a[0] + a[1]
    if kind == "forbidden pairs":
        C[0, 0] = C[3, 4] = np.inf
    f, g = np.zeros(4), np.zeros(5)
    given = [a, b, C, x, y, f, g]
    before = [v.copy() for v in given]
    r = solve(a, b, otf.PointCloud(x, y) if kind == "cloud" else C, init=(f, g))
    _ = r.plan, r.value, r.lower_bound, r.upper_bound, r.sparsify(top_k=1), r.sparse_plan
    for now, then in zip(given, before, strict=True):
        np.testing.assert_array_equal(now, then)


# ---- rejected: (arguments, error, what the message must hold) ---------------------------------


def put(v, index, value):
    v = v.copy()
    v[index] = value
    return v


nan, inf = np.nan, np.inf
REJECTED = {
    # values
    "a negative": ({"a": put(A, 3, -0.05)}, ValueError, r"a\[3\] = -0\.05 \(1 of 4 entries\)"),
    "b negative": ({"b": put(B, 2, -0.05)}, ValueError, r"b\[2\] = -0\.05 \(1 of 5 entries\)"),
    "b two bad": ({"b": put(B, [1, 4], -2)}, ValueError, r"b\[1\] = -2(\.0)? \(2 of 5 entries\)"),
    "a nan": ({"a": put(A, 1, nan)}, ValueError, r"a\[1\] = nan"),
    "a inf": ({"a": put(A, 0, inf)}, ValueError, r"a\[0\] = inf"),
    "b -inf": ({"b": put(B, 4, -inf)}, ValueError, r"b\[4\] = -inf"),
    "a zero": ({"a": 0 * A}, ValueError, r"^a .*sum"),
    "b zero": ({"b": 0 * B}, ValueError, r"^b .*sum"),
    "a sum overflows": ({"a": np.full(4, 1e308), "b": np.full(5, 8e307)}, ValueError, r"^a .*sum"),
    "masses differ": ({"b": B * (1 + 1e-6)}, ValueError, r"^a and b .*sum"),
    "b missing a tenth": ({"b": B * 0.9}, ValueError, r"^a and b .*0\.9"),
    "C nan": ({"C": put(COST, (1, 2), nan)}, ValueError, r"C\[1, 2\] = nan"),
    "C -inf": ({"C": put(COST, (3, 0), -inf)}, ValueError, r"C\[3, 0\] = -inf"),
    "x nan": ({"x": put(X, (1, 0), nan)}, ValueError, r"x\[1, 0\] = nan"),
    "y inf": ({"y": put(Y, (4, 1), inf)}, ValueError, r"y\[4, 1\] = inf"),
    "reg zero": ({"reg": 0}, ValueError, r"^reg must be .*> 0.* 0$"),
    "reg negative": ({"reg": -0.1}, ValueError, r"^reg must be .*> 0.* -0\.1$"),
    "reg nan": ({"reg": nan}, ValueError, r"^reg must be .*finite.* nan$"),
    "reg beyond floats": ({"reg": 10**400}, ValueError, r"^reg must be .*finite"),
    "reg inf": ({"reg": inf}, ValueError, r"^reg must be .*finite.* inf$"),
    "tol negative": ({"tol": -1e-9}, ValueError, r"^tol must be .*>= 0.* -1e-09$"),
    "tol nan": ({"tol": nan}, ValueError, r"^tol must be .*finite.* nan$"),
    "tol inf": ({"tol": inf}, ValueError, r"^tol must be .*finite.* inf$"),
    "max_iter negative": ({"max_iter": -1}, ValueError, r"^max_iter must be .*>= 0.* -1$"),
    "max_iter fraction": (
        {"max_iter": 1.5},
        (TypeError, ValueError),
        r"^max_iter must be an integer",
    ),
    "max_iter nan": ({"max_iter": nan}, (TypeError, ValueError), r"^max_iter must be an integer"),
    "time_limit negative": ({"time_limit": -1}, ValueError, r"^time_limit must be .*-1"),
    "time_limit nan": ({"time_limit": nan}, ValueError, r"^time_limit must be .*nan"),
    "threads zero": ({"threads": 0}, ValueError, r"^threads must be .*>= 1.* 0$"),
    "threads fraction": ({"threads": 1.5}, (TypeError, ValueError), r"^threads must be an integer"),
    # names
    "method": ({"method": "newtron"}, ValueError, r"^method must be .*'scaling'.*'newtron'"),
    "on_fail": ({"on_fail": "explode"}, ValueError, r"^on_fail must be .*'explode'"),
    "method of another kind": ({"method": 3}, TypeError, r"^method must be .*Scaling.*int$"),
    "unknown option": ({"numItermax": 10}, TypeError, r"numItermax"),
    # shapes
    "a too short": ({"a": A[:3] * 2}, ValueError, r"^a must .*\b4\b.*\b3\b|^a must .*\b3\b.*\b4\b"),
    "b too long": ({"b": np.ones(6) / 6}, ValueError, r"^b must .*\b[56]\b.*\b[56]\b"),
    "a 2-D": ({"a": A[:, None]}, ValueError, r"^a must .*\(4, 1\)"),
    "a scalar": ({"a": 1.0}, ValueError, r"^a must .*\(\)"),
    "C 1-D": ({"C": COST[0]}, ValueError, r"^C must .*\(5,\)"),
    "C 3-D": ({"C": COST[None]}, ValueError, r"^C must .*\(1, 4, 5\)"),
    "C transposed": ({"C": COST.T}, ValueError, r"\(5, 4\)|\b4\b.*\b5\b|\b5\b.*\b4\b"),
    "no rows": ({"a": [], "C": np.zeros((0, 5))}, ValueError, r"^[aC] must .*0"),
    "no columns": ({"b": None, "C": np.zeros((4, 0))}, ValueError, r"^C must .*0"),
    "ragged list": ({"a": [[1, 2], [3]]}, (TypeError, ValueError), r"^a must"),
    "x no points": ({"a": None, "x": np.zeros((0, 2))}, ValueError, r"^x must .*0"),
    "x and y of other dimension": ({"x": X[:, :1]}, ValueError, r"x .*y .*|y .*x"),
    "x 3-D": ({"x": X[None]}, ValueError, r"^x must .*\(1, 4, 2\)"),
    "init too short": ({"init": (np.zeros(3), None)}, ValueError, r"init.*\b[34]\b"),
    "init nan": ({"init": (None, put(B, 2, nan))}, ValueError, r"init.*\[2\] = nan"),
    "init of three": ({"init": (A, B, B)}, (TypeError, ValueError), r"init"),
    # types
    "reg str": ({"reg": "0.1"}, TypeError, r"^reg must be"),
    "reg None": ({"reg": None}, TypeError, r"^reg must be"),
    "reg complex": ({"reg": 1j}, TypeError, r"^reg must be"),
    "reg array": ({"reg": [0.1, 0.2]}, (TypeError, ValueError), r"^reg must be"),
    "tol str": ({"tol": "small"}, TypeError, r"^tol must be"),
    "max_iter str": ({"max_iter": "10"}, TypeError, r"^max_iter must be"),
    "threads str": ({"threads": "2"}, TypeError, r"^threads must be"),
    "callback": ({"callback": 3}, TypeError, r"^callback must be"),
    "init str": ({"init": "warm"}, (TypeError, ValueError), r"^init must be"),
    "C None": ({"C": None}, TypeError, r"^C must be"),
    "C sparse": (
        {"C": sp.csr_array(COST)},
        TypeError,
        r"^C must be a real array; got csr_array, a sparse matrix: pass C.toarray\(\)",
    ),
    "a sparse": ({"a": sp.csr_array(A[None])}, TypeError, r"^a must .*: pass a.toarray\(\)"),
    "a column": ({"a": A[:, None]}, ValueError, r"^a must .*\(4, 1\); pass np.ravel\(a\)$"),
    "b row": ({"b": B[None]}, ValueError, r"^b must .*\(1, 5\); pass np.ravel\(b\)$"),
    "a and b swapped": ({"a": B, "b": A}, ValueError, r"^a must .*other marginal: pass C\.T, or"),
    "C beyond floats": (
        {"C": put(COST.astype(np.longdouble), (1, 2), np.longdouble("1e400"))},
        ValueError,
        r"^C must be in the range of float64; C\[1, 2\] = 1e\+400 \(1 of 20",
    ),
    "a beyond floats": (
        {"a": put(A.astype(np.longdouble), 1, np.longdouble("1e400"))},
        ValueError,
        r"^a must be finite .*a\[1\] = 1e\+400",
    ),
    "C one number": ({"C": np.float64(1)}, ValueError, r"^C must be a matrix .*\(\)"),
    "a empty": ({"a": []}, ValueError, r"^a must .*\(0,\)$"),
    "a generator": ({"a": (v for v in A)}, TypeError, r"^a must .*generator: pass list\(a\)"),
    "a map": ({"a": map(float, A)}, TypeError, r"^a must .*map: pass list\(a\)"),
    "a fractions": (
        {"a": [fractions.Fraction(1, 4)] * 4},
        TypeError,
        r"^a must .*object \(pass np.asarray\(a, dtype=float\)",
    ),
    "a int beyond int64": ({"a": [2**70, 1, 1, 1]}, TypeError, r"^a must .*dtype=float"),
    "x cost": ({"x": otf.DenseCost(COST)}, TypeError, r"^x must be a real array; got DenseCost"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_rejected(case):
    arguments, error, message = REJECTED[case]
    with pytest.raises(error) as caught:
        solve(**arguments)
    assert type(caught.value) in (TypeError, ValueError)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


NOT_REAL = {
    "complex": lambda v: v + 1j,
    "complex with zero imaginary part": lambda v: v.astype(complex),
    "str": lambda v: v.astype(str),
    "bytes": lambda v: v.astype(str).astype("S"),
    "datetime": lambda v: (100 * v).astype("datetime64[s]"),
    "timedelta": lambda v: (100 * v).astype("timedelta64[s]"),
    "object": lambda v: v.astype(object),
    "Fraction": lambda v: np.vectorize(fractions.Fraction, otypes=[object])(v),
    "Decimal": lambda v: np.vectorize(decimal.Decimal, otypes=[object])(v).tolist(),
    "list with None": lambda v: put(v.astype(object), (0,) * v.ndim, None).tolist(),
    "dict": lambda v: dict(enumerate(v)),
    "set": lambda v: set(v.ravel()),
    "generator": iter,
    "record": lambda v: np.zeros(v.shape, [("w", float)]),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("kind", NOT_REAL)
def test_not_real_numbers_is_a_type_error(name, kind):
    with pytest.raises(TypeError, match=f"^{name} must"):
        solve(**{name: NOT_REAL[kind](ARGUMENTS[name])})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_masses_may_differ_by_rounding_only(dtype):
    a, b, C = random_problem(10, 12, dtype=dtype)
    limit = {"float64": 1e-7, "float32": 1e-5}[dtype]
    r = otf.sinkhorn(a, (b * (1 + limit / 2)).astype(dtype), C, REG)
    assert marginal_error(r.plan, a, b) <= {"float64": 1e-9, "float32": 3e-6}[dtype]
    with pytest.raises(ValueError, match="a and b"):
        otf.sinkhorn(a, (b * (1 + 3 * limit)).astype(dtype), C, REG)


INFEASIBLE = {
    "row with no pair": ([1, 1], [1, 1], [[inf, inf], [0, 0]], r"rows?\b.*\b0\b"),
    "column with no pair": ([1, 1], [1, 1], [[0, inf], [0, inf]], r"columns?\b.*\b1\b|rows?\b"),
    "two rows share a small column": (
        [1, 1, 1],
        [1, 1, 1],
        [[0, inf, inf], [0, inf, inf], [0, 0, 0]],
        r"rows?\b.*\b[01]\b",
    ),
    "mass just too large": (
        [1, 2],
        [1 - 1e-6, 2 + 1e-6],
        [[0, inf], [0, 0]],
        r"rows?\b.*\b0\b",
    ),
}


@pytest.mark.parametrize("method", ["auto", "scaling", "log"])
@pytest.mark.parametrize("case", INFEASIBLE)
def test_infeasible(method, case):
    a, b, C, message = INFEASIBLE[case]
    with pytest.raises(otf.InfeasibleError, match=message) as caught:
        otf.sinkhorn(a, b, C, 0.1, method=method)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("slack", [0.0, 1e-12, 0.5])
def test_forbidden_pairs_are_legal_while_a_plan_exists(slack):
    a, b = np.array([1.0, 2.0]), np.array([1.0 + slack, 2.0 - slack])
    r = otf.sinkhorn(a, b, [[0, inf], [0, 0]], 0.1, max_iter=5000, tol=1e-3)
    np.testing.assert_allclose(r.plan, [[1, 0], [slack, 2 - slack]], rtol=0, atol=5e-3)


def test_row_without_pair_is_legal_at_zero_weight():
    C = np.array([[inf, inf], [0.0, 1.0], [1.0, 0.0]])
    r = otf.sinkhorn([0, 1, 1], [1, 1], C, 0.1)
    np.testing.assert_allclose(r.plan.sum(1), [0, 1, 1], atol=1e-8)
    assert np.isfinite(r.value)


@pytest.mark.parametrize("cost", ["minkowski", "l2", None, 2])
def test_unknown_cost(cost):
    with pytest.raises((TypeError, ValueError), match=r"^cost must be .*'sqeuclidean'"):
        otf.PointCloud(X, Y, cost=cost)


@pytest.mark.parametrize(
    ("regs", "message"),
    [
        ([0.1, -1.0, 0.0], r"^regs must be finite and > 0; regs\[1\] = -1.0 \(2 of 3 entries\)"),
        ([0.1, nan], r"^regs must be finite and > 0; regs\[1\] = nan"),
        ([], r"^regs must be a nonempty vector; got shape \(0,\)"),
        ([[0.1]], r"^regs must be a nonempty vector; got shape \(1, 1\)"),
    ],
)
def test_a_path_is_checked_before_its_first_solve(regs, message):
    calls = []
    with pytest.raises(ValueError, match=message):
        otf.sinkhorn_path(A, B, COST, regs, callback=calls.append)
    assert not calls


def test_entropic_map_checks_its_arguments():
    r = solve(x=X)
    with pytest.raises(TypeError, match=r"^result must be an OTResult; got NoneType"):
        otf.entropic_map(None, X)
    with pytest.raises(TypeError, match=r"^result must be an OTResult; got SparseResult"):
        otf.entropic_map(otf.quadratic(A, B, r.geometry, REG), X)
    for values in (Y[:3], 3.0):
        with pytest.raises(ValueError, match=r"^values must have 5 rows"):
            otf.entropic_map(r, X, values)


@pytest.mark.parametrize("axis", [2, -1, True, 0.0, "0", None, [0], np.array([0, 1])])
def test_axis_is_the_integer_0_or_1(axis):
    with pytest.raises(ValueError, match=r"^axis must be 0 .* or 1"):
        otf.sparsity_constrained(A, B, COST, REG, 4, axis=axis)


def test_debias_is_a_bool():
    with pytest.raises(TypeError, match=r"^debias must be True or False; got str"):
        otf.monge_gap(X, 2 * X, debias="no")
