"""The comparison of two builds; and at small sizes what only runs in full where there is a GPU: the
GPU suite of the benchmarks, and the run that compute-sanitizer watches.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys

import pytest
from emulated import available, install_torch

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gpu

    return gpu


@pytest.fixture
def args(tmp_path):
    return argparse.Namespace(
        quick=True, threads=1, repeats=2, limit=None, solvers="", parts=".*", out=tmp_path,
        until=math.inf,
    )  # fmt: skip


def test_a_build_compared_with_itself(monkeypatch, tmp_path, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import cases, compare

    def suite():
        case, options = cases.gauss(30, 0.1), {"tol": 1e-9}
        yield "tiny", "auto", compare.entropic_job(case, "auto", plan=True, options=options)
        job = compare.entropic_job(case, "scaling", "float64", first=2, options={"tol": 0.0})
        yield "tiny", "float64 kernel", job

    monkeypatch.setattr(compare, "SUITES", {"tiny": suite})
    monkeypatch.setattr(compare, "ENOUGH", 1e-3)
    out = tmp_path / "rows.json"
    common = ["--repeats", "3", "--threads", "1", "--out", str(out)]
    rows = compare.main(["tiny", "--base", str(ROOT), "--new", str(ROOT), *common])
    for row in rows:
        assert row["same"]
        assert row["low"] <= row["ratio"] <= row["high"]
    assert "2 of 2 rows, 0 with other answers" in capsys.readouterr().out
    assert [row["solver"] for row in json.loads(out.read_text())["rows"]] == [
        "auto",
        "float64 kernel",
    ]
    with pytest.raises(SystemExit, match=r"a build ended|holds no ot_fast"):
        compare.main(["tiny", "--base", str(tmp_path), "--new", str(ROOT), *common])


@pytest.mark.parametrize("name", ["entropic", "iteration-quick"])
def test_stored_results_give_their_tables_and_plots(monkeypatch, tmp_path, name):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import plots, report, tables

    stored = ROOT / "benchmarks" / "results" / name
    result = report.load(stored.with_suffix(".json"))
    text = report.heading(result) + "\n" + tables.TABLES[result["suite"]](result) + "\n"
    assert text == stored.with_suffix(".txt").read_text()
    drawn = plots.draw(result, tmp_path / name)
    assert {path.name for path in drawn} == {
        path.name for path in stored.parent.glob(f"{name}-*.png")
    }


@pytest.mark.parametrize(
    "kind", ["random", "integers", "gauss2d", "gauss50d", "dirichlet", "euclidean2d"]
)
def test_exact_solvers_find_the_same_value(kind, monkeypatch):
    pytest.importorskip("ot")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import exact

    args = argparse.Namespace(repeats=1, limit=1.0, threads=1)
    rows = exact.measured(exact.problem(kind, 30), args)
    assert {row["solver"] for row in rows} == {"ot_fast", "POT", "HiGHS"}
    for row in rows:
        assert row["value"] == pytest.approx(rows[0]["value"], rel=1e-7)
        assert row["error"] < 1e-7


def test_sparse_plans_beside_the_cpu(gpu, args):
    cases = sys.modules["benchmarks.cases"]
    problems = [(cases.gauss(40, 0.1), 0), (cases.routing(64, 16), 1)]
    rows = gpu.sparse.beside(args, iter(problems), ("cpu",))
    assert [(r["case"], r["max_nz"]) for r in rows] == [
        (name, k) for name in ("gauss2d-40", "routing-64x16") for k in gpu.sparse.MAX_NZ
    ]
    for row in rows:
        assert row["error"] < 1e-9
        assert row["gap"] > -1e-9 * abs(row["value"])
        assert row["max_nz"] is None or row["cardinality"] <= row["max_nz"]
        assert len(row["seconds"]) == 2
    text = gpu.sparse.table(rows, {})
    assert len(text.splitlines()) == len(rows)
    assert all(row["ratio"] == 1 for row in rows)
    args.until = 0.0
    assert gpu.sparse.beside(args, iter(problems), ("cpu",)) == []
    assert not args.complete


def test_a_wrong_plan_shows(gpu):
    cases = sys.modules["benchmarks.cases"]
    case = cases.gauss(40, 0.1)
    r = gpu.sparse.solve(gpu.device.Device(case, "float64", "cpu"), 4, 0, 1)

    class Wrong:
        plan, dual_value = r.plan * 1.5, r.dual_value

    assert gpu.sparse.figures(case, 0, Wrong)["error"] == pytest.approx(0.5)


def test_gradients_beside_the_cpu(gpu, args):
    pytest.importorskip("torch", reason="the torch extra is not installed")
    cases = sys.modules["benchmarks.cases"]
    rows = gpu.gradients.beside(args, iter([cases.gauss(30, 0.05, dense=False)]), ("cpu",))
    assert [r["loss"] for r in rows] == ["entropic_cost", "monge_gap"]
    for row in rows:
        assert row["value_away"] == row["gradient_away"] == 0
        assert row["value"] > 0
    assert len(gpu.gradients.table(rows, {}).splitlines()) == 2


@pytest.mark.parametrize("dense", [True, False])
def test_solves_on_the_emulated_device(gpu, args, monkeypatch, dense):
    if reason := available():
        pytest.skip(reason)
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    install_torch(monkeypatch)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(
        gpu.device.Device,
        "put",
        lambda self, v: torch.as_tensor(v, dtype=getattr(torch, self.dtype)),
    )
    args.solvers = "ot_fast"
    case = sys.modules["benchmarks.cases"].gauss(60, 0.05, dense=dense)
    rows = gpu.solves.one_problem(args, lambda: case)
    assert [(r["solver"], r["dtype"]) for r in rows] == [
        (name, dtype) for dtype in ("float64", "float32") for name in ("ot_fast", "ot_fast log")
    ]
    for row in rows:
        assert row["status"] == "ok"
        assert row["error"] <= row["tol"] * 1.001
        assert len(row["seconds"]) == 2
    assert len(gpu.solves.table(rows, {}).splitlines()) == 4
    monkeypatch.setattr(gpu.passes, "SIZES", (50,))
    rows = gpu.passes.measure(args)
    assert len(rows) == 4 * 2 * 2 * 2
    limits = {"copy_GBps": 3000.0, "exp_f64_G": 100.0, "exp_f32_G": 1000.0}
    assert len(gpu.passes.table(rows, limits).splitlines()) == len(rows)


def test_the_small_run_on_the_emulated_device(monkeypatch):
    if reason := available():
        pytest.skip(reason)
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    install_torch(monkeypatch)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import gpu_small

    monkeypatch.setattr(gpu_small, "SHAPES", ((40, 30), (5, 5000)))
    assert gpu_small.main(torch.tensor, "float|losses sq|plans") == 2 * (4 + 1) + 3 + 1


def test_every_part_is_written_as_it_is_done(gpu, args, monkeypatch):
    """A run that is cut leaves the parts before: here the last fails."""
    limits = {"copy_GBps": 3000.0, "exp_f64_G": 100.0, "exp_f32_G": 1000.0}
    one = {"n": 5000, "d": 0, "dtype": "float64", "exps": "float64", "keep": 0.0, "seconds": 1e-3}
    monkeypatch.setattr(gpu.passes, "measure", lambda args: [one])
    monkeypatch.setattr(gpu.solves, "measure", lambda args: [])
    monkeypatch.setattr(gpu.sparse, "problems", lambda quick: iter(()))

    def fail(args):
        raise MemoryError

    monkeypatch.setattr(gpu.gradients, "measure", fail)
    text = []
    with pytest.raises(MemoryError):
        gpu.measure(args, {"suite": "gpu", "limits": limits}, text)
    result = json.loads((args.out / "gpu-quick.json").read_text())
    assert result["passes"] == [one]
    assert result["rows"] == result["sparse"] == []
    assert "25.0 % of the exp rate" in text[2]
    assert (args.out / "gpu-quick.txt").read_text() == "\n".join(text) + "\n"
