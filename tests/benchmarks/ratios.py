"""What a benchmark says: a figure of ours over that of a named baseline, measured in one run.

Every `bench_*.py` with a function `ratios()` is a part of the table that this prints:

    python tests/benchmarks/ratios.py [NAME ...]

NAME is that of a benchmark without "bench_"; without one all are run. Processor time is that of
this process and of the children that it waited for.
"""

from __future__ import annotations

import importlib.util
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ratio:
    """One line of the table.

    Attributes:
        what: was measured.
        ours: the figure of nnw-onnx.
        baseline: name of what it is held against.
        theirs: the figure of the baseline, from the same run.
        unit: of both figures; "s" is of the processor.
        asked: the most that `ours / theirs` should be, or None where nothing is asked.
    """

    what: str
    ours: float
    baseline: str
    theirs: float
    unit: str = "s"
    asked: float | None = None

    @property
    def value(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    def __str__(self) -> str:
        wanted = "" if self.asked is None else f"<= {self.asked:g}"
        verdict = "" if self.asked is None else ("yes" if self.value <= self.asked else "NO")
        return (
            f"{self.what:58.58} {self.ours:10.4g} {self.unit:5} {self.baseline:34.34} "
            f"{self.theirs:10.4g} {self.value:8.3f} {wanted:>8} {verdict}"
        )


def busy(call: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes, those of its finished children included."""
    before = _busy()
    call()
    return _busy() - before


def show(ratios: Iterable[Ratio]) -> None:
    """Print a line for each, as soon as it is known."""
    for ratio in ratios:
        print(ratio, flush=True)


def benchmarks(names: Iterable[str] = ()) -> Iterator[Ratio]:
    """The lines of the benchmarks named, or of all."""
    here = Path(__file__).parent
    wanted = [here / f"bench_{name}.py" for name in names] or sorted(here.glob("bench_*.py"))
    for path in wanted:
        if "def ratios(" in path.read_text():
            yield from _module(path).ratios()


def _module(path: Path):  # a module of its own functions
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _busy() -> float:
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


if __name__ == "__main__":
    # Benchmarks import this file by its name.
    sys.modules["ratios"] = sys.modules[__name__]
    show(benchmarks(sys.argv[1:]))
