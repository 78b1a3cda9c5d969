"""Hypothesis profiles, and the fixture that runs Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    deadline=None,
    max_examples=40,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def run_python():
    """Run code, or ``-m`` and a module, in a new interpreter; return the completed process."""

    def run(code=None, *, args=(), env=None, cwd=None, timeout=60, check=True):
        command = [sys.executable, *(["-c", textwrap.dedent(code)] if code else []), *args]
        done = subprocess.run(
            command,
            env=os.environ | (env or {}),
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
        )
        if check:
            assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
