"""One build of ot_fast, in a process of its own: what `benchmarks/compare.py` starts twice.

It is run as a script with PYTHONPATH set to the tree of the build, and it imports nothing else of
the benchmarks: both builds run the same code. Requests come as pickles on stdin, replies go as
pickles to stdout: `(job, None)` prepares a job, `(None, count)` times it `count` times in a row.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import ot_fast as otf

Job = dict[str, Any]


def method_options(method: str, dtype: str | None) -> dict[str, Any]:
    """Options of `sinkhorn` for a kernel stored as `dtype`, in the words of this build."""
    if dtype is None:
        return {"method": method}
    if hasattr(otf, "Scaling"):
        return {"method": otf.Scaling(dtype=dtype)}
    return {"method": method, "kernel_dtype": dtype}


def sinkhorn(job: Job) -> Callable[..., Any]:
    C = job["C"] if job["C"] is not None else otf.PointCloud(job["x"], job["y"])
    options = method_options(job["method"], job["dtype"]) | job["options"]

    def solve(**changed: Any) -> Any:
        result = otf.sinkhorn(job["a"], job["b"], C, job["reg"], **(options | changed))
        if job["plan"]:
            _ = result.plan
        return result

    return solve


def sparse(job: Job) -> Callable[[], Any]:
    problem = (job["a"], job["b"], job["C"], job["reg"])
    if job["max_nz"] is None:
        return lambda: otf.quadratic(*problem, **job["options"])
    return lambda: otf.sparsity_constrained(
        *problem, job["max_nz"], axis=job["axis"], **job["options"]
    )


def monge_gap(job: Job) -> Callable[[], Any]:
    def gap(images: Any, init: Any = None) -> Any:
        result = otf.monge_gap(job["x"], images, reg=job["reg"], init=init, **job["options"])
        _ = result.gradient
        return result

    def path() -> Any:
        warm = otf.WarmStart()
        return [gap(images, warm) for images in job["path"]][-1]

    return path if job["path"] else lambda: gap(job["y"])


SOLVERS = {"sinkhorn": sinkhorn, "sparse": sparse, "monge": monge_gap}


def clocked(solve: Callable[..., Any], **changed: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = solve(**changed)
    return time.perf_counter() - start, result


def one_iteration(solve: Callable[..., Any], first: int, last: int) -> tuple[float, Any]:
    """(time of `last` - time of `first`) / (last - first): the set-up cancels."""
    short, few = clocked(solve, max_iter=first)
    long, many = clocked(solve, max_iter=last)
    difference = max(long - short, 0.1 * long)  # noise can make it negative
    return difference / (many.n_iter - few.n_iter), many


def measured(job: Job, solve: Callable[..., Any], count: int) -> dict[str, Any]:
    """Mean seconds of `count` solves in a row, and what must agree between the builds."""
    if job["first"]:
        seconds, result = one_iteration(solve, job["first"], job["first"] + count)
    else:
        total = 0.0
        for _ in range(count):
            took, result = clocked(solve)
            total += took
        seconds = total / count
    f, g = (np.asarray(v) for v in result.potentials)
    status = getattr(result, "status", None)
    return {
        "seconds": seconds,
        "status": getattr(status, "value", ""),
        "answer": (int(result.n_iter), f.tobytes(), g.tobytes()),
    }


def main() -> None:
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the replies

    def reply(answer: Any) -> None:
        pickle.dump(answer, replies)
        replies.flush()

    reply({"path": otf.__file__, "isa": otf.info()["isa"]})
    job: Job = {}
    solve: Callable[..., Any] = dict
    while True:
        try:
            new, count = pickle.load(requests)
        except EOFError:
            return
        if new is None:
            reply(measured(job, solve, count))
        else:
            job, solve = new, SOLVERS[new["solver"]](new)


if __name__ == "__main__":
    main()
