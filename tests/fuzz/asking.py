"""Asking the tool about a mutant: what it may answer, and what would be a fault."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import typer.main

from nnw_onnx.cli.main import main
from nnw_onnx.errors import NnwError
from nnw_onnx.inference import IsolatedPool

from .models import SECRET
from .mutants import SLOWEST
from .watching import Watch

WATCH = Watch()
# Typer makes all commands anew for each command line, which takes longer than most answers.
typer.main.get_command = functools.cache(typer.main.get_command)
MEMORY = 1 << 30
SECONDS = 4.0
"""What a network may take that is run: enough for any that ends."""
_FAULTS = re.compile(
    r"internal error|Traceback|\(nnw-onnx [\w.+]*\): [^:]*: expected an answer, got"
)


@dataclass
class Case:
    """One mutant, what was asked about it, and what was wrong with the answers.

    Attributes:
        folder: `case` with the mutant, `out` for what is written, `tmp`, and `outside`.
        answers: what was asked and how it ended -> how often.
        faults: one line for each thing that must not be.
        slowest: seconds of CPU of the slowest answer.
        free: further folders that may be written to.
        before: what lay around it when the first answer was asked for.
    """

    folder: Path
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    free: tuple[Path, ...] = ()
    before: dict[str, tuple[int, int]] | None = None

    @property
    def out(self) -> Path:
        """Where answers may be written."""
        return self.folder / "out"

    def nnw(self, *words: str | Path) -> None:
        """Ask by a command line."""
        spoken = [str(word) for word in words]

        def ask() -> str:
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(spoken)
            self._judge(spoken, status, out.getvalue() + err.getvalue())
            return ("yes", "no", "refused")[status]

        self._timed(spoken[0], ask)

    def call(self, what: str, ask: Callable[[], object]) -> None:
        """Ask by a call."""

        def answer() -> str:
            try:
                ask()
            except NnwError as error:
                self._judge([what], 2, f"nnw: error: {error}\n")
                return "refused"
            return "yes"

        self._timed(what, answer)

    def _timed(self, what: str, ask: Callable[[], str]) -> None:
        if self.before is None:
            self.before = self._surroundings()
        began = time.process_time()
        try:
            with WATCH.within(self.out, self.folder / "tmp", *self.free) as seen:
                ended = ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not have been raised
            ended = "raised"
            self.faults.append(f"{what}: {type(error).__name__}: {ascii(str(error))[:300]}")
        took = time.process_time() - began
        self.faults += [f"{what}: {line}" for line in seen]
        self.answers[what, ended] += 1
        self.slowest = max(self.slowest, took)
        if took > SLOWEST:
            self.faults.append(f"{what}: {took:.0f} s of processor time")

    def _judge(self, words: Sequence[str], status: int, told: str) -> None:
        lines = told.split("\n")
        if status not in (0, 1, 2):
            self.faults.append(f"{words}: exit status {status}")
        if _FAULTS.search(told):
            self.faults.append(f"{words[0]}: {ascii(told.strip())[-400:]}")
        if not all(line.isprintable() for line in lines):
            self.faults.append(f"{words[0]}: tells what is not harmless: {ascii(told)[:300]}")
        if status == 2 and not any(line.startswith("nnw: error: ") for line in lines):
            self.faults.append(f"{words[0]}: ends with 2 and no line: {ascii(told)[:300]}")

    def _surroundings(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of everything around but what may be written."""
        every = [p for part in ("case", "outside") for p in (self.folder / part).rglob("*")]
        fixed = [p for p in every if not any(p.is_relative_to(free) for free in self.free)]
        seen = [(str(p.relative_to(self.folder)), p.lstat()) for p in fixed]
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in seen}

    def finish(self) -> None:
        """Look at what was written, and at what should be as it was."""
        before = self.before or {}
        if (now := self._surroundings()) != before:
            changed = {k for k in before.keys() | now.keys() if before.get(k) != now.get(k)}
            self.faults.append(f"changed outside: {sorted(changed)!a}")
        for path in self.out.rglob("*"):
            if path.is_symlink() or not path.is_file():
                if not path.is_dir():
                    self.faults.append(f"written: {path.name!a}, which is no file")
            elif path.stat().st_size < 1 << 24 and SECRET[:200] in path.read_bytes():
                self.faults.append(f"written: {path.name!a} with what lies outside")


@dataclass
class Runner:
    """Runs networks in a process of its own, with limits, as the tool does."""

    pool: IsolatedPool | None = None

    def run(self, case: Case, path: Path) -> None:
        """Run one, which may crash or hang or take any memory: there."""
        from nnw_onnx.graph import open_network
        from nnw_onnx.inference import unwrap

        def ask() -> object:
            if self.pool is None:
                self.pool = IsolatedPool(1, SECONDS, MEMORY)
            network = open_network(path)
            item = network.runnable(), network.inputs
            return unwrap(next(self.pool.map(answers, [item])))

        case.call("run", ask)

    def stop(self) -> None:
        """End the process."""
        if self.pool is not None:
            self.pool.stop()


def answers(item: object) -> int:
    """In the worker: what a network answers to drawn inputs, in numbers."""
    from nnw_onnx.inference import Session

    runnable, inputs = item  # type: ignore[misc]
    rng = np.random.Generator(np.random.PCG64(0))
    feeds = {info.name: np.asarray(rng.random(_bounded(info.shape)) * 4) for info in inputs}
    return sum(v.size for v in Session(runnable).predict(feeds, 4).values())


def _bounded(shape: Sequence[int | str | None]) -> list[int]:
    # What is fed is this test's affair: a network can ask for more than any machine has.
    sizes = [n if isinstance(n, int) else 2 for n in shape]
    return sizes if math.prod(sizes) <= 1 << 22 else [min(n, 2) for n in sizes]


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Case]:
    """An empty place for one mutant."""
    import shutil

    for part in ("case", "out"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "outside").mkdir(exist_ok=True)
    secret = folder / "outside" / "w.bin"
    if not secret.exists():
        secret.write_bytes((SECRET * 20)[:16384])
    yield Case(folder)
