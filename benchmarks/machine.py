"""What this machine is and what it can do at most, measured in the same run as the solvers."""

from __future__ import annotations

import datetime
import os
import platform
import re
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

PACKAGES = (
    "ot-fast", "numpy", "scipy", "POT", "regot", "ott-jax", "jax", "torch", "curegot",
    "flash-sinkhorn", "mdot-tnt",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe(threads: int) -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    import ot_fast as otf

    info = otf.info()
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    numbers = re.findall(r"^(?:cpu family|model)\s*:\s*(\d+)", text, re.MULTILINE)[:2]
    return {
        "cpu": match[1] if match else platform.processor(),
        "cpu_family_model": "-".join(numbers),
        "cpus": os.cpu_count(),
        "isa": info["isa"],
        "threads": threads,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": package_versions(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def throughput(threads: int) -> dict[str, float]:
    """Memory, exp and FMA throughput, from the same compiled loops as the solvers."""
    from ot_fast import _core

    return {name: float(value) for name, value in _core.machine_limits(threads).items()}


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
