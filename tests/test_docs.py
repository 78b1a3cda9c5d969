"""Every example in a docstring or in the README runs and gives what it shows."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import pathlib
import re

import numpy as np
import pytest

import ot_fast as otf

README = pathlib.Path(__file__).parents[1] / "README.md"
PUBLIC = {name: getattr(otf, name) for name in otf.__all__}


def examples():
    finder, seen = doctest.DocTestFinder(exclude_empty=True), {}
    for value in [otf, *PUBLIC.values()]:
        if inspect.ismodule(value) or callable(value):
            name = getattr(value, "__qualname__", value.__name__)
            module = value if inspect.ismodule(value) else inspect.getmodule(value)
            for found in finder.find(value, name, module=module, globs={"otf": otf, "np": np}):
                if found.examples:
                    seen[found.name] = found
    return seen


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring(name):
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    result = runner.run(EXAMPLES[name], out=report.write)
    assert result.attempted
    assert not result.failed, report.getvalue()


@pytest.mark.parametrize("name", ["sinkhorn", "PointCloud", "info"])
def test_the_main_names_have_an_example(name):
    assert any(found.split(".")[0] == name for found in EXAMPLES)


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_has_a_docstring(name):
    value = PUBLIC[name]
    if callable(value):
        assert inspect.getdoc(value)
        own = inspect.getmembers(value, lambda v: inspect.isfunction(v) or isinstance(v, property))
        for member, attribute in own if inspect.isclass(value) else []:
            if not member.startswith("_"):
                documented = re.search(rf"\b{member}\b", inspect.getdoc(value))
                assert documented or inspect.getdoc(attribute), f"{name}.{member}"


@pytest.mark.parametrize("name", ["a", "b", "C", "reg", "tol", "max_iter", "init", "on_fail"])
def test_sinkhorn_documents_its_parameters(name):
    assert re.search(rf"^\s*\w*,?\s*{name}\b.*:", inspect.getdoc(otf.sinkhorn), re.MULTILINE)


def readme_blocks():
    return re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_readme_code_runs(tmp_path, monkeypatch):
    blocks = readme_blocks()
    assert blocks
    monkeypatch.chdir(tmp_path)  # some blocks save figures
    names = {"__name__": "readme"}
    for block in blocks:  # in one namespace, as a reader would type them
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, "README.md", "exec"), names)
