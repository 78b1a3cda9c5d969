"""Everything once on a CUDA device, small and beside the CPU: what compute-sanitizer watches.

Arrays are PyTorch's; with PYTORCH_NO_CUDA_MEMORY_CACHING=1 every vector is an allocation of its
own, so that memcheck and initcheck see where each of them ends and what of it was written.

Usage: python scripts/gpu_small.py [REGEX of names]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

import ot_fast as otf

Call = Callable[[Callable[[Any], Any]], Any]  # of what puts an array where it is solved
# Rows of one block, of a cluster of 2 and of 8 blocks, and of panels (on compute capability 9.0).
SHAPES = ((40, 30), (140, 1100), (5, 9000), (4, 40_000), (3, 70_001))
METHODS = ("log", "scaling", "newton", "sns")


def weights(rng: np.random.Generator, n: int) -> np.ndarray:
    w = rng.random(n) + 0.1
    return w / w.sum()


def dense(rng: np.random.Generator) -> Iterator[tuple[str, Call]]:
    for n, m in SHAPES:
        a, b = weights(rng, n), weights(rng, m)
        for dtype in (np.float64, np.float32):
            C = rng.random((n, m)).astype(dtype)
            for method in METHODS if m < 2000 else METHODS[:1]:

                def solve(
                    put: Any, a: Any = a, b: Any = b, C: Any = C, method: str = method
                ) -> Any:
                    r = otf.sinkhorn(
                        put(a), put(b), put(C), 0.05, method=method, max_iter=8, on_fail="ignore"
                    )
                    return r.f, r.g, r.value, r.upper_bound, r.plan.sum(1)

                yield f"{method} {n} x {m} {np.dtype(dtype).name}", solve


def points(rng: np.random.Generator) -> Iterator[tuple[str, Call]]:
    for d in (2, 3, 9):
        x, y = rng.random((70, d)), rng.random((90, d)) + 0.3
        for cost in ("sqeuclidean", "euclidean", "cityblock", "cosine"):

            def losses(put: Any, x: Any = x, y: Any = y, cost: str = cost) -> Any:
                r = otf.sinkhorn_divergence(put(x), put(y), reg=0.2, cost=cost, tol=1e-9)
                m = otf.monge_gap(put(x), put(y[:70]), reg=0.2, cost=cost, tol=1e-9)
                return r.value, *r.gradient, m.value, m.gradient

            yield f"losses {cost} d={d}", losses


def sparse(rng: np.random.Generator) -> Iterator[tuple[str, Call]]:
    a, b, C = weights(rng, 60), weights(rng, 50), rng.random((60, 50))

    def plans(put: Any) -> Any:
        k = otf.sparsity_constrained(put(a), put(b), put(C), 0.1, 4)
        q = otf.quadratic(put(a), put(b), put(C), 0.1)
        return k.plan, q.plan, q.dual_value

    def tiny(put: Any) -> Any:  # takes a factor of the plan's graph
        rng = np.random.default_rng(5)
        x, y = 2 * rng.random((600, 2)) - 1, 2 * rng.random((607, 2)) - 0.8
        a, b = weights(rng, 600), weights(rng, 607)
        C = cdist(x, y, "sqeuclidean")
        r = otf.sinkhorn(put(a), put(b), put(C), 1e-6 * C.max(), method="newton", on_fail="raise")
        return (r.value,)

    yield "plans of few entries", plans
    yield "reg 1e-6", tiny


def main(put: Callable[[Any], Any], pattern: str = "") -> int:
    """Every call where `put` puts its arrays and on the CPU; returns how many there were."""
    rng = np.random.default_rng(0)
    count = 0
    for name, call in (*dense(rng), *points(rng), *sparse(rng)):
        if not re.search(pattern, name):
            continue
        tol = 2e-4 if "float32" in name else 1e-6
        for got, want in zip(call(put), call(np.asarray), strict=True):
            got = np.asarray(got.cpu() if hasattr(got, "cpu") else got, float)
            want = np.asarray(want, float)
            np.testing.assert_allclose(got, want, rtol=0, atol=tol * abs(want).max(), err_msg=name)
        count += 1
    return count


if __name__ == "__main__":
    import torch

    calls = main(lambda v: torch.as_tensor(v, device="cuda"), *sys.argv[1:])
    print(f"{calls} calls agree with the CPU")
