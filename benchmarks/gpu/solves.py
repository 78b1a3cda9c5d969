"""Solves to an equal recomputed error, against the packages that solve on a GPU.

Packages that are not installed, or that fail, are rows with a reason.
"""

from __future__ import annotations

import argparse
import importlib
import math
import re
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import ot_fast as otf

from .. import cases
from ..peers import ott_compiled
from .device import DENSE_MOST, LIMIT, SIZES, Device, Row, in_time, timed

TITLE = "solves to the recomputed error 1e-9 (float64), 1e-5 (float32)"
REGS = (1e-2, 1e-3, 1e-4)
TOLS = (1e-9, 1e-5)  # the second is what float32 peers can reach
Potentials = tuple[Any, Any]


def ours(method: str) -> Callable[..., Any]:
    def solve(d: Device, setting: float, most: int) -> Potentials:
        C = d.C if d.C is not None else otf.PointCloud(d.x, d.y)
        r = otf.sinkhorn(
            d.a, d.b, C, d.case.reg, method=method, tol=setting, max_iter=most,
            time_limit=d.limit, on_fail="ignore",
        )  # fmt: skip
        return r.potentials

    return solve


def curegot(name: str) -> Callable[..., Any]:
    def solve(d: Device, setting: float, most: int) -> Any:
        module = importlib.import_module("curegot.torch")
        run = getattr(module, f"sinkhorn_{name}")
        return run(d.C, d.a, d.b, d.case.reg, tol=setting, max_iter=most, verbose=0)["plan"]

    return solve


def flash(d: Device, setting: float, most: int) -> Potentials:
    loss = importlib.import_module("flash_sinkhorn").SamplesLoss(
        backend="alternating", eps=d.case.reg, n_iters=min(most, 20_000), use_epsilon_scaling=False,
        threshold=setting, potentials=True, allow_tf32=False,
    )  # fmt: skip
    f, g = loss(d.a, d.x, d.b, d.y)
    return f, g


def ott(d: Device, setting: float, most: int) -> Potentials:
    import jax
    import torch
    from jax import dlpack

    jax.config.update("jax_enable_x64", True)
    parts = (d.C,) if d.C is not None else (d.x, d.y)
    *parts, a, b = (dlpack.from_dlpack(v.contiguous()) for v in (*parts, d.a, d.b))
    run = ott_compiled(True, min(most, 20_000), False)
    _, f, g, _ = jax.block_until_ready(run(tuple(parts), a, b, d.case.reg, setting))
    f, g = (torch.from_dlpack(v) for v in (f, g))
    return f - d.case.reg * d.a.log(), g - d.case.reg * d.b.log()


def mdot(d: Device, setting: float, most: int) -> Any:
    solve = importlib.import_module("mdot_tnt").solve_OT
    return solve(d.a, d.b, d.C, gamma_f=1 / d.case.reg, return_plan=True, round=False)


# name -> (solve, package, dtypes, needs: "C", "x" or "" for either)
SOLVERS: dict[str, tuple[Callable[..., Any], str, tuple[str, ...], str]] = {
    "ot_fast": (ours("auto"), "ot_fast", ("float64", "float32"), ""),
    "ot_fast log": (ours("log"), "ot_fast", ("float64", "float32"), ""),
    "cuRegOT splr": (curegot("splr"), "curegot", ("float64",), "C"),
    "cuRegOT bcd": (curegot("bcd"), "curegot", ("float64",), "C"),
    "flash-sinkhorn": (flash, "flash_sinkhorn", ("float32",), "x"),
    "OTT log": (ott, "ott", ("float64", "float32"), ""),
    "mdot-tnt": (mdot, "mdot_tnt", ("float64",), "C"),
}


