"""Seconds of one fused pass, by the device's clock, against the limits of the device."""

from __future__ import annotations

import argparse

import ot_fast as otf

from .. import cases
from .device import DENSE_MOST, SIZES, Device, Row

TITLE = "fused passes"


def measure(args: argparse.Namespace) -> list[Row]:
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


def table(rows: list[Row], limits: dict[str, float]) -> str:
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
