"""The GPU suite: solves at equal recomputed error, passes against the limits of the device, sparse
plans and gradients beside the CPU backend on the same machine.

Everything lives on the device before the clock starts, in PyTorch tensors; a clock stops when the
device is idle. Peers that are not installed, or that fail, are rows with a reason. What is compared
with the CPU runs through one code with the name of the device, "cuda" or "cpu".
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import ot_fast as otf

from . import cases, report
from .cases import Case

SIZES = (5_000, 10_000, 50_000)
REGS = (1e-2, 1e-3, 1e-4)
TOLS = (1e-9, 1e-5)  # the second is what float32 peers can reach
DENSE_MOST = 40_000  # points whose dense float64 cost fits beside a plan
MAX_NZ = (2, 4, 16, None)  # None: quadratic
BESIDE = ("cuda", "cpu")
LONG = 10.0  # seconds from which on one run is enough
LIMIT = 60.0  # seconds allowed to one solve, by default
Row = dict[str, Any]
Potentials = tuple[Any, Any]


class Device:
    """One case on a device: in PyTorch tensors, and on "cpu" in NumPy arrays."""

    def __init__(self, case: Case, dtype: str, device: str = "cuda") -> None:
        self.case, self.dtype, self.device, self.limit = case, dtype, device, LIMIT
        parts = {k: getattr(case, k) for k in ("a", "b", "C", "x", "y")}
        self.parts = {k: self.put(v) for k, v in parts.items() if v is not None}

    def put(self, array: Any) -> Any:
        if self.device == "cpu":
            return np.asarray(array, self.dtype)
        import torch

        return torch.as_tensor(array, dtype=getattr(torch, self.dtype), device=self.device)

    def __getattr__(self, name: str) -> Any:
        return self.parts.get(name)


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

    from .peers import _ott_compiled

    jax.config.update("jax_enable_x64", True)
    parts = (d.C,) if d.C is not None else (d.x, d.y)
    *parts, a, b = (dlpack.from_dlpack(v.contiguous()) for v in (*parts, d.a, d.b))
    run = _ott_compiled(True, min(most, 20_000), False)
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


def wait(device: str) -> None:
    """Until the device is idle."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def timed(solve: Callable[[], Any], device: str = "cuda") -> tuple[float, Any]:
    wait(device)
    start = time.perf_counter()
    answer = solve()
    wait(device)
    return time.perf_counter() - start, answer


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> tuple[Row, Row]:
    """Seconds and the last answer of every device, A B A B; the first call warms up, if short."""
    answers, seconds = {}, {}
    for device, call in calls.items():
        took, answers[device] = timed(call, device)
        seconds[device] = [took] if took > LONG else []
    slow = {device for device, took in seconds.items() if took}
    for _ in range(repeats):
        for device, call in calls.items():
            if device not in slow:
                took, answers[device] = timed(call, device)
                seconds[device].append(took)
    return seconds, answers


def threads_on(device: str, threads: int) -> Row:
    return {"threads": threads} if device == "cpu" else {}


def in_time(args: argparse.Namespace) -> bool:
    """Whether another problem may start; what is left out is said."""
    args.complete = time.monotonic() < args.until
    if not args.complete:
        print("out of time: the rest is left out", file=sys.stderr)
    return bool(args.complete)


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


def solves(args: argparse.Namespace) -> list[Row]:
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
            print(f"{case.name} {reg_text(case)} {dtype} {name}: {row['status']}", file=sys.stderr)
            rows.append(row)
            if row["status"] == "ok":
                ready.append((row, solve))
        for _ in range(args.repeats or 5):  # A B C, A B C, ...
            for row, solve in ready:
                seconds, _answer = timed(partial(solve, d, row["setting"], 10**6))
                row["seconds"].append(seconds)
        del d
    return rows


def sparse_problems(quick: bool) -> Iterator[tuple[Case, int]]:
    """Case, and the axis along which at most k entries are allowed."""
    for n in (1000,) if quick else (1000, 5000):
        yield cases.gauss(n, 0.1), 0
    yield cases.routing(), 1


def sparse_plan(d: Device, k: int | None, axis: int, threads: int) -> Any:
    options = {"on_fail": "ignore", "time_limit": d.limit, **threads_on(d.device, threads)}
    if k is None:
        return otf.quadratic(d.a, d.b, d.C, d.case.reg, **options)
    return otf.sparsity_constrained(d.a, d.b, d.C, d.case.reg, k, axis=axis, **options)


