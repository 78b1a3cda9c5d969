"""Options that every solver takes: the same names, order, meaning and messages."""

from __future__ import annotations

import inspect
import pickle
import warnings

import numpy as np
import pytest

import ot_fast as otf

rng = np.random.default_rng(61)
X, Y, C = rng.random((30, 2)), rng.random((30, 2)) + 1, rng.random((30, 30))
OPTIONS = {
    "tol": None,
    "max_iter": None,
    "init": None,
    "callback": None,
    "threads": None,
    "time_limit": None,
    "on_fail": "warn",
}
# Calls that need more than one pass; the line of the call is that of the lambda.
SOLVERS = {
    "sinkhorn": lambda **o: otf.sinkhorn(None, None, C, 0.01, **o),
    "sinkhorn_path": lambda **o: otf.sinkhorn_path(None, None, C, [0.01], **o),
    "quadratic": lambda **o: otf.quadratic(None, None, C, 0.01, **o),
    "emd": lambda **o: otf.emd(None, None, C, **o),
    "sparsity_constrained": lambda **o: otf.sparsity_constrained(None, None, C, 0.01, 2, **o),
    "sinkhorn_divergence": lambda **o: otf.sinkhorn_divergence(X, Y, reg=0.01, **o),
    "monge_gap": lambda **o: otf.monge_gap(X, Y, reg=0.01, **o),
}
every_solver = pytest.mark.parametrize("name", SOLVERS)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "sinkhorn_path"])
def test_options_come_last_and_in_one_order(name):
    parameters = list(inspect.signature(getattr(otf, name)).parameters.values())
    last = parameters[-len(OPTIONS) :]
    assert {p.name: p.default for p in last} == OPTIONS
    assert [p.name for p in last] == list(OPTIONS)
    assert {p.kind for p in last} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", [*SOLVERS, "entropic_map"])
def test_docstrings_list_the_parameters_in_their_order(name):
    function = getattr(otf, name)
    section = inspect.getdoc(function).split("Parameters\n----------\n")[1].split("\n\nReturns")[0]
    heads = [line.split(" : ")[0] for line in section.splitlines() if line[:1].strip()]
    named = [word.strip(" *") for head in heads for word in head.split(",")]
    assert named == list(inspect.signature(function).parameters)


REJECTED = {
    "tol": [(-1.0, ValueError), (np.nan, ValueError), (10**400, ValueError), ("small", TypeError)],
    "max_iter": [(-1, ValueError), (2**63, ValueError), (1.5, TypeError), (True, TypeError)],
    "init": [("warm", TypeError), ((np.zeros(3), np.zeros(30)), (TypeError, ValueError))],
    "callback": [(3, TypeError)],
    "threads": [(0, ValueError), (2**31, ValueError), (1.5, TypeError)],
    "time_limit": [(0, ValueError), (np.inf, ValueError), ("long", TypeError)],
    "on_fail": [("explode", ValueError), (None, TypeError)],
}


@every_solver
@pytest.mark.parametrize("option", REJECTED)
def test_bad_options_are_named(name, option):
    for value, error in REJECTED[option]:
        with pytest.raises(error, match=f"^{option}"):
            SOLVERS[name](**{option: value})


@every_solver
def test_numpy_scalars_are_options(name):
    options = {"tol": np.float32(0.5), "max_iter": np.int64(50), "threads": np.int32(1)}
    SOLVERS[name](**options, time_limit=np.array(60.0), on_fail="ignore")


@every_solver
def test_a_callback_may_change_its_record(name):
    expected, r = SOLVERS[name](), SOLVERS[name](callback=dict.clear)
    expected, r = ((v[0] if isinstance(v, list) else v) for v in (expected, r))
    assert r.value == expected.value
    one = otf.sinkhorn(None, None, C[:1], 0.1, callback=dict.clear)
    assert len(one.history["reg"]) == 1


# ---- where a solve has not converged -----------------------------------------------------------


def lines_of(function):
    source, first = inspect.getsourcelines(function)
    return range(first, first + len(source))


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [w for w in caught if w.category is otf.ConvergenceWarning]


@every_solver
def test_the_warning_names_the_line_of_the_caller(name):
    (warning,) = warned(lambda: SOLVERS[name](max_iter=1))
    assert warning.filename == __file__
    assert warning.lineno in lines_of(SOLVERS[name])
    assert "max_iter" in str(warning.message)


def test_the_warning_of_a_gradient_names_the_line_of_the_caller():
    r = otf.sinkhorn(None, None, C, 0.01)
    (warning,) = warned(lambda: r.plan_vjp(C, tol=1e-200))
    assert warning.filename == __file__


