"""Methods x attacks that leave every answer, without and with re-synchronisation; a program.

    python -m tests.benchmarks.table_of_preserving FOLDER_OF_SHARED_DATA [NETWORK ...]

On residual networks that other people trained and on two of the project's. For each attack: the
largest change of an answer over the largest answer, and how many predictions stay, of all test
pictures by the unmarked network (of 200 by a ResNet-56, where fewer methods are tried too) and of
100 by every marked one. For each method and attack: wrong Symbols of 64 and the decision at 1e-6 on
the network as it is, then on it put back into the order of the unmarked network.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import InjectionError, NotApplicableError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Session
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.runs import resync
from nnw_onnx.testing import ArrayBench
from nnw_onnx.vocabulary import (
    Array,
    Dataset,
    Injects,
    Method,
    Modification,
    Payload,
    Samples,
    Spec,
)

from ..runs.resnets import pictures, residual_network  # noqa: TID252 - shared with tests
from .preserving_on_models import STEPS

LEVEL = 1e-6
HEADER = f"""\
Marks after attacks that leave every answer, as it is > put back into the order of the unmarked
network: wrong Symbols of 64 (? where no layer fits) and the decision at {LEVEL:g}; "-" where the
graph proves no such attack, or where re-synchronisation is nothing for the method. Made by

    python -m tests.benchmarks.table_of_preserving FOLDER_OF_SHARED_DATA"""
PAYLOAD = Payload.from_bits("110" * 21 + "1")
"""Of 64 bits, two thirds ones, fixed before any key."""
SOME = 100
"""Pictures that every marked network is shown."""
FEWER = {"resnet56": 200}
"""Pictures that an unmarked network is shown where not all of the test set are."""
STACKED = "all stacked"
ATTACKS: Mapping[str, tuple[Spec, ...]] = {
    **{name: (step,) for name, step in STEPS.items()},
    STACKED: tuple(STEPS.values()),
}
FEW = ("block-spread", "st-dm", "uchida")
"""Methods for a network on which everything takes long."""
NETWORKS: Mapping[str, tuple[Spec, ...]] = {
    "digits/cnn-0": (),
    "cifar10/fast-0": (),
    "resnet20": (),
    "resnet56": tuple(map(Spec, FEW)),
}
"""What is marked and attacked -> the methods; all static ones where none is named."""
STATISTICS = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
"""Of the data that the project's network was trained on."""


@dataclass(frozen=True)
class Subject:
    """A network, and pictures of its test set as it takes them."""

    network: OnnxNetwork
    shown: Array


@dataclass
class Kept:
    """What an attack kept of the answers, so far."""

    change: float = 0.0
    same: int = 0
    shown: int = 0

    def see(self, before: Array, after: Array) -> None:
        """Take in what one network answered before and after."""
        self.change = max(self.change, float(np.abs(after - before).max() / np.abs(before).max()))
        self.same += int((after.argmax(1) == before.argmax(1)).sum())
        self.shown += len(before)

    def add(self, other: Kept) -> None:
        """Take in what it kept of other networks."""
        self.change = max(self.change, other.change)
        self.same, self.shown = self.same + other.same, self.shown + other.shown

    def __str__(self) -> str:
        return f"{self.change:.1e}   {self.same:,} of {self.shown:,}" if self.shown else "-"


def static_methods() -> tuple[Spec, ...]:
    """Every watermark that is put into weights without training, and uchida in the filter mean."""
    kinds = ((name, plugins.load(Method, name)) for name in plugins.names("methods"))
    found = [
        Spec(name)
        for name, kind in kinds
        if issubclass(kind, Injects) and kind.kind == "watermark" and kind.access == "weights"
    ]
    return (*found, Spec("uchida", {"carrier": "mean"}))


@lru_cache(maxsize=1)
def subject_of(name: str, shared_data: Path, folder: Path) -> Subject:
    """What is tried; a residual network is written to the folder first."""
    models = Path(__file__).parents[2] / "models"
    if name.startswith("digits"):
        options = {"preprocessing": Preprocessing(scale=0.0625)}
        samples = plugins.create(Dataset, Spec("digits", options)).load("test")
        return _subject(models / f"{name}.onnx", samples)
    if name.startswith("cifar10"):
        return _subject(models / f"{name}.onnx", pictures(shared_data, "test", **STATISTICS))
    path = residual_network(shared_data, name, folder / f"{name}-{os.getpid()}.onnx")
    return _subject(path, pictures(shared_data, "test"))


