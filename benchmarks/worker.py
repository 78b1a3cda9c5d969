"""One process per solver, so that a time limit can stop it and its memory is its own."""

from __future__ import annotations

import contextlib
import importlib
import math
import multiprocessing
import os
import re
import time
import traceback
import warnings
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .cases import Build
from .peers import MODULES, PEERS, Options, check

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OT_FAST_NUM_THREADS",
)
# Where they are installed, POT imports every array library it knows, which takes seconds.
POT_VARIABLES = [f"POT_BACKEND_DISABLE_{name}" for name in ("JAX", "PYTORCH", "CUPY", "TENSORFLOW")]


@dataclass
class Reply:
    """What one solve gave; ``status`` is "ok" only where the recomputed error meets ``tol``."""

    status: str
    seconds: float = math.nan
    n_iter: int | None = None
    error: float = math.nan
    cost: float = math.nan
    peak_bytes: int | None = None
    setting: float = math.nan
    extra: dict[str, Any] = field(default_factory=dict)

    def judged(self, tol: float) -> Reply:
        if self.status != "ok" or self.error <= tol:
            return self
        return replace(self, status="failed")


def _memory(pid: int | str, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", text)[1])


def _serve(connection: Connection, peer_name: str, threads: int) -> None:
    """Loop of the worker process."""
    # XLA sizes its pool from the affinity mask and from nothing else.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    warnings.simplefilter("ignore")
    peer = PEERS[peer_name]
    importlib.import_module(MODULES[peer.package])
    key, case, data = None, None, None
    while True:
        try:
            build, options, checked = connection.recv()
        except EOFError:
            return
        try:
            if key != repr(build):
                case = data = None
                case = build()
                data = peer.prepare(case)
                key = repr(build)
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
            before = _memory("self", "VmRSS")
            connection.send(before)
            start = time.perf_counter()
            answer = peer.solve(data, case, options)
            seconds = time.perf_counter() - start
            connection.send("solved")
            reply = Reply("ok", seconds, answer.n_iter, extra=answer.extra)
            reply.peak_bytes = _memory("self", "VmHWM") - before
            if checked:
                reply.error, reply.cost = check(case, answer, threads)
                if not math.isfinite(reply.error):
                    reply.status = "failed"
            del answer
        except Exception as error:
            reply = Reply(f"{type(error).__name__}: {error}"[:200])
            reply.extra["traceback"] = traceback.format_exc()
        connection.send(reply)


class Worker:
    """A process that runs one peer; started on first use, killed at a time limit."""

    def __init__(self, peer_name: str, threads: int):
        self.peer = PEERS[peer_name]
        self.threads = threads
        self._process: multiprocessing.process.BaseProcess | None = None

    def _start(self) -> None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        os.environ.update(dict.fromkeys(POT_VARIABLES, "1"))
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child, self.peer.name, self.threads), daemon=True
        )
        self._process.start()
        child.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None

    def solve(
        self,
        build: Build,
        setting: float,
        *,
        max_iter: int = 10**6,
        limit: float = 60.0,
        plan: bool = False,
        checked: bool = True,
    ) -> Reply:
        """One solve of ``build()``, killed after ``limit`` seconds; its check has no limit."""
        if self._process is None:
            self._start()
        try:
            options = Options(setting, max_iter, self.threads, plan)
            self._connection.send((build, options, checked))
            event = self._connection.recv()  # a reply at once: the case could not be built
            if isinstance(event, int):
                if not self._connection.poll(limit + self.peer.grace):
                    return self._over_limit(limit, event)
                event = self._connection.recv()
            reply = event if isinstance(event, Reply) else self._connection.recv()
        except (EOFError, ConnectionError):
            self.close()
            return Reply("killed (out of memory?)", setting=setting)
        reply.setting = setting
        return reply

    def _over_limit(self, limit: float, before: int) -> Reply:
        peak = None
        with contextlib.suppress(OSError):
            peak = _memory(self._process.pid, "VmHWM") - before
        self.close()
        return Reply("over limit", limit, peak_bytes=peak)

    def calibrate(self, build: Build, tol: float, limit: float, plan: bool) -> Reply:
        """The loosest stopping value found that meets ``tol``; the last reply, judged."""
        setting, last, stuck, peak = tol, math.inf, 0, 0
        while True:
            reply = self.solve(build, setting, limit=limit, plan=plan).judged(tol)
            # Later solves find memory that earlier ones did not give back: the first one counts.
            reply.peak_bytes = peak = max(peak, reply.peak_bytes or 0)
            # An iterative solver may test its error seldom: one repeat of the same is no proof.
            stuck = stuck + 1 if reply.error >= 0.9 * last else 0
            if reply.status != "failed" or math.isnan(reply.error) or stuck == 5:
                return reply
            setting *= 0.4 if stuck else min(0.5, 0.7 * tol / reply.error)
            last = reply.error
