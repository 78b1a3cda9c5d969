"""What all public solvers share: the same answers at every instruction-set level, the same bits for
any number of threads, warm starts, results that pickle."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
from registry import CASES, DTYPES, NOT_SOLVERS, SOLVERS, Problem, bits, check_close

import ot_fast as otf

HERE = Path(__file__).parent
every_solver = pytest.mark.parametrize("name", SOLVERS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def test_every_public_solver_is_registered():
    public = {name for name in otf.__all__ if inspect.isfunction(getattr(otf, name))}
    assert {solver.function for solver in SOLVERS.values()} == public - NOT_SOLVERS


def test_every_solver_has_a_test_file(run_python):
    files = run_python(args=[HERE / "registry.py", "--tests"]).stdout.split()
    names = {solver.tests for solver in SOLVERS.values()} | {Path(__file__).name}
    assert {Path(file).name for file in files} == names
    for file in files:
        assert "\ndef test_" in Path(file).read_text()


def test_every_instruction_set_gives_the_same_answer(run_python, tmp_path):
    levels = otf.info()["isa_built"]
    assert levels[0] == "baseline"
    usable = levels[: levels.index(otf.info()["isa"]) + 1]
    results = {}
    for level in usable:
        path = tmp_path / f"{level}.npz"
        run_python(args=[HERE / "registry.py", path], env={"OT_FAST_ISA": level}, timeout=120)
        results[level] = dict(np.load(path))
        assert results[level].pop("isa") == level
    assert {tuple(key.split("|")[:3]) for key in results["baseline"]} == {
        (*case, dtype) for case, dtype in itertools.product(CASES, DTYPES)
    }
    for level, (key, expected) in itertools.product(usable, results["baseline"].items()):
        name, _, dtype, _ = key.split("|")
        tol = SOLVERS[name].close[dtype]
        check_close({key: results[level][key]}, {key: expected}, tol, level)


@every_solver
@every_dtype
def test_same_bits_whatever_the_number_of_threads(name, dtype):
    solver = SOLVERS[name]
    for kind in {solver.kinds[0], solver.kinds[-1]}:
        problem = Problem(kind, dtype, shape=(513, 700))
        one, *others = (bits(solver.solve(problem, threads=k), solver) for k in (1, 2, 3, 1))
        for other in others:
            assert other == one


@every_solver
def test_warm_starts_take_fewer_passes(name):
    solver, problem = SOLVERS[name], Problem()
    if not solver.warm:
        pytest.skip("takes no start")
    cold = solver.solve(problem)
    for init in (cold, cold.potentials):
        again = solver.solve(problem, init=init)
        assert again.converged
        assert again.n_iter < cold.n_iter


@pytest.mark.parametrize("name", [k for k, solver in SOLVERS.items() if solver.answer])
def test_results_can_be_copied_and_pickled(name):
    solver = SOLVERS[name]
    result = solver.solve(Problem())
    expected = bits(result, solver)
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert bits(again, solver) == expected
    fresh = pickle.loads(pickle.dumps(solver.solve(Problem())))  # nothing of it was computed
    assert bits(fresh, solver) == expected
