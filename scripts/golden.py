"""Compare the answers of two trees of ot_fast bit by bit, on this machine.

Usage: python scripts/golden.py --base DIR [--new DIR] [--full] [-k PATTERN]

DIR is a folder from which ``ot_fast`` imports: a checkout with built modules, or what
``pip install --target DIR`` made of a commit. Each tree solves the same problems in processes of
its own, at instruction-set levels, with 1, 2 and 3 threads, and on the emulated CUDA device where
both trees have it. The base solves with one thread: bits must not depend on their number. Fields
are compared as raw bytes. Results of the base are kept in the temporary folder. Exits with 1 on a
mismatch.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import inspect
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent.parent
OLD_TESTS = "001a984:tests/emulated.py"  # the emulated device of trees without tests
LEVELS = ("baseline", "v3", "v4")
COSTS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "power")
Fields = dict[str, Any]

# Changes that are meant: a regular expression of "case: field: difference", and the reason.
ACCEPTED = {
    r"float32 F .*top_k.*\.data: float64.* became float32": "the type of the costs, in any layout",
}


# ---- one tree: its names, its device -----------------------------------------------------------


class Tree:
    """The calls of one tree, whichever names it has, on the host or on the emulated device."""

    def __init__(self, threads: int, emulated: bool) -> None:
        import ot_fast

        self.otf = ot_fast
        self.emulated = emulated
        self.threads = {} if emulated else {"threads": threads}
        self.array: Callable[[Any], Any] = np.asarray if not emulated else self._install()

    @staticmethod
    def _install() -> Callable[[Any], Any]:
        import emulated  # type: ignore[import-not-found]
        import pytest

        emulated.install(pytest.MonkeyPatch())
        return emulated.DeviceArray  # type: ignore[no-any-return]

    def put(self, value: Any) -> Any:
        return None if value is None else self.array(value)

    def cloud(self, x: Any, y: Any, cost: str = "sqeuclidean") -> Any:
        return self.otf.PointCloud(self.put(x), self.put(y), **spec(cost))

    def sinkhorn(self, a: Any, b: Any, C: Any, reg: float, method: str = "auto", **o: Any) -> Any:
        """`method` may carry options: "scaling/float64", "sns/5/0.1"."""
        return self.otf.sinkhorn(
            self.put(a), self.put(b), self._cost(C), reg, **self._method(method), **self._options(o)
        )

    def path(self, a: Any, b: Any, C: Any, regs: Any, **o: Any) -> list[Any]:
        found = self.otf.sinkhorn_path(
            self.put(a), self.put(b), self._cost(C), regs, **self._options(o)
        )
        return list(found)

    def _method(self, method: str) -> Fields:
        name, *given = method.split("/")
        if not given:
            return {"method": name}
        new = hasattr(self.otf, "SNS")
        if name == "scaling":
            if new:
                return {"method": self.otf.Scaling(dtype=given[0])}
            return {"method": name, "kernel_dtype": given[0]}
        steps, density = int(given[0]), float(given[1])
        if new:
            return {"method": self.otf.SNS(steps=steps, density=density)}
        return {"method": name, "sns_steps": steps, "sns_density": density}

    def quadratic(self, a: Any, b: Any, C: Any, reg: float, **o: Any) -> Any:
        return self.otf.quadratic(self.put(a), self.put(b), self._cost(C), reg, **self._options(o))

    def constrained(self, a: Any, b: Any, C: Any, reg: float, k: int, **o: Any) -> Any:
        return self.otf.sparsity_constrained(
            self.put(a), self.put(b), self._cost(C), reg, k, **self._options(o)
        )

    def divergence(self, x: Any, y: Any, a: Any, b: Any, cost: str, **o: Any) -> Any:
        return self._loss(self.otf.sinkhorn_divergence, x, y, (self.put(a), self.put(b)), cost, o)

    def gap(self, x: Any, y: Any, cost: str, **o: Any) -> Any:
        return self._loss(self.otf.monge_gap, x, y, (), cost, o)

    def _loss(self, loss: Any, x: Any, y: Any, weights: tuple[Any, ...], cost: str, o: Any) -> Any:
        o = self._options(o)
        if "cost" in inspect.signature(loss).parameters:
            return loss(self.put(x), self.put(y), *weights, **spec(cost), **o)
        return loss(self.cloud(x, y, cost), *weights, **o)

    def _cost(self, C: Any) -> Any:
        return self.put(C) if isinstance(C, np.ndarray) else C

    def _options(self, options: Fields) -> Fields:
        if isinstance(options.get("init"), tuple):
            options["init"] = tuple(
                self.put(v) if isinstance(v, np.ndarray) else v for v in options["init"]
            )
        return {"on_fail": "ignore", **self.threads, **options}

    def sparsify(self, result: Any, **rule: Any) -> Any:
        keep = result.sparsify if hasattr(result, "sparsify") else result.sparse_plan
        return keep(**rule)


def spec(cost: str) -> Fields:
    return {"cost": cost, "p": 1.5 if cost == "power" else None}


# ---- fields of results -------------------------------------------------------------------------


def host(value: Any) -> Any:
    """What is compared: arrays, numbers, strings and dictionaries of them."""
    if hasattr(value, "indptr") and not hasattr(value, "get"):
        return {"indptr": value.indptr, "indices": value.indices, "data": value.data}
    if hasattr(value, "get") and not isinstance(value, dict):
        return host(value.get())
    if isinstance(value, np.ndarray):
        return np.array(value, order="C")
    if isinstance(value, dict):
        return {k: host(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return {str(k): host(v) for k, v in enumerate(value)}
    if isinstance(value, (bool, np.bool_)) or value is None:
        return str(bool(value)) if value is not None else "None"
    return value if isinstance(value, str) else np.asarray(value)


def flat(value: Any, name: str = "") -> Fields:
    value = host(value)
    if not isinstance(value, dict):
        return {name: value}
    out: Fields = {}
    for key, inner in value.items():
        out |= flat(inner, f"{name}.{key}" if name else str(key))
    return out


def attributes(result: Any, names: str) -> Fields:
    return {name: getattr(result, name) for name in names.split()}


def history(result: Any) -> Fields:
    return {k: v for k, v in result.history.items() if k != "elapsed"}


def common(r: Any) -> Fields:
    out = attributes(
        r,
        "f g a b value value_linear dual_value gap marginal_error converged n_iter method b_scale",
    )
    return out | {"status": str(r.status), "history": history(r)}


def entropic(t: Tree, r: Any, plan: bool = True) -> Fields:
    """All fields of an entropic result."""
    out = common(r) | attributes(r, "lower_bound upper_bound")
    n, m = r.geometry.shape
    if plan:
        rng = np.random.default_rng(7)
        V, W = rng.normal(size=(m, 3)), rng.normal(size=n)
        out["plan"] = r.plan
        out["P @ V"], out["P' @ w"] = r.plan_operator @ t.put(V), r.plan_operator.T @ t.put(W)
        for rule in ({"threshold": 0.3 / (n * m)}, {"top_k": 3}, {"mass": 0.9}):
            out[f"sparsify({rule})"] = t.sparsify(r, **rule)
    return out


def sparse(r: Any) -> Fields:
    return common(r) | attributes(r, "sparse_plan cardinality")


def loss(r: Any) -> Fields:
    """A divergence or a Monge gap, with its gradients."""
    names = "value marginal_error converged n_iter transport potentials gradient_x"
    more = (
        "gradient_y gradient_a gradient_b"
        if hasattr(r, "gradient_a")
        else "gradient reg displacement"
    )
    return attributes(r, f"{names} {more}")


# ---- problems ----------------------------------------------------------------------------------


def weights(n: int, seed: int, zeros: bool = False, mass: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    w = rng.random(n) ** 2 + 0.01
    if zeros:
        w[rng.random(n) < 0.25] = 0
    return w / w.sum() * mass


@functools.lru_cache(2)
def random(n: int, m: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((n, m))


def points(n: int, d: int, seed: int, dtype: Any = float) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.random((n, d)) + 0.1 * rng.normal(size=(n, d)) + 0.2).astype(dtype)


def grid(side: int) -> Any:
    """Costs with ties everywhere: L1 distances on a pixel grid."""
    p = np.stack(np.meshgrid(*[np.arange(side)] * 2), -1).reshape(-1, 2)
    C = np.abs(p[:, None] - p[None]).sum(-1).astype(float)
    return C / C.max()


def clusters(n: int, m: int) -> Any:
    """Far clusters: kernels overflow and Sinkhorn stalls."""
    rng = np.random.default_rng(0)
    x = 0.01 * rng.normal(size=(n, 2)) + 10 * rng.integers(0, 4, (n, 1))
    y = 0.01 * rng.normal(size=(m, 2)) + 10 * rng.integers(0, 4, (m, 1))
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def forbid(C: Any, share: float = 0.2) -> Any:
    C = C.copy()
    C[np.random.default_rng(3).random(C.shape) < share] = np.inf
    return C


def laid_out(C: Any, layout: str) -> Any:
    """The same costs: row-major, column-major, in a wider array, or every second entry of one."""
    n, m = C.shape
    if layout == "C":
        return np.ascontiguousarray(C)
    if layout == "F":
        return np.asfortranarray(C)
    wide = np.empty((2 * n, 2 * m), C.dtype)
    view = wide[:n, :m] if layout == "wide" else wide[::2, ::2]
    view[:] = C
    return view


# ---- cases -------------------------------------------------------------------------------------

CASES: dict[str, tuple[Callable[[Tree], Fields], bool, bool]] = {}
METHODS = ("auto", "newton", "log", "scaling", "scaling/float64", "sns", "sns/5/0.1")


def case(name: str, *, full: bool = False, device: bool = True) -> Any:
    """Register a case; `full` keeps it for the full run, `device=False` for the host."""

    def add(solve: Callable[[Tree], Fields]) -> None:
        assert name not in CASES, name
        CASES[name] = solve, full, device

    return add


def sinkhorn_case(name: str, problem: Callable[[], Any], reg: float, method: str, *,
                  full: bool = False, device: bool = True, plan: bool = True,
                  **options: Any) -> None:  # fmt: skip
    def solve(t: Tree) -> Fields:
        a, b, C = problem()
        return entropic(t, t.sinkhorn(a, b, C, reg, method, **options), plan)

    case(f"sinkhorn {name} reg={reg:g} {method}", full=full, device=device)(solve)


def dense(n: int, m: int, dtype: str = "float64", layout: str = "C", **o: Any) -> Any:
    return lambda: (
        weights(n, 1, **o),
        weights(m, 2, **o),
        laid_out(random(n, m).astype(dtype), layout),
    )


for dtype in ("float64", "float32"):
    for method in METHODS:
        for reg in (0.5, 0.05, 2e-3):
            sinkhorn_case(f"dense {dtype}", dense(83, 70, dtype), reg, method, full=reg == 0.05)
        for layout in ("F", "wide", "step"):
            quick = method in ("auto", "log", "scaling")
            sinkhorn_case(
                f"dense {dtype} {layout}",
                dense(40, 61, dtype, layout),
                0.03,
                method,
                full=not quick,
            )
    for method in ("newton", "log", "scaling"):
        sinkhorn_case(f"few passes {dtype}", dense(50, 45, dtype), 0.01, method, max_iter=3)
        sinkhorn_case(
            f"exact tolerance {dtype}", dense(50, 45, dtype), 0.1, method, tol=0.0, full=True
        )

for method in METHODS[:6]:
    for shape in ((1, 7), (7, 1), (1, 1), (2, 300)):
        sinkhorn_case(
            f"shape {shape}", dense(*shape), 0.1, method, full=method not in ("auto", "log")
        )
    sinkhorn_case("start only", dense(30, 20), 0.1, method, max_iter=0)
    sinkhorn_case("zero weights", dense(60, 50, zeros=True), 0.02, method)
    sinkhorn_case(
        "forbidden", lambda: (weights(60, 1), weights(50, 2), forbid(random(60, 50))), 0.02, method
    )
    sinkhorn_case(
        "forbidden float32",
        lambda: (weights(60, 1), weights(50, 2), forbid(random(60, 50)).astype("f4")),
        0.02,
        method,
        full=True,
    )
    for mass in (1e-9, 7.0, 1e9):
        sinkhorn_case(f"mass {mass:g}", dense(40, 30, mass=mass), 0.02, method, full=mass != 7)
        sinkhorn_case(
            f"mass {mass:g} float32", dense(40, 30, "float32", mass=mass), 0.02, method, full=True
        )
    for scale in (1e-290, 1e-30, 1e30, 1e290):
        sinkhorn_case(
            f"scale {scale:g}",
            lambda s=scale: (None, None, s * random(40, 30)),
            0.02 * scale,
            method,
            full=scale in (1e-30, 1e30),
        )
    sinkhorn_case("huge reg", dense(40, 30), 1e6, method)
    sinkhorn_case("negative costs", lambda: (None, None, random(40, 30) - 5), 0.02, method)
    sinkhorn_case("constant costs", lambda: (None, None, np.full((20, 30), 0.5)), 0.02, method)
    sinkhorn_case(
        "ties",
        lambda: (weights(144, 1), weights(144, 2), grid(12)),
        1 / 1200,
        method,
        full=method == "log",
    )
    for reg in (1e-3, 1e-5):
        sinkhorn_case(
            "clusters",
            lambda: (weights(120, 1), weights(150, 2), clusters(120, 150)),
            reg * 1000,
            method,
            full=reg == 1e-5 or method not in ("newton", "auto"),
            max_iter=3000,
        )

for reg in (1e-1, 1e-2, 1e-4, 1e-6):
    sinkhorn_case("assignment", lambda: (None, None, random(120, 120)), reg, "newton")
    sinkhorn_case("zero weights", dense(90, 140, zeros=True), reg / 2, "newton", full=reg < 1e-3)

sinkhorn_case("hand over", lambda: (None, None, random(400, 400)), 0.5, "newton")
sinkhorn_case("hand over", lambda: (None, None, random(400, 400)), 0.5, "auto")
sinkhorn_case("hand over", lambda: (None, None, random(700, 900)), 0.1, "auto", full=True)


@case("sinkhorn graph factor")
def _(t: Tree) -> Fields:
    rng = np.random.default_rng(5)
    x, y = 2 * rng.random((600, 2)) - 1, 2 * rng.random((607, 2)) - 0.8
    C = ((x[:, None] - y) ** 2).sum(-1)
    r = t.sinkhorn(weights(600, 1), weights(607, 2), C, 1e-6 * C.max(), "newton", tol=3e-11)
    return entropic(t, r, False)


for cost in COSTS:
    for d in (1, 2, 3, 9, 17):
        for dtype in ("float64", "float32"):
            for method in ("auto", "log", "scaling", "newton", "sns"):
                for reg in (0.05, 0.003):

                    def solve(t: Tree, cost: str = cost, d: int = d, dtype: str = dtype,
                              reg: float = reg, method: str = method) -> Fields:  # fmt: skip
                        C = t.cloud(points(53, d, 1, dtype), points(75, d, 2, dtype), cost)
                        r = t.sinkhorn(weights(53, 1), None, C, reg * d, method, max_iter=500)
                        return entropic(t, r) | {"C": C.to_dense()}

                    quick = (method, reg) in (("log", 0.05), ("auto", 0.003))
                    case(
                        f"sinkhorn points {cost} d={d} {dtype} reg={reg} {method}", full=not quick
                    )(solve)

for scale in (1e-140, 1e-20, 1e20, 1e140):

    @case(f"sinkhorn points scale={scale:g}")
    def _(t: Tree, s: float = scale) -> Fields:
        C = t.cloud(s * points(40, 3, 1), s * points(50, 3, 2))
        return entropic(t, t.sinkhorn(None, None, C, 0.01 * s**2))


for method in ("auto", "log", "scaling", "sns", "newton"):

    @case(f"sinkhorn starts {method}")
    def _(t: Tree, method: str = method) -> Fields:
        a, b, C = weights(70, 1), weights(60, 2), random(70, 60)
        first = t.sinkhorn(a, b, C, 0.05, method)
        f, g = (np.asarray(host(v)) for v in first.potentials)
        out = {"first": entropic(t, first, False)}
        starts = {
            "result": first,
            "pair": (f, g),
            "f": (f, None),
            "g": (None, g),
            "far": (f + 9, g * 3),
        }
        for name, init in starts.items():
            r = t.sinkhorn(a, b, C, 0.02, method, init=init)
            out[name] = entropic(t, r, False)
        out["same"] = entropic(t, t.sinkhorn(a, b, C, 0.05, method, init=first), False)
        return out

    @case(f"sinkhorn callback {method}")
    def _(t: Tree, method: str = method) -> Fields:
        lines: list[Fields] = []
        t.sinkhorn(None, None, random(70, 60), 0.01, method, callback=lines.append)
        return {str(k): {n: v for n, v in w.items() if n != "elapsed"} for k, w in enumerate(lines)}


@case("sinkhorn_path")
def _(t: Tree) -> Fields:
    results = t.path(weights(90, 1), None, random(90, 80), [1e-3, 0.1, 1e-2, 1e-4])
    return {str(k): entropic(t, r) for k, r in enumerate(results)}


for cost in COSTS:

    @case(f"entropic_map {cost}")
    def _(t: Tree, cost: str = cost) -> Fields:
        r = t.sinkhorn(
            None, weights(50, 2), t.cloud(points(40, 3, 1), points(50, 3, 2), cost), 0.05
        )
        new, values = points(23, 3, 3), np.random.default_rng(4).random((50, 2))
        call = t.otf.entropic_map
        return {"map": call(r, t.put(new)), "values": call(r, t.put(new), t.put(values)),
                "vector": call(r, t.put(new), t.put(values[:, 0].copy()))}  # fmt: skip


for layout in ("C", "F"):
    for dtype in ("float64", "float32"):
        for reg in (0.3, 0.003):

            @case(f"plan_vjp {layout} {dtype} reg={reg}")
            def _(t: Tree, layout: str = layout, dtype: str = dtype, reg: float = reg) -> Fields:
                C = laid_out(random(60, 45).astype(dtype), layout)
                r = t.sinkhorn(weights(60, 1, zeros=True), weights(45, 2), C, reg)
                G = np.random.default_rng(8).normal(size=(60, 45))
                return dict(zip(("a", "b", "C"), r.plan_vjp(t.put(G)), strict=True))


# Sizes beyond the chunks of vectors, passes and kept entries.
sinkhorn_case("long rows", dense(20_000, 3), 0.05, "auto", plan=False)
sinkhorn_case("long columns", dense(3, 20_000), 0.05, "auto", plan=False)
sinkhorn_case(
    "long columns float32", dense(3, 40_000, "float32"), 0.05, "scaling", plan=False, full=True
)
sinkhorn_case("long columns", dense(5, 20_000), 0.01, "newton", plan=False)
for method in ("log", "scaling", "scaling/float64", "newton", "sns"):
    sinkhorn_case(
        "n over 4096",
        dense(4500, 40),
        0.02,
        method,
        plan=False,
        full=method not in ("newton", "log"),
        max_iter=200,
    )
    sinkhorn_case("m over 4096", dense(40, 4500), 0.02, method, plan=False, full=True, max_iter=200)
    sinkhorn_case(
        "over 2^22 pairs",
        dense(2100, 2050),
        0.1,
        method,
        plan=False,
        full=method not in ("scaling", "log"),
        max_iter=6,
    )
    sinkhorn_case(
        "over 2^22 pairs float32",
        dense(2100, 2050, "float32"),
        0.1,
        method,
        plan=False,
        full=True,
        max_iter=20,
    )
sinkhorn_case(
    "over 16384 kept",
    lambda: (weights(900, 1), weights(800, 2), random(900, 800)),
    3e-3,
    "newton",
    plan=False,
)
sinkhorn_case(
    "over 16384 kept",
    lambda: (weights(2000, 1), weights(2000, 2), random(2000, 2000)),
    2e-3,
    "newton",
    full=True,
    plan=False,
)
sinkhorn_case(
    "over 16384 kept",
    lambda: (weights(900, 1), weights(800, 2), random(900, 800)),
    3e-3,
    "sns/20/0.05",
    plan=False,
    full=True,
)


@case("sinkhorn sparsify over blocks", full=True)
def _(t: Tree) -> Fields:
    return entropic(t, t.sinkhorn(None, None, random(2300, 2000), 0.01))


for n, m, d in (
    (24, 17_000, 17),
    (17_000, 24, 17),
    (2100, 2050, 2),
    (4500, 30, 3),
    (2100, 2050, 17),
):
    for dtype in ("float64", "float32"):

        @case(f"sinkhorn points {n} x {m} d={d} {dtype}", full=n * m > 2**22 or dtype == "float32")
        def _(t: Tree, n: int = n, m: int = m, d: int = d, dtype: str = dtype) -> Fields:
            C = t.cloud(points(n, d, 1, dtype), points(m, d, 2, dtype))
            return entropic(t, t.sinkhorn(None, None, C, 0.05 * d, max_iter=30), False)


# ---- sparse plans ------------------------------------------------------------------------------


def quadratic_case(
    name: str, problem: Callable[[], Any], reg: float, *, full: bool = False, **o: Any
) -> None:
    @case(f"quadratic {name} reg={reg:g}", full=full)
    def _(t: Tree) -> Fields:
        return sparse(t.quadratic(*problem(), reg, **o))


for dtype in ("float64", "float32"):
    for reg in (1e3, 10.0, 0.1, 1e-3, 1e-7):
        for n, m in ((60, 47), (47, 60)):
            quadratic_case(f"dense {n} x {m} {dtype}", dense(n, m, dtype), reg)
    for layout in ("F", "wide", "step"):
        quadratic_case(f"dense {dtype} {layout}", dense(40, 61, dtype, layout), 0.3)
for reg in (1.0, 1e-2, 1e-6):
    quadratic_case("ties", lambda: (weights(100, 1), weights(100, 2), grid(10)), reg)
    quadratic_case("uniform ties", lambda: (None, None, grid(10)), reg)
    quadratic_case("zero weights", dense(60, 50, zeros=True), reg)
    quadratic_case(
        "forbidden", lambda: (weights(60, 1), weights(50, 2), forbid(random(60, 50))), reg
    )
    quadratic_case(
        "clusters", lambda: (weights(90, 1), weights(70, 2), clusters(90, 70)), reg * 100
    )
    quadratic_case("few passes", dense(50, 40), reg, max_iter=2)
    quadratic_case("constant costs", lambda: (None, weights(30, 2), np.full((20, 30), 0.5)), reg)
for mass in (1e-9, 7.0, 1e9):
    quadratic_case(f"mass {mass:g}", dense(40, 30, mass=mass), 0.1 / mass)
for scale in (1e-290, 1e-30, 1e30, 1e290):
    quadratic_case("scale", lambda s=scale: (None, weights(30, 2), s * random(40, 30)), 0.1 * scale)
for shape in ((1, 7), (7, 1), (1, 1), (2, 300), (3, 20_000), (20_000, 3)):
    quadratic_case(f"shape {shape}", dense(*shape), 0.1)
quadratic_case("n over 4096", dense(4500, 40), 0.1, full=True)
quadratic_case("over 16384 kept", dense(500, 480), 3e3)
quadratic_case("over 16384 kept", dense(500, 480), 3e4)
quadratic_case("over 80000 kept", dense(1500, 1400), 3e3, full=True)
quadratic_case("nearly all pairs kept", dense(1500, 1400), 3e5, full=True)
quadratic_case("over 2^22 pairs", dense(2100, 2050), 1.0, full=True)
quadratic_case("over 2^22 pairs float32", dense(2100, 2050, "float32"), 1.0, full=True)
quadratic_case("over 2^24 pairs", dense(4200, 4100), 1.0, full=True)

for cost in COSTS:
    for d in (1, 2, 3, 9, 17):
        for dtype in ("float64", "float32"):

            @case(f"quadratic points {cost} d={d} {dtype}", full=d in (3, 17))
            def _(t: Tree, cost: str = cost, d: int = d, dtype: str = dtype) -> Fields:
                C = t.cloud(points(53, d, 1, dtype), points(75, d, 2, dtype), cost)
                return sparse(t.quadratic(weights(53, 1), None, C, 1.0))


@case("quadratic starts")
def _(t: Tree) -> Fields:
    a, b, C = weights(70, 1), weights(60, 2), random(70, 60)
    first = t.quadratic(a, b, C, 0.1)
    f, g = (np.asarray(host(v)) for v in first.potentials)
    out = {"first": sparse(first)}
    for name, init in {
        "result": first,
        "pair": (f, g),
        "entropic": t.sinkhorn(a, b, C, 0.01),
    }.items():
        out[name] = sparse(t.quadratic(a, b, C, 0.03, init=init))
        out[f"{name} k=2"] = sparse(t.constrained(a, b, C, 0.03, 3, init=init))
    return out


@case("quadratic callback")
def _(t: Tree) -> Fields:
    lines: list[Fields] = []
    t.quadratic(None, None, random(70, 60), 0.1, callback=lines.append)
    t.constrained(None, None, random(70, 60), 0.1, 2, callback=lines.append)
    return {str(k): {n: v for n, v in w.items() if n != "elapsed"} for k, w in enumerate(lines)}


def constrained_case(
    name: str, problem: Callable[[], Any], reg: float, k: int, *, full: bool = False, **o: Any
) -> None:
    text = " ".join(f"{n}={v}" for n, v in o.items())

    @case(f"sparsity_constrained {name} reg={reg:g} k={k} {text}", full=full)
    def _(t: Tree) -> Fields:
        return sparse(t.constrained(*problem(), reg, k, **o))


for k in (1, 2, 4):
    for axis in (0, 1):
        for formulation in ("dual", "semi_dual"):
            o: Fields = {"axis": axis, "formulation": formulation}
            quick = formulation == "semi_dual"
            for dtype in ("float64", "float32"):
                constrained_case(
                    f"uniform {dtype}",
                    lambda d=dtype: (None, None, random(64, 64).astype(d)),
                    1.0,
                    k,
                    full=not quick and k > 1,
                    **o,
                )
            constrained_case(
                "uniform F",
                lambda: (None, None, laid_out(random(64, 64), "F")),
                0.1,
                k,
                full=not quick,
                **o,
            )
            if k > 1:
                constrained_case("weights", dense(40, 44), 0.1, k, full=not quick, **o)
                constrained_case("small reg", dense(40, 44), 1e-6, k, full=not quick, **o)
                constrained_case("ties", lambda: (None, None, grid(8)), 0.1, k, full=not quick, **o)
                constrained_case(
                    "zero weights", dense(50, 48, zeros=True), 0.3, k + 1, full=not quick, **o
                )
                constrained_case(
                    "forbidden",
                    lambda: (None, None, forbid(random(50, 50))),
                    0.3,
                    k,
                    full=not quick,
                    **o,
                )
                constrained_case(
                    "points",
                    lambda: (
                        weights(60, 1),
                        weights(60, 3),
                        ((points(60, 2, 1)[:, None] - points(60, 2, 2)) ** 2).sum(-1),
                    ),
                    0.3,
                    k,
                    full=not quick,
                    **o,
                )
            wide = (300, 12) if axis else (12, 300)
            constrained_case(
                "routing", lambda w=wide: (None, None, random(*w)), 0.1, k, full=not quick, **o
            )
            wide = (2048, 24) if axis else (24, 2048)
            constrained_case(
                "large routing",
                lambda w=wide: (None, None, random(*w)),
                1.0,
                k,
                full=not quick or k > 2,
                **o,
            )
            constrained_case(
                "mass 7",
                lambda: (np.full(48, 7 / 48), np.full(48, 7 / 48), random(48, 48)),
                0.1,
                k,
                full=not quick,
                **o,
            )
            for scale in (1e-290, 1e290):
                constrained_case(
                    "scale",
                    lambda s=scale: (None, None, s * random(32, 32)),
                    0.1 * scale,
                    k,
                    full=True,
                    **o,
                )
constrained_case(
    "columns of many", lambda: (weights(600, 1), weights(40, 2), random(600, 40)), 0.1, 64
)
constrained_case("few passes", dense(40, 44), 0.1, 3, max_iter=5)
constrained_case("large", lambda: (None, None, random(400, 400)), 1.0, 2)
constrained_case("large weights", dense(300, 320), 1.0, 3, full=True)
constrained_case("long rows", lambda: (None, None, random(20_000, 4)), 0.1, 2, axis=1, full=True)


# ---- losses on clouds --------------------------------------------------------------------------

for cost in COSTS:
    for d in (1, 2, 3, 9, 17):
        for dtype in ("float64", "float32"):
            for rho in (None, 0.7):

                @case(f"sinkhorn_divergence {cost} d={d} {dtype} rho={rho}", full=d in (1, 3, 17))
                def _(
                    t: Tree, cost: str = cost, d: int = d, dtype: str = dtype, rho: Any = rho
                ) -> Fields:
                    x, y = points(50, d, 1, dtype), points(64, d, 2, dtype)
                    a, b = (
                        (weights(50, 1), weights(64, 2))
                        if rho is None
                        else (weights(50, 1, mass=1.3), weights(64, 2, zeros=True))
                    )
                    o = {"unbalanced": rho, "reg": 0.05 * d}
                    r = t.divergence(x, y, a, b, cost, **o)
                    again = t.divergence(x, y * dtype_of(x, 1.01), a, b, cost, init=r, **o)
                    return {"first": loss(r), "again": loss(again)}

            for debias in (False, True):

                @case(f"monge_gap {cost} d={d} {dtype} debias={debias}", full=d in (1, 3, 17))
                def _(
                    t: Tree, cost: str = cost, d: int = d, dtype: str = dtype, debias: bool = debias
                ) -> Fields:
                    x, y = points(50, d, 1, dtype), points(50, d, 2, dtype)
                    r = t.gap(x, y, cost, debias=debias)
                    again = t.gap(
                        x, y * dtype_of(x, 1.01), cost, reg=0.1 * d, debias=debias, init=r
                    )
                    return {"first": loss(r), "again": loss(again)}


def dtype_of(like: Any, value: float) -> Any:
    return like.dtype.type(value)


for rho in (None, 1.0):
    for mass in (1.0, 7.0):

        @case(f"sinkhorn_divergence mass={mass} rho={rho}")
        def _(t: Tree, rho: Any = rho, mass: float = mass) -> Fields:
            a, b = weights(60, 1, zeros=True, mass=mass), weights(70, 2, mass=mass)
            return loss(
                t.divergence(
                    points(60, 2, 1),
                    points(70, 2, 2),
                    a,
                    b,
                    "sqeuclidean",
                    reg=0.01,
                    unbalanced=rho,
                    tol=1e-9,
                )
            )


for n, full in ((700, False), (2100, True), (4300, True), (17_000, True)):
    for d in (2, 17):

        @case(f"sinkhorn_divergence n={n} d={d}", full=full)
        def _(t: Tree, n: int = n, d: int = d) -> Fields:
            x, y = points(n, d, 1), points(n if n < 17_000 else 30, d, 2)
            return loss(t.divergence(x, y, None, None, "sqeuclidean", reg=0.1 * d, max_iter=20))

        @case(f"monge_gap n={n} d={d}", full=full)
        def _(t: Tree, n: int = n, d: int = d) -> Fields:
            k = min(n, 5000)
            return loss(
                t.gap(points(k, d, 1), points(k, d, 2), "sqeuclidean", max_iter=20, debias=k < 3000)
            )


for scale in (1e-140, 1e-20, 1e20, 1e140):

    @case(f"losses scale={scale:g}")
    def _(t: Tree, s: float = scale) -> Fields:
        x, y, reg = s * points(30, 2, 1), s * points(30, 2, 2), 0.1 * s**2
        return {"gap": loss(t.gap(x, y, "sqeuclidean", reg=reg, debias=True)),
                "W": loss(t.divergence(x, y, None, None, "sqeuclidean", reg=reg))}  # fmt: skip


for rho in (None, 1.0):

    @case(f"WarmStart rho={rho}")
    def _(t: Tree, rho: Any = rho) -> Fields:
        out: Fields = {}
        warm = t.otf.WarmStart()
        for step in range(12):
            batch = step // 4
            x, y = points(90, 2, batch), (1 + 0.01 * step) * points(90, 2, 9)
            if step % 4 == 3:
                x = x[:80]
            r = t.divergence(x, y, None, None, "sqeuclidean", reg=0.05, init=warm, unbalanced=rho)
            out[f"divergence {step}"] = loss(r)
            if rho is None:
                y = y[: len(x)]
                r = t.gap(x, y, "sqeuclidean", reg=0.05, debias=step > 5, init=warm)
                out[f"gap {step}"] = loss(r)
        return out | attributes(warm, "solves passes saved")


# ---- one process: one tree, one level, one number of threads -----------------------------------


def chosen(full: bool, pattern: str, emulated: bool) -> list[str]:
    match = re.compile(pattern).search
    return [
        k for k, (_, f, d) in CASES.items() if (full or not f) and (d or not emulated) and match(k)
    ]


def work(args: argparse.Namespace) -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    emulated = args.work == 0
    tree = Tree(args.work, emulated)
    out = {}
    for name in chosen(args.full, args.pattern, emulated):
        start = time.perf_counter()
        try:
            fields = flat(CASES[name][0](tree))
        except Exception as error:
            fields = {"raised": f"{type(error).__name__}"}
            if os.environ.get("GOLDEN_TRACE"):
                raise
            fields["(message)"] = str(error)
        out[name] = fields, time.perf_counter() - start
    with open(args.out, "wb") as file:
        pickle.dump(out, file)


def solved(root: Path, level: str, threads: int, args: argparse.Namespace, keep: bool) -> Any:
    """Results of a tree: {case: (fields, seconds)}; threads = 0 is the emulated device."""
    script = Path(__file__).resolve()
    folder = Path(tempfile.gettempdir()) / "ot_fast_golden"
    folder.mkdir(exist_ok=True)
    state = hashlib.sha256(script.read_bytes())
    for path in sorted((root / "ot_fast").rglob("*")):
        if path.suffix in (".py", ".so"):
            state.update(path.read_bytes())

    def file(pattern: str) -> Path:
        key = f"{state.hexdigest()} {level} {threads} {args.full} {pattern}"
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.pickle"

    for pattern in ("", args.pattern):
        if keep and file(pattern).exists():
            found = pickle.loads(file(pattern).read_bytes())
            return {k: v for k, v in found.items() if re.search(args.pattern, k)}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "out.pickle"
        paths = [str(root)]
        if threads == 0:
            tests = root / "tests"
            if not (tests / "emulated.py").exists():
                tests = Path(temporary)
                show = ["git", "-C", str(HERE), "show", OLD_TESTS]
                text = subprocess.run(show, check=True, capture_output=True).stdout
                (tests / "emulated.py").write_bytes(text)
            paths.append(str(tests))
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OT_FAST_ISA": level,
            "OT_FAST_NUM_THREADS": str(threads or 2),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(script), "--work", str(threads), "--out", str(out)]
        command += ["-k", args.pattern, *(["--full"] if args.full else [])]
        subprocess.run(command, check=True, env=environment, cwd=temporary)
        found = pickle.loads(out.read_bytes())
        if keep:
            part = file(args.pattern).with_suffix(f".{os.getpid()}")
            part.write_bytes(out.read_bytes())
            part.replace(file(args.pattern))
    return found


# ---- comparison --------------------------------------------------------------------------------


def difference(old: Any, new: Any) -> str:
    """How two values differ; empty if they are the same bytes."""
    if type(old) is not type(new):
        return f"{type(old).__name__} became {type(new).__name__}"
    if not isinstance(old, np.ndarray):
        return "" if old == new else f"{old!r} became {new!r}"
    if old.dtype != new.dtype or old.shape != new.shape:
        return f"{old.dtype}{list(old.shape)} became {new.dtype}{list(new.shape)}"
    if old.tobytes() == new.tobytes():
        return ""
    u, v = old.ravel(), new.ravel()
    unequal = np.frombuffer(u.tobytes(), f"V{u.itemsize}") != np.frombuffer(
        v.tobytes(), f"V{v.itemsize}"
    )
    at = np.flatnonzero(unequal)
    text = f"[{at[0]}] {u[at[0]]!r} became {v[at[0]]!r} ({len(at)} of {u.size} differ"
    if u.dtype.kind == "f":
        ordered = []
        for w in (u, v):
            bits = w[at].view(f"i{w.itemsize}").astype(object)
            ordered.append(np.where(bits < 0, -(2 ** (8 * w.itemsize - 1)) - bits, bits))
        gap = np.abs(u[at].astype(float) - v[at].astype(float))
        text += f", up to {max(abs(ordered[0] - ordered[1]))} ulp, {np.nanmax(gap):.3g}"
    return text + ")"


def compare(old: Any, new: Any, where: str) -> int:
    """Print the mismatches of two runs, and their number."""
    bad = 0
    accepted = dict.fromkeys(ACCEPTED, 0)
    for name, (fields, _) in old.items():
        got = new[name][0]
        lines = [f"{k}: absent, was {type(v).__name__}" for k, v in fields.items() if k not in got]
        if "raised" in got and "raised" not in fields:
            lines = [f"raised {got['raised']}: {got['(message)']}"]
        for key, value in fields.items():
            if key in got and key != "(message)" and (text := difference(value, got[key])):
                lines.append(f"{key}: {text}")
        for pattern in ACCEPTED:
            meant = [line for line in lines if re.search(pattern, f"{name}: {line}")]
            accepted[pattern] += bool(meant)
            lines = [line for line in lines if line not in meant]
        for line in lines[:6]:
            print(f"MISMATCH {where}: {name}: {line}")
        if len(lines) > 6:
            print(f"MISMATCH {where}: {name}: and {len(lines) - 6} more fields")
        bad += bool(lines)
    for pattern, count in accepted.items():
        if count:
            print(f"accepted {where}: {count} cases: {ACCEPTED[pattern]}")
    return bad


def information(root: Path) -> Any:
    code = "import ot_fast, importlib.util as u; i = ot_fast.info(); print(ot_fast.__file__); " \
           "print(i['isa']); print(u.find_spec('ot_fast._cuda_emulated') is not None)"  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(root), "OT_FAST_ISA": ""}
    with tempfile.TemporaryDirectory() as cwd:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True
        )
    if done.returncode:
        sys.exit(f"ot_fast does not import from {root}:\n{done.stderr}")
    path, level, emulated = done.stdout.split("\n")[:3]
    if root.resolve() not in Path(path).resolve().parents:
        sys.exit(f"ot_fast imports from {path}, not from {root}")
    return level, emulated == "True"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", type=Path, help="folder from which the base's ot_fast imports")
    parser.add_argument("--new", type=Path, default=HERE, help="the same of the other tree")
    parser.add_argument("--full", action="store_true", help="all cases, levels and threads")
    parser.add_argument("--quick", action="store_true", help="one level, 1 and 2 threads (default)")
    parser.add_argument("-k", dest="pattern", default="", help="regular expression of case names")
    parser.add_argument("--levels", help="comma-separated, of baseline, v3, v4")
    parser.add_argument("--threads", help="comma-separated; 0 is the emulated device")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--slow", type=int, default=0, help="print the N slowest cases")
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        work(args)
        return 0
    if args.list:
        print("\n".join(chosen(args.full, args.pattern, False)))
        return 0
    if not chosen(args.full, args.pattern, False):
        sys.exit(f"no case matches {args.pattern!r}")
    if args.base is None:
        parser.error("--base DIR is required")
    (top, old_device), (_, new_device) = information(args.base), information(args.new)
    usable = LEVELS[: LEVELS.index(top) + 1]
    levels = args.levels.split(",") if args.levels else usable if args.full else [usable[-1]]
    counts = [int(k) for k in (args.threads or ("0,1,2,3" if args.full else "0,1,2")).split(",")]
    if 0 in counts and not (old_device and new_device):
        print("NOT COMPARED: the emulated device (OT_FAST_EMULATOR=ON builds it)")
        counts.remove(0)
    bad = runs = 0
    start = time.perf_counter()
    for level in levels:
        for threads in counts:
            if threads == 0 and level != levels[-1]:
                continue  # its kernels have one level
            old = solved(args.base, level, min(threads, 1), args, True)
            new = solved(args.new, level, threads, args, False)
            where = f"{level}, {threads} threads" if threads else "emulated device"
            bad += compare(old, new, where)
            runs += len(old)
            took = sum(v[1] for v in new.values())
            print(f"{where}: {len(old)} cases, {took:.1f} s", flush=True)
            for name, (fields, _) in old.items():
                if "raised" in fields:
                    print(f"  base raised {fields['raised']}: {name}: {fields['(message)']}")
            for name in sorted(new, key=lambda k: -new[k][1])[: args.slow]:
                print(f"  {new[name][1]:.2f} s  {name}")
    print(f"{runs - bad} of {runs} the same to the last bit ({time.perf_counter() - start:.0f} s)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