def _subject(path: Path, samples: Samples) -> Subject:
    network = nnw.open(path)
    (feed,) = samples.fitted(network.inputs).read(np.arange(len(samples))).feeds.values()
    return Subject(network, feed)


def answers(network: OnnxNetwork, shown: Array) -> Array:
    """What it answers to pictures."""
    (port,) = network.inputs
    return next(iter(Session(network.runnable()).predict({port.name: shown}).values()))


def attacked(network: OnnxNetwork, steps: tuple[Spec, ...]) -> OnnxNetwork | None:
    """The network after those steps that its graph allows; None where it allows none."""
    rng = np.random.Generator(np.random.PCG64(0))
    done: OnnxNetwork | None = None
    for step in steps:
        modification = plugins.create(Modification, step)
        try:
            now = modification.modify(done or network, ArrayBench(), rng).network
        except NotApplicableError:
            continue
        assert isinstance(now, OnnxNetwork)
        done = now
    return done


def cell(network: OnnxNetwork, given: nnw.Injection, reference: OnnxNetwork | None) -> str:
    """Wrong Symbols and the decision."""
    if reference and resync.refusal(plugins.method_of(given.claim.key)):
        return "-"
    verdict = nnw.verify(network, given.claim, reference=reference, false_positive_rate=LEVEL)
    errors = "?" if verdict.errors is None else str(verdict.errors)
    return f"{errors if given.payload else ''} {'yes' if verdict else 'no'}".strip()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared_data", type=Path)
    parser.add_argument("networks", nargs="*")
    options = parser.parse_args()
    print(HEADER)
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool,
    ):
        where = (options.shared_data, Path(folder))
        for name, methods in NETWORKS.items():
            if name in (options.networks or [name]):
                for line in _table(name, methods or static_methods(), where, pool):
                    print(line.rstrip(), flush=True)


def _table(
    name: str, methods: tuple[Spec, ...], where: tuple[Path, Path], pool: Executor
) -> Iterator[str]:
    tried = pool.map(partial(_tried, name, where), (None, *methods))
    _, kept = next(tried)
    yield f"\n{name}: marks, as it is > put back in order"
    yield _row("method", *ATTACKS)
    for spec, (cells, more) in zip(methods, tried, strict=True):
        for one, other in zip(kept, more, strict=True):
            one.add(other)
        yield _row(_title(spec), *cells)
    yield f"\n{name}: answers on test pictures"
    yield f"{'attack':22}largest change   same predictions"
    for attack, found in zip(ATTACKS, kept, strict=True):
        yield f"{attack:22}{found}"


def _row(head: str, *cells: str) -> str:
    return head.ljust(22) + "".join(one.ljust(17) for one in cells)


def _title(spec: Spec) -> str:
    return " ".join([spec.name, *(f"({value})" for value in spec.options.values())])


def _tried(name: str, where: tuple[Path, Path], spec: Spec | None) -> tuple[list[str], list[Kept]]:
    """The cells of a method, and what each attack kept; of the unmarked network without one."""
    subject = subject_of(name, *where)
    kept = [Kept() for _ in ATTACKS]
    if spec is None:
        _show(subject.network, subject.shown[: FEWER.get(name)], kept)
        return [], kept
    return list(_cells(subject, spec, kept)), kept


def _cells(subject: Subject, spec: Spec, kept: Sequence[Kept]) -> Iterator[str]:
    method = plugins.create(Method, spec)
    payload = PAYLOAD if method.alphabet else Payload(())
    try:
        given = nnw.inject(subject.network, payload, method=spec.name, options=spec.options, seed=1)
    except InjectionError as error:
        yield str(error)
        return
    for done in _show(given.network, subject.shown[:SOME], kept):
        if done is None:
            yield "-"
        else:
            yield " > ".join(cell(done, given, of) for of in (None, subject.network))


def _show(network: OnnxNetwork, shown: Array, kept: Sequence[Kept]) -> list[OnnxNetwork | None]:
    """The network after each attack, whose answers are taken in."""
    before, found = answers(network, shown), [attacked(network, s) for s in ATTACKS.values()]
    for one, done in zip(kept, found, strict=True):
        if done is not None:
            one.see(before, answers(done, shown))
    return found


if __name__ == "__main__":
    main()
