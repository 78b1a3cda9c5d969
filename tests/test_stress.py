"""A short run of the stress program: every drawn case is right, or flagged with a true reason."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_a_short_run(run_python):
    pytest.importorskip("ot")
    args = ["-m", "tests.stress", "--seed", "11", "--cases", "80", "--seconds", "60"]
    run_python(args=args, cwd=ROOT, timeout=240)