@pytest.mark.parametrize("layer", ["sinkhorn", "sinkhorn_divergence", "monge_gap"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_the_warning_of_a_layer_names_the_line_of_the_caller(library, layer):
    module = pytest.importorskip(library, reason=f"the {library} extra is not installed")
    layers = __import__(f"ot_fast.{library}", fromlist=[layer])
    tensor = module.as_tensor if library == "torch" else module.numpy.asarray
    points, options = (tensor(X), tensor(Y)), {"reg": 0.01, "max_iter": 1}
    calls = {
        "sinkhorn": lambda: layers.sinkhorn(None, None, tensor(C), 0.01, max_iter=1),
        "sinkhorn_divergence": lambda: layers.sinkhorn_divergence(*points, **options),
        "monge_gap": lambda: layers.monge_gap(*points, **options),
    }
    found = warned(lambda: float(calls[layer]()))  # JAX solves when the value is read
    assert found
    if library == "torch":  # JAX may call back from a thread of its own
        assert {w.filename for w in found} == {__file__}


@every_solver
def test_errors_carry_the_result_and_can_be_pickled(name):
    with pytest.raises(otf.ConvergenceError) as caught:
        SOLVERS[name](max_iter=1, on_fail="raise")
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert error.result.n_iter == caught.value.result.n_iter > 0


# ---- starts ------------------------------------------------------------------------------------


@every_solver
def test_a_result_starts_its_own_solver(name):
    cold = SOLVERS[name]()
    cold = cold[0] if isinstance(cold, list) else cold
    warm = SOLVERS[name](init=cold)
    warm = warm[0] if isinstance(warm, list) else warm
    assert warm.converged
    assert warm.n_iter < cold.n_iter


@pytest.mark.parametrize("first", ["sinkhorn", "quadratic", "sparsity_constrained"])
@pytest.mark.parametrize("then", ["sinkhorn", "quadratic", "sparsity_constrained"])
def test_a_result_of_any_solver_starts_any_other(first, then):
    r = SOLVERS[then](init=SOLVERS[first](), on_fail="ignore")
    cold = SOLVERS[then](on_fail="ignore")
    assert r.converged == cold.converged
    assert r.dual_value == pytest.approx(cold.dual_value, abs=1e-6)


@pytest.mark.parametrize("name", ["sinkhorn", "quadratic"])
@pytest.mark.parametrize("missing", ["f", "g", "both"])
def test_a_start_may_lack_a_potential(name, missing):
    cold = SOLVERS[name]()
    f, g = (None if missing in (v, "both") else getattr(cold, v) for v in "fg")
    warm = SOLVERS[name](init=(f, g))
    assert warm.converged
    assert warm.value == pytest.approx(cold.value, abs=1e-8)
    if missing != "both":
        assert warm.n_iter < cold.n_iter


# ---- options of one method ---------------------------------------------------------------------


def test_options_of_methods_check_themselves():
    for wrong, error, message in (
        (lambda: otf.SNS(steps=-1), ValueError, "^steps must be an integer >= 0; got -1"),
        (lambda: otf.SNS(steps=2.5), TypeError, "^steps must be an integer >= 0; got float"),
        (lambda: otf.SNS(steps=2**63), ValueError, "^steps must be an integer <= "),
        (lambda: otf.SNS(density=0.0), ValueError, "^density must be a finite real .* > 0; got 0"),
        (lambda: otf.SNS(density=1.5), ValueError, r"^density must be a fraction in \(0, 1\]; got"),
        (lambda: otf.Scaling(dtype="float16"), ValueError, "^dtype must be one of .*'float16'"),
    ):
        with pytest.raises(error, match=message):
            wrong()


def test_a_method_is_its_default_options():
    assert otf.SNS(steps=20) == otf.SNS()
    for name, given in (("sns", otf.SNS()), ("scaling", otf.Scaling(dtype="float32"))):
        one, two = (otf.sinkhorn(None, None, C, 0.05, method=m) for m in (name, given))
        assert one.method == two.method == name
        np.testing.assert_array_equal(one.plan, two.plan)


def test_options_of_a_method_change_the_solve():
    passes = {otf.sinkhorn(None, None, C, 0.01, method=otf.SNS(steps=k)).n_iter for k in (20, 60)}
    assert len(passes) == 2
    plans = [
        otf.sinkhorn(None, None, C, 0.01, method=otf.Scaling(dtype=d), tol=1e-4).plan
        for d in ("float32", "float64")
    ]
    assert not np.array_equal(*plans)


def test_a_method_is_a_string_or_its_options():
    with pytest.raises(TypeError, match=r"^method must be .*Scaling.*SNS; got dict"):
        otf.sinkhorn(None, None, C, 0.05, method={"dtype": "float32"})
