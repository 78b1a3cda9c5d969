"""Draws a problem from a seed: sizes, weights, costs, their layout, reg, and who solves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

# Who solves it, how often, and with at most how many costs: a solve is to take seconds at most.
SOLVERS = {
    "sinkhorn auto": (20, 2_000_000),
    "sinkhorn newton": (10, 1_000_000),
    "sinkhorn scaling": (5, 200_000),
    "sinkhorn scaling float64": (5, 200_000),
    "sinkhorn log": (5, 40_000),
    "sinkhorn sns": (4, 40_000),
    "sinkhorn_path": (4, 200_000),
    "quadratic": (10, 400_000),
    "sparsity_constrained columns": (5, 40_000),
    "sparsity_constrained rows": (5, 40_000),
    "sinkhorn_divergence": (8, 400_000),
    "sinkhorn_divergence unbalanced": (5, 100_000),
    "monge_gap": (5, 400_000),
    "entropic_cost": (4, 400_000),
}
LOSSES = ("sinkhorn_divergence", "sinkhorn_divergence unbalanced", "monge_gap", "entropic_cost")
# Of matrices, and of clouds; the number is how often.
MATRICES = {
    "uniform": 4, "ties": 2, "integer": 2, "constant": 1, "low rank": 2, "negative": 2,
    "sentinel 1e6": 2, "sentinel 1e32": 2, "forbidden": 3, "forbidden band": 2, "infeasible": 1,
    "outlier row": 2, "blocks": 2, "heavy tail": 2, "tiny unit": 1,
}  # fmt: skip
CLOUDS = {
    "normal": 6, "grid": 3, "ties": 2, "outlier": 3, "clusters": 3, "same points": 2, "far": 2,
}  # fmt: skip
WEIGHTS = ("none", "uniform", "dirichlet 1", "dirichlet .01", "zeros", "integers")
POWERS = (0.5, 1.0, 1.5, 3.0, 6.0, 10.0, 15.0)
DIMENSIONS = (1, 2, 3, 5, 8, 20, 64, 160)
NEGLIGIBLE = 1e-18  # of the mass: a weight below it counts as 0
LONGEST = 200_000  # side of a problem
LONGEST_OWN = 1000  # and of a cloud against itself


@dataclass
class Case:
    """A problem and the call that solves it; `C` is what the costs are, in float64."""

    seed: int
    solver: str
    kind: str  # of costs
    weighting: str
    C: np.ndarray
    a: np.ndarray | None
    b: np.ndarray | None
    reg: float
    matrix: np.ndarray | None = None  # given to the solver, where the costs are not of clouds
    points: tuple[np.ndarray, np.ndarray] | None = None
    cost: str = "sqeuclidean"
    p: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    layout: str = "rows"

    @property
    def single(self) -> bool:
        given = (self.matrix,) if self.points is None else self.points
        return all(v.dtype == np.float32 for v in given)

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Both weights in float64, b at the mass of a where it is fixed; negligible ones count as
        0, as documented.
        """
        n, m = self.C.shape
        a, b = (None if w is None else w.astype(np.float64) for w in (self.a, self.b))
        for w in (a, b):
            if w is not None:
                w[w < NEGLIGIBLE * w.sum()] = 0
        mass = next((float(w.sum()) for w in (a, b) if w is not None), 1.0)
        if self.solver in LOSSES and "unbalanced" in self.solver:
            return tuple(np.full(k, 1 / k) if w is None else w for w, k in ((a, n), (b, m)))
        a = np.full(n, mass / n) if a is None else a
        b = np.full(m, mass / m) if b is None else b
        return a, b * (a.sum() / b.sum())

    @property
    def largest(self) -> float:
        """The largest difference of finite costs; of clouds, from 0."""
        finite = self.C[np.isfinite(self.C)]
        low = 0.0 if self.points is not None else finite.min(initial=np.inf)
        return float(finite.max() - low) if finite.size else 0.0

    @property
    def relative_reg(self) -> float:
        """reg over the largest cost; that of reg/2 |P|^2 at the mass of the plan."""
        sparse = self.solver.startswith(("quadratic", "sparsity"))
        scale = float(self.weights[0].sum()) if sparse else 1.0
        return self.reg * scale / self.largest if self.largest else np.inf

    @property
    def has_plan(self) -> bool:
        """Whether a plan is known to exist, the forbidden pairs aside. With few entries a line the
        question is hard: equal weights have the plan of the north-west corner rule.
        """
        if not self.solver.startswith("sparsity"):
            return True
        n, m = self.C.shape[:: -1 if self.solver.endswith("rows") else 1]
        enough = n // m if n % m == 0 else n // m + 2
        even = self.weighting.startswith(("none", "uniform"))
        return even and self.options["max_nz"] >= enough and bool(np.isfinite(self.C).all())

    def inputs(self) -> list[np.ndarray]:
        """Every array that is given to the solver."""
        start = self.options.get("init")
        arrays = [self.a, self.b, self.matrix, *(self.points or ())]
        arrays += list(start) if isinstance(start, tuple) else []
        return [v for v in arrays if v is not None]

    def __str__(self) -> str:
        n, m = self.C.shape
        dtype = "float32" if self.single else "float64"
        where = (
            self.layout if self.points is None else f"d = {self.points[0].shape[1]}, {self.cost}"
        )
        if self.p is not None:
            where += f", p = {self.p:g}"
        given = {k: v for k, v in self.options.items() if k != "init"}
        if "init" in self.options:
            given["init"] = "pair" if isinstance(self.options["init"], tuple) else "result"
        return (
            f"case {self.seed}: {self.solver}, {n} x {m} {dtype} {self.kind} ({where}), "
            f"weights {self.weighting}, reg = {self.reg:.4g} ({self.relative_reg:.1e} of the range)"
            + (f", {given}" if given else "")
        )


