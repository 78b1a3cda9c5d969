"""The one list of benchmark problems.

Every cost is scaled so that its maximum is 1 (except ``assignment``, uniform in [0, 1]), and every
weight vector sums to 1, so that ``reg`` and ``tol`` mean the same thing in every case. ``routing``
is that of its example: a token has mass 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
Build = Callable[[], "Case"]


@dataclass(frozen=True, eq=False)
class Case:
    """One problem: a dense cost ``C``, or clouds ``x`` and ``y`` with squared Euclidean cost."""

    name: str
    a: Array
    b: Array
    reg: float
    C: Array | None = None
    x: Array | None = None
    y: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.a.size, self.b.size

    @property
    def nbytes(self) -> int:
        """Bytes of the dense cost in the case's precision, stored or not."""
        return self.a.itemsize * self.a.size * self.b.size


def uniform(n: int) -> Array:
    return np.full(n, 1.0 / n)


def _extreme(x: Array) -> Array:
    """Points among which the one farthest from any other point must lie."""
    if x.shape[1] <= 3 and len(x) > 100:
        try:
            return x[ConvexHull(x).vertices]
        except QhullError:  # flat clouds have no hull of full dimension
            pass
    return x


def max_sqeuclidean(x: Array, y: Array, rows: int = 1024) -> float:
    """Largest squared distance, without the n x m matrix."""
    x, y = _extreme(x), _extreme(y)
    return max(cdist(x[i : i + rows], y, "sqeuclidean").max() for i in range(0, len(x), rows))


def _clouds(name: str, a: Array, b: Array, x: Array, y: Array, reg: float, dense: bool) -> Case:
    scale = 1.0 / np.sqrt(max_sqeuclidean(x, y))
    x, y = x * scale, y * scale
    if dense:
        return Case(name, a, b, reg, C=cdist(x, y, "sqeuclidean"))
    return Case(f"{name}-cloud", a, b, reg, x=x, y=y)


def float32(build: Build) -> Case:
    """The same case with every array in single precision."""
    case = build()
    arrays = {k: v.astype(np.float32) for k, v in vars(case).items() if isinstance(v, np.ndarray)}
    return replace(case, name=f"{case.name}-float32", **arrays)


def assignment(n: int, reg: float) -> Case:
    """Uniform random costs, uniform weights."""
    C = np.random.default_rng(0).random((n, n))
    return Case(f"assignment-{n}", uniform(n), uniform(n), reg, C=C)


def digits(metric: str, reg: float) -> Case:
    """Two images of scikit-learn's digits, zoomed to 28 x 28; metric is "L1" or "L2" (squared)."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    def weights(image: Array) -> Array:
        w = zoom(image, 3.5, order=1).ravel()
        w = w + 1e-3 * w.max()
        return w / w.sum()

    images = load_digits().images
    pixels = np.stack(np.mgrid[:28, :28], axis=-1).reshape(-1, 2).astype(float)
    C = cdist(pixels, pixels, {"L1": "cityblock", "L2": "sqeuclidean"}[metric])
    return Case(f"digits-{metric}", weights(images[0]), weights(images[1]), reg, C=C / C.max())


def gauss(n: int, reg: float, d: int = 2, weights: str = "uniform", dense: bool = True) -> Case:
    """x ~ N(0, I), y ~ N(1, diag(1.5, .5, 1.5, .5, ...)^2); weights "uniform" or "dirichlet"."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    y = 1.0 + np.resize([1.5, 0.5], d) * rng.standard_normal((n, d))
    name = f"gauss{d}d-{n}"
    a = b = uniform(n)
    if weights == "dirichlet":
        name += "-dirichlet"
        a, b = rng.dirichlet(np.ones(n), 2)
    return _clouds(name, a, b, x, y, reg, dense)


