"""Fuzzing at length: python -m tests.fuzz.campaign --models 20000 --files 5000.

Mutants have numbers, which are their seeds: --first N --models 1 tries one again. Each is tried in
a process that may crash, hang or run out of memory, which would be a fault of the tool.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from .mutants import SLOWEST

DATA = 4 << 30
"""Bytes of private memory of the process that tries mutants."""
PATIENCE = 3 * SLOWEST
MOST_DEATHS = 40
"""Processes that may end before all is called off."""


def tried(kind: str, numbers: range, folder: Path, more: tuple[Path, ...], end: Connection) -> None:
    """In the process: one message before each mutant, and one after it."""
    import resource

    os.environ["NNW_CACHE"], tempfile.tempdir = str(folder / "tmp"), str(folder / "tmp")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA, DATA))
    from .trying import Trier

    with Trier(kind, folder, more) as trier:
        for number in numbers:
            end.send((number, None))
            case = trier.try_one(number)
            end.send((number, (dict(case.answers), case.faults, case.slowest)))
    end.send((numbers.stop, "done"))


@dataclass
class Tally:
    """What came out."""

    mutants: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    memory: int = 0
    deaths: int = 0

    def add(self, name: str, told: tuple[dict[Any, int], list[str], float]) -> None:
        """One mutant that was tried to the end."""
        answers, faults, slowest = told
        self.mutants += 1
        self.answers.update(answers)
        self.faults += [f"{name}: {fault}" for fault in faults]
        self.slowest = max(self.slowest, (slowest, name))

    def fault(self, name: str, what: str) -> None:
        """One that took the process with it."""
        self.mutants, self.deaths = self.mutants + 1, self.deaths + 1
        self.faults.append(f"{name}: {what}")
        print(f"FAULT {name}: {what}", flush=True)


def campaign(kind: str, numbers: range, more: tuple[Path, ...], tally: Tally) -> None:
    """Try all of a kind, in one process after another."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="nnw-fuzz-") as name:
        place = Path(name)
        (place / "tmp").mkdir()
        while numbers and tally.deaths < MOST_DEATHS:
            ours, theirs = context.Pipe(duplex=False)
            # A fresh process now and then: what leaks in thousands of mutants is no mutant's fault.
            some = numbers[:1500]
            process = context.Process(target=tried, args=(kind, some, place, more, theirs))
            process.start()
            theirs.close()
            done = followed(kind, process, ours, tally)
            numbers = range(
                max(numbers.start + 1 if done is None else done, numbers.start), numbers.stop
            )


def followed(kind: str, process: Any, ours: Connection, tally: Tally) -> int | None:
    """The number to go on with; None where nothing began."""
    now, seen = None, psutil.Process(process.pid)
    began, shown = 0.0, time.monotonic()
    try:
        while True:
            if not ours.poll(1):
                if now is not None and cpu(seen) - began > PATIENCE:
                    raise TimeoutError
                continue
            now, told = ours.recv()
            if told == "done":
                return now
            if told is None:
                began = cpu(seen)
                continue
            tally.add(f"{kind} {now}", told)
            for fault in told[1]:
                print(f"FAULT {kind} {now}: {fault}", flush=True)
            tally.memory = max(tally.memory, seen.memory_info().rss)
            if time.monotonic() - shown > 60:
                shown = time.monotonic()
                print(f"... {tally.mutants} mutants, {len(tally.faults)} faults", flush=True)
    except (EOFError, TimeoutError, psutil.NoSuchProcess) as error:
        hung = isinstance(error, TimeoutError)
        process.kill() if hung else None
        process.join()
        if now is not None:
            tally.fault(
                f"{kind} {now}", "hangs" if hung else f"ends the process: {process.exitcode}"
            )
        return None if now is None else now + 1
    finally:
        process.kill()
        process.join()


def cpu(process: psutil.Process) -> float:
    """Seconds of processor time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def show(kind: str, tally: Tally) -> None:
    """Print what came out, by what was asked."""
    asked = sorted({what for what, _ in tally.answers})
    ends = ("yes", "no", "refused", "raised")
    print(f"\n{tally.mutants} mutants ({kind}), {len(tally.faults)} faults; slowest answer "
          f"{tally.slowest[0]:.1f} s of processor time ({tally.slowest[1]}); at most "
          f"{tally.memory >> 20} MiB")  # fmt: skip
    print(f"{'asked':<24}" + "".join(f"{end:>10}" for end in ends))
    for what in asked:
        print(f"{what:<24}" + "".join(f"{tally.answers[what, end]:>10}" for end in ends))


def main() -> int:
    """Status 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=0, help="mutants of models")
    parser.add_argument("--files", type=int, default=0, help="mutants of other files")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--kind", default="", help="of other files: only this one")
    parser.add_argument("--out", type=Path, help="write the counts there, as JSON")
    parser.add_argument("more", nargs="*", type=Path, help="further models to make mutants of")
    given = parser.parse_args()
    from .trying import FILES

    kinds = {"model": given.models}
    chosen = [given.kind] if given.kind else list(FILES)
    kinds |= {kind: -(-given.files // len(chosen)) for kind in chosen}
    told, faults = {}, 0
    for kind, count in kinds.items():
        if count:
            tally = Tally()
            began = time.monotonic()
            campaign(kind, range(given.first, given.first + count), tuple(given.more), tally)
            show(f"{kind}, {time.monotonic() - began:.0f} s", tally)
            faults += len(tally.faults)
            answers = {" ".join(key): count for key, count in tally.answers.items()}
            told[kind] = {"mutants": tally.mutants, "faults": tally.faults, "answers": answers}
    if given.out:
        given.out.write_text(json.dumps(told, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
