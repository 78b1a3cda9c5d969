"""The routing example, on a smaller router."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest

PATH = pathlib.Path(__file__).parents[1] / "examples" / "routing.py"


def test_transport_balances_the_load(tmp_path, capsys):
    pytest.importorskip("matplotlib").use("Agg")
    spec = importlib.util.spec_from_file_location("routing", PATH)
    routing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(routing)
    picture = tmp_path / "routing.png"
    rows = routing.main(["--tokens", "512", "--experts", "16", "--out", str(picture)])
    assert picture.stat().st_size > 10_000
    assert "sparse OT, 1 a token" in capsys.readouterr().out
    of = {r["method"]: r for r in rows}
    assert of["top-1 gating"]["dropped"] > 0.05
    for k in (1, 2):
        sparse = of[f"sparse OT, {k} a token"]
        assert sparse["busiest"] < 1 + 1e-8
        assert sparse["dropped"] < 1e-8
        assert sparse["entries"] <= k
        assert sparse["kept"] > of["top-1 gating"]["kept"]
