"""Examples in docstrings and in Markdown run; links and paths in Markdown name what exists."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import pathlib
import re
import warnings

import numpy as np
import pytest

import ot_fast as otf

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "csrc/README.md"]
PAGES += [ROOT / "benchmarks/README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


# ---------------------------------------------------------------------------- Markdown

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
FOLDERS = ("csrc", "ot_fast", "tests", "benchmarks", "scripts", "examples")
FILES = {p.name for top in FOLDERS for p in (ROOT / top).rglob("*.*")}
FILES |= {p.name for p in ROOT.iterdir()}
PEERS = ("ott", "geomloss", "torch", "jax")  # not in the test extra
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)*(/|\.\w+)|(csrc|ot_fast|tests|docs)(/[\w.*-]+)+")
PLACEHOLDER = re.compile(r"NAME|FAMILY")  # csrc/NAME/backend.hpp


def blocks(text):
    """The Python code of a page."""
    return [code for language, code in FENCE.findall(text) if language == "python"]


def anchors(text):
    """The anchors that headings get on a site: lower case, no punctuation, hyphens for spaces."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(text, folder):
    """Relative links of a page in `folder` whose file, or whose heading in it, does not exist."""
    for target in LINK.findall(FENCE.sub("", text)):
        name, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        file = folder / name
        if not file.exists():
            yield target
        elif anchor:
            text_there = file.read_text("utf-8") if name else text
            if anchor not in anchors(text_there):
                yield target


def broken_paths(text, folder):
    """Paths in code font that are no file: of the page's folder, the root, or csrc for includes."""
    for span in SPAN.findall(FENCE.sub("", text)):
        if "/" in span:
            named, bases = PATH.fullmatch(span), (folder, ROOT, ROOT / "csrc")
            found = named and any(next(base.glob(span), None) for base in bases)
        else:
            named = re.fullmatch(r"[\w-]+\.(hpp|cpp|cu|cuh|py|sh)", span)
            found = span in FILES
        if named and not found and not PLACEHOLDER.search(span):
            yield span


@pages
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    code = blocks(page.read_text("utf-8"))
    for peer in PEERS:
        if any(
            re.search(rf"^(import|from) {peer}\b|ot_fast\.{peer} as", c, re.MULTILINE) for c in code
        ):
            pytest.importorskip(peer)
    monkeypatch.chdir(tmp_path)  # some blocks save figures
    names = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        if page.name.startswith("from-"):  # warnings of other packages
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", otf.ConvergenceWarning)
        for block in code:  # in one namespace, as a reader would type them
            exec(compile(block, page.name, "exec"), names)


@pages
def test_links_and_paths_exist(page):
    text = page.read_text("utf-8")
    assert not list(broken_links(text, page.parent))
    assert not list(broken_paths(text, page.parent))


def test_broken_links_and_paths_are_found():
    text = """# A b
[x](README.md) [y](#a-b) [z](README.md#nothing) [w](no.md) `csrc/no.hpp` `no.py` `csrc/no/`
`setup.py` `csrc/*/*.hpp` `core/types.hpp` `csrc/NAME/x.hpp` `a/b = c` `a/M` `r.plan`
```
`no/file.hpp`
```
"""
    assert list(broken_links(text, ROOT)) == ["README.md#nothing", "no.md"]
    assert list(broken_paths(text, ROOT)) == ["csrc/no.hpp", "no.py", "csrc/no/"]


def test_every_page_of_the_documentation_is_listed():
    listed = LINK.findall((ROOT / "docs/README.md").read_text("utf-8"))
    assert {p.name for p in (ROOT / "docs").glob("*.md")} - {"README.md"} <= set(listed)


def test_readme_is_short():
    text = README.read_text("utf-8")
    assert len(text.split()) < 900
    assert len(re.findall(r"^!\[", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^\|[-|]+\|$", text, re.MULTILINE)) == 1
    assert "import ot_fast" in "".join(blocks(text))
