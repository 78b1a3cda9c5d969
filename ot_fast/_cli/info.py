"""``python -m ot_fast info``: what this installation can use."""

from __future__ import annotations

import argparse
import json
from typing import Any

import ot_fast as otf


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("info", help="say what this installation can use")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    facts = otf.info()
    if arguments.json:
        print(json.dumps(facts, indent=2, default=str))
        return 0
    cuda = facts["cuda"]
    lines = {
        "version": facts["version"],
        "ISA": f"{facts['isa']} (built: {', '.join(facts['isa_built'])})",
        "threads": facts["threads"],
        "CUDA": "present" if cuda["present"] else "not present",
        "arrays": ", ".join(f"{name} {version}" for name, version in facts["arrays"].items()),
    }
    if cuda["reason"]:
        lines["CUDA"] += f": {cuda['reason']}"
    for name, text in lines.items():
        print(f"{name:<10}{text}")
    return 0