def line(n: int, reg: float) -> Case:
    """Exponential against a mixture of two normals on a grid: tiny weights in the tails."""
    from scipy.stats import expon, norm

    x = 5.0 * np.arange(n) / (n - 1)
    a = expon.pdf(x)
    b = 0.2 * norm.pdf(x, 1.0, 0.2) + 0.8 * norm.pdf(x, 3.0, 0.5)
    C = (x[:, None] - x[None, :]) ** 2
    return Case(f"line-{n}", a / a.sum(), b / b.sum(), reg, C=C / C.max())


def colour(n: int, reg: float, dense: bool = True) -> Case:
    """n pixels of scikit-learn's china.jpg against n of flower.jpg, in RGB."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)

    def pixels(name: str) -> Array:
        rgb = load_sample_image(name).reshape(-1, 3).astype(float)
        return rgb[rng.choice(len(rgb), n, replace=False)]

    x, y = pixels("china.jpg"), pixels("flower.jpg")
    return _clouds(f"colour-{n}", uniform(n), uniform(n), x, y, reg, dense)


def routing(tokens: int = 4096, experts: int = 64) -> Case:
    """The router of examples/routing.py: experts of equal capacity, C = -softmax(logits)."""
    from examples.routing import router

    a, b = np.ones(tokens), np.full(experts, tokens / experts)
    return Case(f"routing-{tokens}x{experts}", a, b, 0.1, C=-router(tokens, experts))


SMALL_REG = 1 / 1200

# In each suite, sizes of one family grow: a solver over its time limit is not tried at larger ones.
SUITES: dict[str, list[Build]] = {
    "iteration": [
        *[partial(gauss, n, 1e-2) for n in (1000, 2000, 4000)],
        *[partial(gauss, 4000, 1e-2, d=d, dense=False) for d in (2, 3, 64)],
        *[partial(float32, partial(gauss, 4000, 1e-2, d=d, dense=False)) for d in (2, 3, 64)],
    ],
    "entropic": [
        *[partial(assignment, n, SMALL_REG) for n in (500, 1000, 2000)],
        partial(assignment, 1000, 1e-4),
        partial(digits, "L2", SMALL_REG),
        partial(digits, "L1", SMALL_REG),
        *[partial(gauss, n, reg) for reg in (1e-2, 1e-3) for n in (500, 1000, 2000, 4000)],
        partial(gauss, 8000, 1e-3),
        *[partial(gauss, n, 1e-4) for n in (1000, 2000)],
        *[partial(gauss, 1000, reg, weights="dirichlet") for reg in (1e-2, 1e-3)],
        *[partial(gauss, 1000, reg, d=d) for d in (10, 64, 100) for reg in (1e-2, 1e-3)],
        *[partial(line, n, 1e-3) for n in (500, 1000, 2000)],
        *[partial(colour, n, reg) for reg in (1e-2, 1e-3) for n in (1000, 2000)],
    ],
    "memory": [
        partial(gauss, 2000, 1e-2),
        partial(gauss, 2000, 1e-3),
        partial(assignment, 2000, SMALL_REG),
        partial(gauss, 4000, 1e-2),
        partial(gauss, 4000, 1e-3),
        partial(gauss, 20_000, 1e-2, d=3, dense=False),
    ],
    "large": [
        partial(gauss, 10_000, 1e-2, d=3, dense=False),
        *[partial(gauss, 50_000, reg, d=3, dense=False) for reg in (1e-2, 3e-3, 1e-3)],
        partial(colour, 50_000, 1e-2, dense=False),
    ],
}

QUICK: dict[str, list[Build]] = {
    "iteration": [
        partial(gauss, 1000, 1e-2),
        partial(gauss, 2000, 1e-2),
        partial(gauss, 4000, 1e-2, d=3, dense=False),
    ],
    "entropic": [
        partial(assignment, 500, SMALL_REG),
        partial(digits, "L2", SMALL_REG),
        partial(digits, "L1", SMALL_REG),
        *[partial(gauss, n, reg) for reg in (1e-2, 1e-3) for n in (500, 1000)],
        partial(line, 500, 1e-3),
    ],
    "memory": [partial(gauss, 1000, 1e-2), partial(gauss, 1000, 1e-3)],
    "large": [partial(gauss, 5000, 1e-2, d=3, dense=False)],
}
