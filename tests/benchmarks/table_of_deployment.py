"""Methods x deployment transformations; a program.

    python -m tests.benchmarks.table_of_deployment FOLDER_OF_SHARED_DATA [NETWORK ...]

On residual networks that other people trained and on one of the project's, marked by every method
that needs no training (on ResNet-56 by a few). For each transformation: the largest change of an
answer over the largest answer and the accuracy, of the network marked by the first method. For each
method: wrong Symbols of 64 and the decision at 1e-6, without a reference, and where a Symbol is
wrong then with the unmarked network as reference.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import InjectionError, NnwError, NotApplicableError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Session
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.runs import resync
from nnw_onnx.vocabulary import Array, Dataset, Method, Payload, Samples, Spec

from ..modifications.deployed import ALL, apply, difference, name_of  # noqa: TID252 - see tests
from ..runs.resnets import pictures, residual_network  # noqa: TID252 - shared with tests
from .table_of_preserving import static_methods

LEVEL = 1e-6
SHOWN = 1000
"""Pictures of the test set that each network is shown."""
HEADER = f"""\
Marks after deployment transformations: wrong Symbols of 64 (? where no layer fits) and the decision
at {LEVEL:g}, y or n; where a Symbol is wrong, > the same with the unmarked network as reference. No
number of Symbols stands where a method only says that it is there, "-" where a transformation does
not apply, "." where it was not tried. Change and accuracy are of the network marked by the first
method, on {SHOWN} test pictures, or all. Made by

    python -m tests.benchmarks.table_of_deployment FOLDER_OF_SHARED_DATA"""
PAYLOAD = Payload.from_bits("110" * 21 + "1")
"""Of 64 bits, two thirds ones, fixed before any key."""
TRANSFORMATIONS = (("none", {}), *ALL)
FEW = tuple(map(Spec, ("block-spread", "uchida", "st-dm", "spread-spectrum", "greedy-residuals")))
"""Methods for a network on which everything takes long."""


@dataclass(frozen=True)
class Subject:
    """A network, pictures to calibrate with and to show it, and the methods that mark it.

    Those of `exported` are tried with re-export, which takes longest.
    """

    network: OnnxNetwork
    train: Samples
    test: Samples
    methods: tuple[Spec, ...]
    exported: tuple[Spec, ...]


@dataclass
class Seen:
    """What transformations made of the answers of one network, or why they do not apply."""

    words: dict[str, str] = field(default_factory=dict)
    before: Array | None = None


def subjects(shared_data: Path, folder: Path) -> Mapping[str, Callable[[], Subject]]:
    """Name -> what is tried."""
    models = Path(__file__).parents[2] / "models"
    every = static_methods()

    def residual(name: str, methods: tuple[Spec, ...]) -> Subject:
        network = nnw.open(residual_network(shared_data, name, folder / f"{name}.onnx"))
        train, test = (pictures(shared_data, split) for split in ("train", "test"))
        return Subject(network, train, test, methods, FEW)

    def digits() -> Subject:
        options = {"preprocessing": Preprocessing(scale=0.0625)}
        data = plugins.create(Dataset, Spec("digits", options))
        network = nnw.open(models / "digits" / "cnn-0.onnx")
        train, test = (data.load(split).fitted(network.inputs) for split in ("train", "test"))
        return Subject(network, train, test, every, every)

    return {
        "digits/cnn-0": digits,
        "resnet20": lambda: residual("resnet20", every),
        "resnet56": lambda: residual("resnet56", FEW),
    }


def answers(network: OnnxNetwork, samples: Samples) -> Array:
    """What a network answers to the first samples."""
    count = min(SHOWN, len(samples))
    feeds = samples.fitted(network.inputs).read(np.arange(count)).feeds
    return next(iter(Session(network.runnable()).predict(feeds).values()))


def told(network: OnnxNetwork, given: nnw.Injection, reference: OnnxNetwork | None) -> str:
    """Wrong Symbols and the decision."""
    verdict = nnw.verify(network, given.claim, reference=reference, false_positive_rate=LEVEL)
    errors = "?" if verdict.errors is None else str(verdict.errors)
    return f"{errors if given.payload else ''}{'y' if verdict else 'n'}"


def cell(network: OnnxNetwork, given: nnw.Injection, reference: OnnxNetwork) -> str:
    """The same, and with a reference where a Symbol is wrong and the method takes one."""
    alone = told(network, given, None)
    whole = alone in ("0y", "y")
    if whole or resync.refusal(plugins.method_of(given.claim.key)):
        return alone
    return f"{alone}>{told(network, given, reference)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared_data", type=Path)
    parser.add_argument("networks", nargs="*")
    options = parser.parse_args()
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for name, made in subjects(options.shared_data, Path(folder)).items():
            if name in (options.networks or [name]):
                for line in _table(name, made()):
                    print(line.rstrip(), flush=True)


def _table(name: str, subject: Subject) -> Iterator[str]:
    seen = Seen()
    yield f"\n{name}: marks, by the numbers of transformations below"
    yield _row("method", *map(str, range(len(TRANSFORMATIONS))))
    for spec in subject.methods:
        yield _row(_title(spec), *_cells(subject, spec, seen))
    yield f"\n{name}: answers"
    yield f"   {'transformation':40}{'change':10}accuracy"
    for number, pair in enumerate(TRANSFORMATIONS):
        yield f"{number:2} {name_of(pair):40}{seen.words[name_of(pair)]}"


def _row(head: str, *cells: str) -> str:
    return head.ljust(18) + "".join(one.ljust(8) for one in cells)


def _title(spec: Spec) -> str:
    return " ".join([spec.name, *(f"({value})" for value in spec.options.values())])


def _cells(subject: Subject, spec: Spec, seen: Seen) -> Iterator[str]:
    method = plugins.create(Method, spec)
    payload = PAYLOAD if method.alphabet else Payload(())
    try:
        given = nnw.inject(subject.network, payload, method=spec.name, options=spec.options, seed=1)
    except InjectionError as error:
        yield str(error)
        return
    for pair in TRANSFORMATIONS:
        if pair[0] == "re-export" and spec not in subject.exported:
            yield "."
            continue
        done = _transformed(given.network, pair, subject, seen)
        yield "-" if done is None else cell(done, given, subject.network)


def _transformed(
    network: OnnxNetwork, pair: tuple[str, dict[str, object]], subject: Subject, seen: Seen
) -> OnnxNetwork | None:
    """The network after a transformation, seen where it is the first; None where it cannot be."""
    name, options = pair
    try:
        done = network if name == "none" else apply(network, name, subject.train, **options)
    except NnwError as error:
        kind = "not applicable" if isinstance(error, NotApplicableError) else "failed"
        seen.words.setdefault(name_of(pair), f"{kind}: {error}")
        return None
    if name_of(pair) not in seen.words:
        seen.words[name_of(pair)] = _answered(done, subject, seen)
    return done


def _answered(network: OnnxNetwork, subject: Subject, seen: Seen) -> str:
    """The largest change of an answer and the accuracy; the first network is what others change."""
    found = answers(network, subject.test)
    seen.before = found if seen.before is None else seen.before
    classes = subject.test.read(np.arange(len(found))).targets
    change = f"{difference(seen.before, found):.1e}"
    return f"{change:10}{np.mean(found.argmax(1) == classes):.1%}"


if __name__ == "__main__":
    main()
