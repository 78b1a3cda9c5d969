"""The command line: exit status, output, files written."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from problems import entropic_value, exact_ot, marginal_error, random_problem

import ot_fast as otf
from ot_fast._cli import main

REG = 0.05
DONE, MISSING, MISTAKE, NOT_CONVERGED = 0, 1, 2, 3


@pytest.fixture
def cli(tmp_path, monkeypatch, capfd):
    """Run the command line in this process and in an empty folder: (stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*args, expect=DONE):
        try:
            status = main(list(map(str, args)))
        except SystemExit as stop:  # argparse leaves this way
            status = stop.code
        out, err = capfd.readouterr()
        assert status == expect, f"exit {status}\n{out}\n{err}"
        return SimpleNamespace(stdout=out, stderr=err)

    return run


@pytest.fixture
def arrays(tmp_path):
    a, b, C = random_problem(20, 30, seed=31)
    for name, value in {"a": a, "b": b, "C": C}.items():
        np.save(tmp_path / f"{name}.npy", value)
    return a, b, C


# ---- info -------------------------------------------------------------------------------------


def test_info(cli):
    text, facts = cli("info").stdout, json.loads(cli("info", "--json").stdout)
    assert set(facts) >= {"version", "isa_built", "isa", "threads", "cuda", "arrays"}
    assert facts["version"] == otf.__version__
    assert facts["isa"] in facts["isa_built"]
    for value in (facts["version"], facts["isa"], facts["threads"], *facts["isa_built"]):
        assert re.search(rf"\b{re.escape(str(value))}\b", text)


def test_run_as_a_module(run_python):
    done = run_python(args=["-m", "ot_fast", "--version"])
    assert done.stdout.strip() == f"ot_fast {otf.__version__}"
    done = run_python(args=["-m", "ot_fast", "solve", "a", "b", "c", "--reg", "1"], check=False)
    assert done.returncode == MISTAKE
    assert "Traceback" not in done.stderr


# ---- solve ------------------------------------------------------------------------------------


def test_solve_writes_the_potentials_and_the_certificate(cli, arrays, tmp_path):
    a, b, C = arrays
    out = cli("solve", "a.npy", "b.npy", "C.npy", "--reg", REG, "--out", "r.npz", "--plan").stdout
    saved = np.load(tmp_path / "r.npz", allow_pickle=False)
    P = np.outer(a, b) * np.exp((saved["f"][:, None] + saved["g"] - C) / REG)
    assert marginal_error(P, a, b) <= 2e-9
    value, linear = entropic_value(P, a, b, C, REG)
    assert saved["value"] == pytest.approx(value, rel=1e-7)
    assert saved["value_linear"] == pytest.approx(linear, rel=1e-7)
    exact = exact_ot(a, b, C)
    assert saved["lower_bound"] <= exact <= saved["upper_bound"]
    assert saved["status"] == "converged"
    assert saved["converged"]
    kept = np.zeros_like(P)
    for i in range(20):
        entries = slice(*saved["plan_indptr"][i : i + 2])
        kept[i, saved["plan_indices"][entries]] = saved["plan_data"][entries]
    assert kept.sum() >= 0.999
    np.testing.assert_allclose(kept[kept > 0], P[kept > 0], rtol=1e-8)
    for part in ("20 x 30", "converged", f"{value:.6g}"[:6]):
        assert part in out


def test_solve_with_uniform_weights(cli, arrays, tmp_path):
    *_, C = arrays
    cli("solve", "-", "-", "C.npy", "--reg", REG, "--out", "r.npz")
    saved = np.load(tmp_path / "r.npz")
    P = np.exp((saved["f"][:, None] + saved["g"] - C) / REG) / 600
    assert marginal_error(P, np.full(20, 1 / 20), np.full(30, 1 / 30)) <= 2e-9


def test_unfinished_solve_is_written_and_has_its_own_exit_status(cli, arrays, tmp_path):
    args = ["a.npy", "b.npy", "C.npy", "--reg", REG, "--max-iter", 2, "--out", "r.npz"]
    assert "not converged" in cli("solve", *args, expect=NOT_CONVERGED).stderr
    assert np.load(tmp_path / "r.npz")["status"] == "max_iter"


MISTAKES = {
    "no such file": (["missing.npy", "b.npy", "C.npy", "--reg", REG], "missing.npy"),
    "not an array": (["text.npy", "b.npy", "C.npy", "--reg", REG], "text.npy"),
    "shapes": (["b.npy", "a.npy", "C.npy", "--reg", REG], "a must"),
    "negative weight": (["bad.npy", "b.npy", "C.npy", "--reg", REG], r"a\[3\] = -0\.05"),
    "reg": (["a.npy", "b.npy", "C.npy", "--reg", "-1"], "--reg"),
    "no reg": (["a.npy", "b.npy", "C.npy"], "--reg"),
    "method": (["a.npy", "b.npy", "C.npy", "--reg", REG, "--method", "magic"], "method"),
    "out folder": (["a.npy", "b.npy", "C.npy", "--reg", REG, "--out", "no/r.npz"], r"no"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_is_one_line_on_stderr(cli, arrays, tmp_path, case):
    args, message = MISTAKES[case]
    (tmp_path / "text.npy").write_text("not an array")
    bad = arrays[0].copy()
    bad[3] = -0.05
    np.save(tmp_path / "bad.npy", bad)
    done = cli("solve", *args, expect=MISTAKE)
    assert re.search(message, done.stderr)
    assert not done.stdout


def test_pickles_are_never_loaded(cli, arrays, tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    cli("solve", "a.npy", "b.npy", "C.npy", "--reg", REG, expect=MISTAKE)


@pytest.mark.parametrize("args", [[], ["frobnicate"]])
def test_unknown_command_shows_usage(cli, args):
    assert "usage" in cli(*args, expect=MISTAKE).stderr


# ---- demo -------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for module in ("matplotlib", "sklearn", "tqdm"):
        pytest.importorskip(module)
    rng = np.random.default_rng(32)
    for name, colour in {"source.png": (0.9, 0.2, 0.1), "target.png": (0.1, 0.3, 0.9)}.items():
        pixels = 255 * np.clip(colour + 0.1 * rng.normal(size=(24, 32, 3)), 0, 1)
        image.fromarray(pixels.astype("uint8")).save(tmp_path / name)
    return image


@pytest.mark.parametrize("own", [True, False])
def test_demo_writes_one_figure(cli, images, tmp_path, own):
    chosen = ["--image", "source.png", "target.png"] if own else []
    out = cli("demo", *chosen, "--out", "figure.png", "--pixels", 300).stdout
    figure = images.open(tmp_path / "figure.png")
    assert min(figure.size) >= 300
    assert np.asarray(figure.convert("L")).std() > 5
    assert "figure.png" in out
    assert re.search(r"ot_fast", out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--image", "source.png", "missing.png"], "missing.png"),
        (["--image", "source.png", "text.png"], "text.png"),
        (["--image", "source.png"], "--image"),
        (["--pixels", "0"], "--pixels"),
        (["--out", "no/such/folder.png"], "no"),
    ],
)
def test_demo_mistakes(cli, images, tmp_path, args, message):
    (tmp_path / "text.png").write_text("not an image")
    assert message in cli("demo", *args, expect=MISTAKE).stderr
