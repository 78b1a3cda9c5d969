"""What this machine can do at most, measured in the same run as the solvers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits


def throughput(threads: int) -> dict[str, float]:
    """Memory, exp and FMA throughput, from the same compiled loops as the solvers."""
    from ot_fast import _core

    return {name: float(value) for name, value in _core.limits(threads).items()}


def read_GBps(nbytes: int, threads: int, repeats: int = 7) -> float:
    """Bandwidth of reading ``nbytes`` again and again: a small matrix is read from a cache."""
    parts = np.array_split(np.ones(nbytes // 8), threads)
    passes = max(1, 2**28 // nbytes)

    def read(x: np.ndarray) -> None:
        for _ in range(passes):
            np.dot(x, x)

    seconds = []
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(read, parts))
            seconds.append(time.perf_counter() - start)
    return nbytes * passes / min(seconds) / 1e9
