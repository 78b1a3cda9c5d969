"""Values and gradients in points through PyTorch, beside the CPU backend on the same machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from .. import cases
from ..cases import Case
from .device import BESIDE, Row, beside_table, in_time, in_turn, threads_on

TITLE = "values and gradients in points, the time of the CPU over theirs, difference from it"


def measure(args: argparse.Namespace) -> list[Row]:
    return beside(args, problems(args.quick))


def problems(quick: bool) -> Iterator[Case]:
    for n, d in ((1000, 2),) if quick else ((1000, 2), (5000, 2), (5000, 64), (20_000, 3)):
        yield cases.gauss(n, 1e-2, d=d, dense=False)


def beside(
    args: argparse.Namespace, given: Iterator[Case], devices: Sequence[str] = BESIDE
) -> list[Row]:
    """Value and gradients in x and y, forward and backward through PyTorch."""
    import torch

    import ot_fast.torch as layers

    losses = {"entropic_cost": layers.sinkhorn_clouds, "monge_gap": layers.monge_gap}
    rows: list[Row] = []
    for case in given:
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


def table(rows: list[Row], limits: Row) -> str:
    return beside_table(
        rows,
        ("case", "loss"),
        lambda r: f"value {r['value_away']:8.1e}  gradient {r['gradient_away']:8.1e} away",
    )