def draw(seed: int) -> Case:
    """The problem of a seed."""
    rng = np.random.default_rng(seed)
    solver = _pick(rng, {name: often for name, (often, _) in SOLVERS.items()})
    n, m = _shape(rng, SOLVERS[solver][1])
    if solver == "monge_gap":
        n = m = min(n, m, 400) if min(n, m) > 1 else min(max(n, m), 400)
    if solver.startswith("sinkhorn_divergence"):  # whose own terms are n x n and m x m
        n, m = min(n, LONGEST_OWN), min(m, LONGEST_OWN)
    weighting, a, b = _weights(rng, n, m)
    if solver == "monge_gap":
        weighting, a, b = "none", None, None
    dtype = np.float32 if rng.random() < 0.25 else np.float64
    cost, p, points, matrix, layout = "sqeuclidean", None, None, None, "rows"
    if solver in LOSSES or rng.random() < 0.45:
        kind = "cloud " + (name := _pick(rng, CLOUDS))
        points = _points(rng, name, n, m, dtype)
        cost, p = _ground_cost(rng)
        C = pairwise(*points, cost, p)
        stored = solver not in LOSSES and rng.random() < 0.3
        if stored and C.max() < np.finfo(dtype).max:  # the same costs, as a matrix
            matrix, layout = _laid_out(rng, C.astype(dtype))
            points, C = None, matrix.astype(np.float64)
    else:
        kind = _pick(rng, MATRICES)
        matrix = _matrix(rng, kind, n, m)
        if kind.startswith("forbidden"):  # a plan exists
            i, j = _staircase(a, b, n, m)
            matrix[i, j] = rng.random(len(i))
        matrix, layout = _laid_out(rng, matrix.astype(dtype))
        C = matrix.astype(np.float64)
    case = Case(
        seed, solver, kind, weighting, C, a, b, _reg(rng, C), matrix, points, cost, p, layout=layout
    )
    if solver in ("quadratic", *(s for s in SOLVERS if s.startswith("sparsity"))):
        case.reg *= len(C) / float(case.weights[0].sum())  # of the order of <C,P>, or less
    if solver.startswith("sparsity"):
        length = m if solver.endswith("rows") else n
        case.options["max_nz"] = int(rng.integers(1, min(length, 8) + 1))
        if rng.random() < 0.5:
            case.options["formulation"] = "dual"
    if solver.endswith("unbalanced"):
        case.options["unbalanced"] = float(case.reg * 10 ** rng.uniform(-1, 3))
        if rng.random() < 0.5 and case.a is not None:
            case.a = (case.a * rng.uniform(0.3, 3)).astype(case.a.dtype)
    if solver == "monge_gap" and rng.random() < 0.5:
        case.options["debias"] = True
    _draw_start(rng, case)
    return case


