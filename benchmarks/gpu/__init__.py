"""The GPU suite: passes against the limits of the device, solves at equal recomputed error, sparse
plans and gradients beside the CPU backend on the same machine.

Everything lives on the device before the clock starts, in PyTorch tensors; a clock stops when the
device is idle. What is compared with the CPU runs through one code with the name of the device,
"cuda" or "cpu".
"""

from __future__ import annotations

import argparse
import math
import re
import time

import ot_fast as otf

from .. import machine, report
from . import gradients, passes, solves, sparse
from .device import Row

PARTS = {"passes": passes, "solves": solves, "sparse": sparse, "gradients": gradients}


def run(args: argparse.Namespace) -> None:
    found = otf.info()["cuda"]
    if found["reason"]:
        raise SystemExit(f"the GPU suite cannot run: {found['reason']}")
    from ot_fast._arrays.torch import Torch
    from ot_fast._backends import cuda

    args.until = time.monotonic() + (args.budget or math.inf)
    limits = cuda().machine_limits(Torch(0).where())
    here = machine.describe(args.threads) | {"gpu": found["devices"][0]}
    result: Row = {"suite": "gpu", "machine": here, "limits": limits}
    text = [
        f"{here['gpu']}, {here['date']}",
        ", ".join(f"{name} {value:.4g}" for name, value in limits.items()),
    ]
    measure(args, result, text)
    print("\n".join(text))


def measure(args: argparse.Namespace, result: Row, text: list[str]) -> None:
    """Every part asked for; what there is is written after each, so that a cut run leaves it."""
    stem = args.out / ("gpu-quick" if args.quick else "gpu")
    args.complete = True
    for name, part in PARTS.items():
        if not re.fullmatch(args.parts, name):
            continue
        rows = part.measure(args)
        text += ["", part.TITLE, part.table(rows, result["limits"])]
        result |= {"rows" if name == "solves" else name: rows, "complete": args.complete}
        report.write(result, stem.with_suffix(".json"))
        stem.with_suffix(".txt").write_text("\n".join(text) + "\n")