def sparse_figures(case: Case, axis: int, r: Any) -> Row:
    """Recomputed in NumPy from the plan; the gap to the dual value that the solver states."""
    plan = r.plan if isinstance(r.plan, np.ndarray) else r.plan.cpu().numpy()
    rows, cols = abs(plan.sum(1) - case.a).sum(), abs(plan.sum(0) - case.b).sum()
    value = float((plan * case.C).sum() + case.reg / 2 * (plan * plan).sum())
    return {
        "error": float(max(rows, cols) / case.a.sum()),
        "cardinality": int((plan > 0).sum(axis).max()),
        "value": value,
        "gap": value - r.dual_value,
    }


def sparse_rows(
    args: argparse.Namespace,
    problems: Iterator[tuple[Case, int]],
    devices: Sequence[str] = BESIDE,
) -> list[Row]:
    rows: list[Row] = []
    for case, axis in problems:
        on = {device: Device(case, "float64", device) for device in devices}
        for d in on.values():
            d.limit = args.limit or LIMIT
        for k in MAX_NZ:
            if not in_time(args):
                return rows
            calls = {
                device: partial(sparse_plan, d, k, axis, args.threads) for device, d in on.items()
            }
            seconds, answers = in_turn(calls, args.repeats or 3)
            for device in devices:
                row: Row = {"case": case.name, "axis": axis, "max_nz": k, "device": device}
                row |= {"seconds": seconds[device], "n_iter": answers[device].n_iter}
                row |= {"status": answers[device].status.value}
                rows.append(row | sparse_figures(case, axis, answers[device]))
            print(f"{case.name} {k or 'quadratic'}: done", file=sys.stderr)
    return rows


def gradient_problems(quick: bool) -> Iterator[Case]:
    for n, d in ((1000, 2),) if quick else ((1000, 2), (5000, 2), (5000, 64), (20_000, 3)):
        yield cases.gauss(n, 1e-2, d=d, dense=False)


def gradient_rows(
    args: argparse.Namespace, problems: Iterator[Case], devices: Sequence[str] = BESIDE
) -> list[Row]:
    """Value and gradients in x and y, forward and backward through PyTorch."""
    import torch

    import ot_fast.torch as layers

    losses = {"entropic_cost": layers.sinkhorn_clouds, "monge_gap": layers.monge_gap}
    rows: list[Row] = []
    for case in problems:
        on = {
            device: [torch.as_tensor(v, device=device).requires_grad_() for v in (case.x, case.y)]
            for device in devices
        }
        for name, loss in losses.items():

            def run(device: str, loss: Any = loss, on: Any = on, reg: float = case.reg) -> Any:
                points = on[device]
                for v in points:
                    v.grad = None
                value = loss(*points, reg=reg, tol=1e-9, **threads_on(device, args.threads))
                value.backward()
                return [value.detach().cpu().numpy(), *(v.grad.cpu().numpy() for v in points)]

            if not in_time(args):
                return rows
            calls = {device: partial(run, device) for device in devices}
            seconds, answers = in_turn(calls, args.repeats or 3)
            want = answers[devices[-1]]
            for device in devices:
                away = [
                    float(abs(v - w).max() / abs(w).max())
                    for v, w in zip(answers[device], want, strict=True)
                ]
                row: Row = {"case": case.name, "d": case.x.shape[1], "loss": name}  # type: ignore[union-attr]
                row |= {"device": device, "seconds": seconds[device], "value": float(want[0])}
                rows.append(row | {"value_away": away[0], "gradient_away": max(away[1:])})
            print(f"{case.name} {name}: done", file=sys.stderr)
    return rows


def reg_text(case: Case) -> str:
    return f"reg {case.reg:.0e}"


def passes(args: argparse.Namespace) -> list[Row]:
    """Seconds of one fused pass, by the device's clock."""
    rows = []
    for n in SIZES[:1] if args.quick else SIZES:
        for d in (0, 2, 3, 64):
            if d == 0 and n > DENSE_MOST:
                continue
            case = cases.gauss(n, 1e-2, d=d or 2, dense=d == 0)
            for dtype in ("float64", "float32"):
                on = Device(case, dtype)
                geometry = otf.DenseCost(on.C) if d == 0 else otf.PointCloud(on.x, on.y)
                for exps in ("float64", "float32"):
                    for threshold in (0.0, 1e-4):
                        where = geometry.place.where(0)
                        row = {"n": n, "d": d, "dtype": dtype, "exps": exps, "keep": threshold}
                        row["seconds"] = geometry.core.pass_seconds(
                            geometry.handle, 1e-2, exps == "float64", threshold, 20, where
                        )
                        rows.append(row)
    return rows