def _pick(rng: np.random.Generator, often: dict[str, int]) -> str:
    weight = np.array(list(often.values()), float)
    return str(rng.choice(list(often), p=weight / weight.sum()))


def _shape(rng: np.random.Generator, most: int) -> tuple[int, int]:
    kind = rng.choice(
        ["line", "tiny", "small", "medium", "large", "long"], p=[0.05, 0.2, 0.3, 0.25, 0.08, 0.12]
    )
    if kind == "line":
        n, m = 1, int(10 ** rng.uniform(0, 5))
    elif kind == "long":
        n = int(rng.integers(2, 13))
        m = int(10 ** rng.uniform(2, np.log10(min(LONGEST, most // n, 600_000 // n))))
        m = LONGEST if n <= 3 and most >= 600_000 and rng.random() < 0.15 else m
    else:
        low, high = {"tiny": (1, 8), "small": (5, 60), "medium": (50, 400), "large": (400, 1400)}[
            kind
        ]
        high = min(high, int(most**0.5))
        n, m = (int(k) for k in rng.integers(min(low, high), high + 1, 2))
        m = n if rng.random() < 0.25 else m
    return (n, m) if rng.random() < 0.5 else (m, n)


def _weights(rng: np.random.Generator, n: int, m: int) -> tuple[str, Any, Any]:
    kind = str(rng.choice(WEIGHTS))
    if kind == "none":
        return kind, None, None
    if kind == "integers":
        total = 20 * (n + m)
        a, b = (rng.multinomial(total, rng.dirichlet(np.ones(k))) for k in (n, m))
        return kind, a, b

    def one(k: int) -> np.ndarray:
        if kind == "uniform":
            return np.full(k, 1 / k)
        w = rng.dirichlet(np.full(k, 0.01 if kind == "dirichlet .01" else 1.0))
        if kind == "zeros":
            w[rng.random(k) < 0.7] = 0
        return w / w.sum() if w.sum() > 0 else np.eye(k)[0]

    a, b = one(n), one(m)
    if rng.random() < 0.3:
        mass = 10 ** rng.uniform(-9, 9)
        a, b, kind = a * mass, b * mass, f"{kind}, mass {mass:.0e}"
    if rng.random() < 0.15:
        a, b, kind = a.astype(np.float32), b.astype(np.float32), f"{kind}, float32"
    if rng.random() < 0.1 and kind == "uniform":
        a = None  # of the mass of b, which is 1
    return kind, a, b


def _matrix(rng: np.random.Generator, kind: str, n: int, m: int) -> np.ndarray:
    C = rng.random((n, m))
    if kind == "ties":
        C = rng.integers(0, 4, (n, m)).astype(float)
    elif kind == "integer":
        C = rng.integers(0, 101, (n, m)).astype(float)
    elif kind == "constant":
        C = np.full((n, m), rng.choice([0.0, 1.0, -2.5, 1e6]))
    elif kind == "low rank":
        C = rng.normal(size=(n, 2)) @ rng.normal(size=(2, m))
    elif kind == "negative":
        C = rng.normal(-5, 2, (n, m))
    elif kind.startswith("sentinel"):
        share = rng.choice([0.001, 0.1, 0.7])
        C[rng.random((n, m)) < share] = float(kind.split()[1])
    elif kind == "forbidden":
        C[rng.random((n, m)) < rng.choice([0.1, 0.6, 0.95])] = np.inf
    elif kind == "forbidden band":
        i, j = (np.arange(n) + 0.5) / n, (np.arange(m) + 0.5) / m
        C[abs(i[:, None] - j) > rng.uniform(0.1, 0.8)] = np.inf
    elif kind == "infeasible" and min(n, m) > 1:  # more rows than columns can serve, in general
        C[: n // 2 + 1, m // 2 :] = np.inf
    elif kind == "outlier row":
        C[rng.integers(n)] *= 1e4
        C[:, rng.integers(m)] *= 1e3
    elif kind == "blocks":
        i, j = rng.integers(0, 3, n), rng.integers(0, 3, m)
        C = 0.05 * C + (i[:, None] != j)
    elif kind == "heavy tail":
        C = rng.lognormal(0, 3, (n, m))
    elif kind == "tiny unit":
        C *= 1e-12
    return C


def _staircase(a: Any, b: Any, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of the plan of the north-west corner rule, and those beside it."""
    ends = [np.cumsum(np.ones(k) / k if w is None else w / w.sum()) for w, k in ((a, n), (b, m))]
    cuts = np.sort(np.concatenate([[0.0], *ends]))
    middle = (cuts[1:] + cuts[:-1]) / 2
    i, j = (np.searchsorted(end, np.concatenate([cuts, middle, cuts])) for end in ends)
    return np.minimum(i, n - 1), np.minimum(j, m - 1)


def _laid_out(rng: np.random.Generator, C: np.ndarray) -> tuple[np.ndarray, str]:
    layout = str(rng.choice(["rows", "columns", "strided", "reversed"], p=[0.5, 0.25, 0.15, 0.1]))
    if layout == "columns":
        C = np.asfortranarray(C)
    elif layout == "strided":
        wide = np.zeros((2 * C.shape[0], 2 * C.shape[1]), C.dtype)
        wide[::2, ::2] = C
        C = wide[::2, ::2]
    elif layout == "reversed":
        C = np.ascontiguousarray(C[::-1, ::-1])[::-1, ::-1]
    return C, layout


def _points(
    rng: np.random.Generator, kind: str, n: int, m: int, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    d = int(rng.choice(DIMENSIONS))
    while d > 1 and n * m * d > 20_000_000:
        d //= 2
    x, y = rng.normal(size=(n, d)), 0.5 + rng.uniform(0.3, 2) * rng.normal(size=(m, d))
    if kind == "grid":
        x, y = (np.stack([(np.arange(k) * s) % 16 for s in range(1, d + 1)], 1) for k in (n, m))
    elif kind == "ties":
        x, y = np.round(x), np.round(y)
    elif kind == "outlier":
        x[rng.integers(n)] *= 10 ** rng.uniform(1, 4)
        if rng.random() < 0.5:
            y[rng.integers(m)] *= 10 ** rng.uniform(1, 4)
    elif kind == "clusters":
        centres = 20 * rng.normal(size=(4, d))
        x += centres[rng.integers(4, size=n)]
        y += centres[rng.integers(4, size=m)]
    elif kind == "same points" and n >= m:
        y = x[rng.permutation(n)[:m]].copy()
    elif kind == "same points":
        x = y[rng.permutation(m)[:n]].copy()
    elif kind == "far":
        y = y + 10 ** rng.uniform(1, 3)
    x, y = (np.where((v == 0).all(1, keepdims=True), 1.0, v) for v in (x, y))  # for the cosine
    return x.astype(dtype), y.astype(dtype)


def _ground_cost(rng: np.random.Generator) -> tuple[str, float | None]:
    name = str(
        rng.choice(
            ["sqeuclidean", "euclidean", "cityblock", "cosine", "power"],
            p=[0.4, 0.15, 0.1, 0.1, 0.25],
        )
    )
    return name, float(rng.choice(POWERS)) if name == "power" else None


def pairwise(x: np.ndarray, y: np.ndarray, cost: str, p: float | None) -> np.ndarray:
    """The costs of clouds, in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return cdist(x, y) ** p if cost == "power" else cdist(x, y, cost)


def _reg(rng: np.random.Generator, C: np.ndarray) -> float:
    """1e-7 to 10 of the largest cost, or of the median one."""
    above = C[np.isfinite(C)]
    above = above - above.min() if above.size else above
    above = above[above > 0]
    if not above.size:
        return float(10 ** rng.uniform(-7, 1))
    unit = above.max() if rng.random() < 0.6 else np.median(above)
    return float(unit * 10 ** rng.uniform(-7, 1))


def _draw_start(rng: np.random.Generator, case: Case) -> None:
    """Now and then a pair of potentials, or (for solvers that take it) a result of another reg."""
    if case.solver in LOSSES or case.solver == "sinkhorn_path" or rng.random() > 0.15:
        return
    n, m = case.C.shape
    if rng.random() < 0.5:
        case.options["init"] = "result"
    else:
        scale = min(case.largest, 1e6)
        case.options["init"] = scale * rng.normal(size=n), scale * rng.normal(size=m)