def error_of(d: Device, answer: Any) -> float:
    """max(|P1 - a|_1, |P'1 - b|_1), in float64, by blocks of rows."""
    import torch

    a, b = (v.double() / v.double().sum() for v in (d.a, d.b))
    n, m = len(a), len(b)
    col = torch.zeros(m, dtype=torch.float64, device=a.device)
    rows = []
    step = max(1, 2**27 // m)
    for i in range(0, n, step):
        block = slice(i, i + step)
        if isinstance(answer, tuple):
            f, g = (v.double() for v in answer)
            x, y = d.x, d.y
            C = (
                d.C[block]
                if d.C is not None
                else torch.cdist(
                    x[block].double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist"
                ).square()
            )
            P = a[block, None] * b * torch.exp((f[block, None] + g - C.double()) / d.case.reg)
        else:
            P = answer[block].double()
        rows.append(P.sum(1))
        col += P.sum(0)
    row = torch.cat(rows)
    return float(max((row - a).abs().sum(), (col - b).abs().sum()))


def calibrated(d: Device, solve: Callable[..., Any], tol: float, limit: float) -> Row:
    """The loosest own setting at which the recomputed error meets `tol`."""
    row: Row = {"status": "failed", "error": math.nan, "setting": math.nan}
    for power in range(4):
        setting = tol * 10.0**-power
        seconds, answer = timed(partial(solve, d, setting, 10**6))
        error = error_of(d, answer)
        row |= {"error": error, "setting": setting, "first_seconds": seconds}
        if error <= tol * 1.001:
            return row | {"status": "ok"}
        if seconds > limit:
            return row | {"status": "over limit"}
    return row


def measure(args: argparse.Namespace) -> list[Row]:
    rows = []
    for n in SIZES[:1] if args.quick else SIZES:
        for dense in (True, False):
            if dense and n > DENSE_MOST:
                continue
            for reg in REGS:
                if not in_time(args):
                    return rows
                rows += one_problem(args, partial(cases.gauss, n, reg, dense=dense))
    return rows


def one_problem(args: argparse.Namespace, build: cases.Build) -> list[Row]:
    case = build()
    rows = []
    for dtype, tol in zip(("float64", "float32"), TOLS, strict=True):
        d = Device(case, dtype)
        d.limit = args.limit or LIMIT
        ready: list[tuple[Row, Callable[..., Any]]] = []
        for name, (solve, package, dtypes, needs) in SOLVERS.items():
            if (
                not re.search(args.solvers, name)
                or dtype not in dtypes
                or (needs and getattr(case, needs) is None)
            ):
                continue
            row: Row = {"case": case.name, "n": len(case.a), "reg": case.reg, "solver": name}
            row |= {"dtype": dtype, "tol": tol, "seconds": []}
            try:
                importlib.import_module(package)
                solve(d, 1e-2, 5)  # compilation apart
                row |= calibrated(d, solve, tol, d.limit)
            except Exception as reason:  # a peer may fail in any way: the row says how
                row |= {"status": f"{type(reason).__name__}: {reason}"[:120], "error": math.nan}
            print(
                f"{case.name} reg {case.reg:.0e} {dtype} {name}: {row['status']}", file=sys.stderr
            )
            rows.append(row)
            if row["status"] == "ok":
                ready.append((row, solve))
        for _ in range(args.repeats or 5):  # A B C, A B C, ...
            for row, solve in ready:
                seconds, _answer = timed(partial(solve, d, row["setting"], 10**6))
                row["seconds"].append(seconds)
        del d
    return rows


def table(rows: list[Row], limits: Row) -> str:
    lines = []
    for row in rows:
        same = ("case", "reg", "dtype")
        times = statistics.median(row["seconds"]) if row["seconds"] else math.nan
        mine = [r for r in rows if r["solver"] == "ot_fast" and all(r[k] == row[k] for k in same)]
        base = statistics.median(mine[0]["seconds"]) if mine and mine[0]["seconds"] else math.nan
        lines.append(
            f"{row['case']:20} {row['reg']:.0e} {row['dtype']:8} {row['solver']:15} "
            f"{1e3 * times:10.2f} ms {times / base:8.2f}x {row['error']:9.1e}  {row['status']}"
        )
    return "\n".join(lines)