def table(rows: list[Row]) -> str:
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


def pass_table(rows: list[Row], limits: dict[str, float]) -> str:
    lines = []
    for row in rows:
        seconds, entries = row["seconds"], row["n"] ** 2
        rate = entries / seconds * 1e-9
        limit = limits["exp_f64_G" if row["exps"] == "float64" else "exp_f32_G"]
        text = f"{100 * rate / limit:5.1f} % of the exp rate"
        if row["d"] == 0:
            size = 8 if row["dtype"] == "float64" else 4
            text += f", {100 * size * rate / limits['copy_GBps']:5.1f} % of copy"
        what = "dense" if row["d"] == 0 else f"points d={row['d']}"
        keep = ", entries kept" if row["keep"] else ""
        lines.append(
            f"{row['n']:7} {what:12} {row['dtype']} costs, {row['exps']} exps{keep:14} "
            f"{1e3 * seconds:9.3f} ms  {text}"
        )
    return "\n".join(lines)


def beside_table(rows: list[Row], same: Sequence[str], text: Callable[[Row], str]) -> str:
    """Rows with the time of the last device of the same problem over theirs."""
    lines = []
    for row in rows:
        last = [r for r in rows if all(r[k] == row[k] for k in same)][-1]
        mine, other = (statistics.median(r["seconds"]) for r in (row, last))
        row["ratio"] = other / mine
        what = " ".join(f"{row[k] if row[k] is not None else 'quadratic':>14}" for k in same)
        lines.append(
            f"{what} {row['device']:>5} {1e3 * mine:10.2f} ms {row['ratio']:8.2f}x  {text(row)}"
        )
    return "\n".join(lines)


def sparse_table(rows: list[Row]) -> str:
    return beside_table(
        rows,
        ("case", "max_nz"),
        lambda r: (
            f"error {r['error']:8.1e}  entries {r['cardinality']:5}  "
            f"gap {r['gap'] / abs(r['value']):8.1e} of the value"
        ),
    )


def gradient_table(rows: list[Row]) -> str:
    return beside_table(
        rows,
        ("case", "loss"),
        lambda r: f"value {r['value_away']:8.1e}  gradient {r['gradient_away']:8.1e} away",
    )


def run(args: argparse.Namespace) -> None:
    found = otf.info()["cuda"]
    if found["reason"]:
        raise SystemExit(f"the GPU suite cannot run: {found['reason']}")
    from ot_fast._arrays.torch import Torch
    from ot_fast._backends import cuda

    args.until = time.monotonic() + (args.budget or math.inf)
    limits = cuda().limits(Torch(0).where())
    machine = report.machine(args.threads) | {"gpu": found["devices"][0]}
    result: Row = {"suite": "gpu", "machine": machine, "limits": limits}
    text = [
        f"{machine['gpu']}, {machine['date']}",
        ", ".join(f"{name} {value:.4g}" for name, value in limits.items()),
    ]
    measure(args, result, text)
    print("\n".join(text))


def measure(args: argparse.Namespace, result: Row, text: list[str]) -> None:
    """Every part asked for; what there is is written after each, so that a cut run leaves it."""
    parts: dict[str, tuple[str, Callable[[], list[Row]], Callable[[list[Row]], str]]] = {
        "passes": (
            "fused passes",
            lambda: passes(args),
            lambda rows: pass_table(rows, result["limits"]),
        ),
        "solves": (
            "solves to the recomputed error 1e-9 (float64), 1e-5 (float32)",
            lambda: solves(args),
            table,
        ),
        "sparse": (
            "sparse plans, and the time of the CPU over theirs",
            lambda: sparse_rows(args, sparse_problems(args.quick)),
            sparse_table,
        ),
        "gradients": (
            "values and gradients in points, the time of the CPU over theirs, difference from it",
            lambda: gradient_rows(args, gradient_problems(args.quick)),
            gradient_table,
        ),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / ("gpu-quick" if args.quick else "gpu")
    args.complete = True
    for name, (title, rows, lines) in parts.items():
        if not re.fullmatch(args.parts, name):
            continue
        found = rows()
        text += ["", title, lines(found)]
        result |= {"rows" if name == "solves" else name: found, "complete": args.complete}
        stem.with_suffix(".json").write_text(json.dumps(report._finite(result), indent=1) + "\n")
        stem.with_suffix(".txt").write_text("\n".join(text) + "\n")
