"""Arguments in any dress give the plain result; one damaged argument is named, before any work.

A dress changes how numbers are held: dtype, layout, container, library. It keeps their values,
which are multiples of 1/8. A damage makes them no argument.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ot_fast as otf

nan, inf = np.nan, np.inf
REG = 4.0


@dataclass(frozen=True)
class Wrapped:
    array: object

    def __array__(self, dtype=None, copy=None):
        return self.array


def unaligned(v):
    out = np.frombuffer(bytearray(v.nbytes + 1), v.dtype, v.size, offset=1).reshape(v.shape)
    out[...] = v
    return out


def read_only(v):
    v = v.copy()
    v.flags.writeable = False
    return v


DTYPES = ["f2", "f4", "f8", ">f2", ">f4", ">f8", "longdouble"]
LAYOUTS = {
    "plain": lambda v: v,
    "Fortran order": np.asfortranarray,
    "columns apart": lambda v: np.repeat(v, 2, axis=-1)[..., ::2],
    "rows apart": lambda v: np.repeat(v, 3, axis=0)[::3],
    "reversed": lambda v: np.flip(np.flip(v).copy()),
    "unaligned": unaligned,
    "read-only": read_only,
}
CONTAINERS = {
    "array": lambda v: v,
    "list": lambda v: v.astype(float).tolist(),
    "list of arrays": list,
    "subclass": lambda v: v.view(np.recarray),
    "no masked entry": lambda v: np.ma.array(v, mask=np.zeros(v.shape, bool)),
    "wrapped": Wrapped,
    "memoryview": lambda v: memoryview(np.ascontiguousarray(v, np.float64)),
}
if importlib.util.find_spec("pandas"):
    import pandas as pd

    def nullable(v):
        return (pd.Series if v.ndim == 1 else pd.DataFrame)(v.astype(float)).astype("Float64")

    CONTAINERS["pandas"] = nullable
if importlib.util.find_spec("ml_dtypes"):
    import ml_dtypes

    CONTAINERS["bfloat16"] = lambda v: v.astype(ml_dtypes.bfloat16)


def with_entry(value):
    def damaged(v, k):
        v = v.astype(np.result_type(v, type(value)) if value is not None else object)
        v.flat[k % v.size] = value
        return v

    return damaged


def masked(v, k):
    return np.ma.array(v, mask=np.arange(v.size).reshape(v.shape) == k % v.size)


# What to do to an array (with a number that chooses an entry), and the errors that may follow.
DAMAGES = {
    "NaN": (with_entry(nan), ValueError),
    "-inf": (with_entry(-inf), ValueError),
    "beyond float64": (
        lambda v, k: with_entry(np.longdouble("1e400"))(v.astype(np.longdouble), k),
        ValueError,
    ),
    "masked": (masked, ValueError),
    "a row of masked arrays": (lambda v, k: list(masked(np.atleast_2d(v), k)), ValueError),
    "one axis more": (lambda v, _: v[..., None], ValueError),
    "no entries": (lambda v, _: v[:0], ValueError),
    "no number": (with_entry(None), TypeError),
    "complex": (with_entry(1j), TypeError),
    "text": (lambda v, _: v.astype(str), TypeError),
    "dates": (lambda v, _: v.astype("M8[s]"), TypeError),
    "records": (lambda v, _: v.astype([("w", float)]), TypeError),
    "a generator": (lambda v, _: iter(v.tolist()), TypeError),
    "a function": (lambda v, _: v.sum, TypeError),
    "a dict": (lambda v, _: dict(enumerate(v.tolist())), TypeError),
    "ragged": (lambda v, _: [*v.tolist(), [1.0, [2.0]]], (ValueError, TypeError)),
}


@st.composite
def numbers(draw):
    """a, b, C, x, y as plain arrays of multiples of 1/8."""
    n, m = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    a, b = (rng.multinomial(32, np.full(k, 1 / k)) / 8 for k in (n, m))
    C, x, y = (rng.integers(0, 24, shape) / 8 for shape in ((n, m), (n, 2), (m, 2)))
    return {"a": a, "b": b, "C": C, "x": x, "y": y}


@st.composite
def dressed(draw, v):
    v = v.astype(draw(st.sampled_from(DTYPES)))
    v = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](v)
    return CONTAINERS[draw(st.sampled_from(sorted(CONTAINERS)))](v)


def solved(kind, v):
    """One of the families on these arguments; `C` is read by "dense", x and y by the others."""
    if kind == "dense":
        return otf.sinkhorn(v["a"], v["b"], v["C"], REG, tol=1e-6)
    if kind == "sparse":
        return otf.quadratic(v["a"], v["b"], v["C"], REG, tol=1e-5)
    if kind == "cloud":
        return otf.sinkhorn(v["a"], v["b"], otf.PointCloud(v["x"], v["y"]), REG, tol=1e-6)
    return otf.sinkhorn_divergence(v["x"], v["y"], v["a"], v["b"], reg=REG, tol=1e-6)


ARGUMENTS = {"dense": "abC", "sparse": "abC", "cloud": "abxy", "loss": "abxy"}


@given(st.data(), numbers(), st.sampled_from(sorted(ARGUMENTS)))
def test_any_dress_gives_the_plain_result(data, plain, kind):
    names = ARGUMENTS[kind]
    given = {k: data.draw(dressed(plain[k]), label=k) for k in names}
    r, want = solved(kind, given), solved(kind, plain)
    assert r.value == pytest.approx(want.value, rel=1e-4, abs=1e-4)
    if kind == "loss":
        np.testing.assert_allclose(r.gradient_x, want.gradient_x, atol=2e-3)
    else:
        a, b = plain["a"], plain["b"]
        np.testing.assert_allclose(r.plan, want.plan, atol=2e-3)
        np.testing.assert_allclose(r.plan.sum(1), a, atol=1e-3)
        np.testing.assert_allclose(r.plan.sum(0), b, atol=1e-3)


@given(st.data(), numbers(), st.sampled_from(sorted(ARGUMENTS)), st.sampled_from(sorted(DAMAGES)))
def test_one_damaged_argument_is_named(data, plain, kind, damage):
    names = ARGUMENTS[kind]
    bad = data.draw(st.sampled_from(names))
    damaged, error = DAMAGES[damage]
    given = {k: data.draw(dressed(plain[k]), label=k) for k in names}
    given[bad] = damaged(plain[bad], data.draw(st.integers(0, 40)))
    before = given[bad].copy() if isinstance(given[bad], np.ndarray) else None
    with pytest.raises(error, match=rf"^{bad} (must|is a masked array|has missing values)"):
        solved(kind, given)
    if before is not None and before.dtype.kind == "f":
        np.testing.assert_array_equal(given[bad], before)


@given(numbers(), st.sampled_from("ab"), st.sampled_from(["negative", "zero", "transposed"]))
def test_weights_have_a_sign_and_a_length(plain, name, damage):
    w = plain[name]
    damaged = {"negative": w - w.max() - 1, "zero": 0 * w, "transposed": np.append(w, [1, 1])}
    with pytest.raises(ValueError, match=rf"^{name} must "):
        otf.sinkhorn(**({"a": plain["a"], "b": plain["b"]} | {name: damaged[damage]}), C=plain["C"],
                     reg=REG)  # fmt: skip
