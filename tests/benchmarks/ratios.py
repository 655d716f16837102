"""What the benchmarks say: figures of ours over those of named baselines, measured in one run.

    python tests/benchmarks/ratios.py [--full] [--json] [NAME ...]

Every `bench_*.py` with a function `ratios()` is a part of the table that this prints; NAME is that
of a benchmark without "bench_", and without one all are run. Each runs in a process of its own, so
that none finds what another has loaded, and one that ends in an error is a line that says so.
`--full` asks those that have several sizes for the largest, which can take an hour. "s" is seconds
of the processor, of a benchmark's process and of the children that it waited for. The exit status
is 0 where every benchmark ran and every ratio is what was asked for, else 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
_FULL = "NNW_BENCHMARKS_FULL"
_PACKAGES = ("nnw-onnx", "numpy", "onnx", "onnxruntime-gpu", "onnxruntime", "torch")
_HEADING = f"{'':46} {'ours':>10} {'':5} {'baseline':31} {'of that':>10} {'ratio':>8} {'asked':>8}"


class NotMeasuredError(Exception):
    """What a benchmark raises where it cannot measure here; its words are the reason."""


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
        """Ours over theirs; infinite over nothing."""
        return self.ours / self.theirs if self.theirs else float("inf")

    @property
    def met(self) -> bool | None:
        """Whether it is what was asked; None where nothing was."""
        return None if self.asked is None else self.value <= self.asked

    def __str__(self) -> str:
        wanted = "" if self.asked is None else f"<= {self.asked:g}"
        verdict = {None: "", True: "yes", False: "NO"}[self.met]
        return (
            f"{self.what:46} {self.ours:10.4g} {self.unit:5} {self.baseline:31} "
            f"{self.theirs:10.4g} {self.value:8.3f} {wanted:>8} {verdict}"
        ).rstrip()


@dataclass(frozen=True)
class Benchmark:
    """What became of a benchmark.

    Attributes:
        name: of its file, without "bench_".
        status: "done", "failed" or "not measured".
        reason: why it is not done.
        ratios: what it had said by then.
    """

    name: str
    status: str
    reason: str = ""
    ratios: tuple[Ratio, ...] = ()

    @property
    def fine(self) -> bool:
        """Whether nothing failed and nothing is more than was asked."""
        return self.status != "failed" and all(ratio.met is not False for ratio in self.ratios)


def full() -> bool:
    """Whether the largest sizes are asked for; otherwise a benchmark takes about a minute."""
    return _FULL in os.environ


def busy(call: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes, those of its finished children included."""
    before = _busy()
    call()
    return _busy() - before


def show(ratios: Iterable[Ratio]) -> None:
    """Print a line for each, as soon as it is known."""
    for ratio in ratios:
        print(ratio, flush=True)


def known(folder: Path = HERE) -> list[str]:
    """Names of the benchmarks that have ratios."""
    files = sorted(folder.glob("bench_*.py"))
    return [f.stem.removeprefix("bench_") for f in files if "def ratios(" in f.read_text()]


def module(name: str, folder: Path = HERE) -> ModuleType:
    """A benchmark, imported."""
    path = folder / f"bench_{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = found
    spec.loader.exec_module(found)
    return found


def carried_out(name: str, tell: Callable[[Ratio], None], folder: Path = HERE) -> Benchmark:
    """Run a benchmark in a process of its own.

    Args:
        name: of the benchmark.
        tell: is told each ratio as soon as it is known.
        folder: where its file lies.
    """
    command = [sys.executable, __file__, "--child", name, str(folder)]
    found: list[Ratio] = []
    said: dict[str, str] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            value = json.loads(line)
            if "status" in value:
                said = value
            else:
                found.append(Ratio(**value))
                tell(found[-1])
    ended = {"status": "failed", "reason": f"its process ended with status {child.returncode}"}
    return Benchmark(name, **(said or ended), ratios=tuple(found))


def machine() -> str:
    """What all this ran on: processor and versions."""
    from nnw_onnx.measures.environment import describe_environment

    cpu = describe_environment({}, {}).cpu
    versions = [f"{name} {found}" for name in _PACKAGES if (found := _version(name))]
    return (
        f"{cpu['model']}, {cpu['logical_cores']} cores; Python "
        f"{sys.version.split()[0]}, {', '.join(versions)}"
    )


def main(arguments: list[str], folder: Path = HERE) -> int:
    """Print the table of the benchmarks in a folder; the exit status."""
    parser = argparse.ArgumentParser(description="Ratios of ours to named baselines.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a benchmark; without one, all")
    parser.add_argument("--full", action="store_true", help="the largest sizes")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = parser.parse_args(arguments)
    if strange := sorted(set(given.names) - set(known(folder))):
        parser.error(f"expected some of {', '.join(known(folder))}; got {', '.join(strange)}")
    if given.full:
        os.environ[_FULL] = "1"
    show_line = (lambda line: None) if given.json else (lambda line: print(line, flush=True))
    show_line(f"{machine()}; {'full' if given.full else 'quick'} sizes\n\n{_HEADING}")
    found = [_told(name, show_line, folder) for name in given.names or known(folder)]
    if given.json:
        print(json.dumps(_described(found, given.full), indent=1))
    return 0 if all(benchmark.fine for benchmark in found) else 1


def _told(name: str, show_line: Callable[[object], None], folder: Path) -> Benchmark:
    show_line(f"\n{name}")
    found = carried_out(name, show_line, folder)
    if found.status != "done":
        show_line(f"{found.status}: {found.reason}")
    return found


def _described(found: Iterable[Benchmark], is_full: bool) -> dict[str, object]:
    benchmarks = [
        {
            **asdict(benchmark),
            "ratios": [asdict(r) | {"ratio": r.value, "met": r.met} for r in benchmark.ratios],
        }
        for benchmark in found
    ]
    return {"machine": machine(), "full": is_full, "benchmarks": benchmarks}


def _child(name: str, folder: Path) -> None:
    """Say each ratio, and how it ended, as lines of JSON; else nothing goes to the output."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for line in _lines(name, folder):
            out.write(json.dumps(line) + "\n")
            out.flush()


def _lines(name: str, folder: Path) -> Iterator[dict[str, object]]:
    try:
        for ratio in module(name, folder).ratios():
            yield asdict(ratio)
    except NotMeasuredError as error:
        yield {"status": "not measured", "reason": str(error)}
    except ModuleNotFoundError as error:
        yield {"status": "not measured", "reason": f"{error.name} is not installed"}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other benchmarks go on
        yield {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    else:
        yield {"status": "done", "reason": ""}


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _busy() -> float:
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


if __name__ == "__main__":
    # Benchmarks import this file by its name.
    sys.modules["ratios"] = sys.modules[__name__]
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
