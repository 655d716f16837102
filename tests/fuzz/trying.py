"""What is asked about each kind of mutant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np

import nnw_onnx as nnw
from nnw_onnx.errors import NnwError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.vocabulary import Payload

from .asking import Case, Runner, prepared
from .files import FILES
from .models import DIGITS, mutant
from .mutants import rounds

METHODS = ("block-spread", "uchida", "few", "lsb", "levels", "invariants", "constant-weight",
           "kakikura", "fragile", "st-dm", "passports", "emmark")  # fmt: skip
Changed: TypeAlias = tuple[str, str | None]
MODIFICATIONS: tuple[Changed, ...] = (
    ("gaussian-noise", "0.1"), ("l1-pruning", "50%"), ("quantizing", "4 bits"),
    ("random-pruning", "20%"), ("permutation", None), ("scaling", None), ("bn-folding", None),
    ("bfloat16", None), ("constants-to-initializers", None), ("initializers-to-constants", None),
    ("dropped-names", None), ("external-data", None), ("dummy-neurons", None),
    ("sign-flips", None), ("low-rank", "50%"), ("mixed-bases", None), ("mixing-layers", None),
    ("structured-pruning", "10%"), ("grid-noise", None), ("merging", None), ("low-bits", None),
)  # fmt: skip


class Trier:
    """Makes mutants of one kind and asks about them."""

    def __init__(
        self, kind: str, folder: Path, more: tuple[Path, ...] = (), *, runs: bool = True
    ) -> None:
        self.kind, self.folder, self.more, self.runs = kind, folder, more, runs
        self.runner = Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.runner.stop()

    @cached_property
    def keys(self) -> tuple[Path, ...]:
        """Keys of marks in a network of the package, one that reads weights for each method."""
        found = []
        (self.folder / "keys").mkdir(exist_ok=True)
        for method in ("block-spread", "uchida", "fragile"):
            path = self.folder / "keys" / f"{method}.npz"
            if not path.exists():
                payload = "" if method == "fragile" else "own"
                nnw.save_key(nnw.inject(DIGITS, payload, method=method, seed=1).claim, path)
            found.append(path)
        return tuple(found)

    @staticmethod
    def numbers(few: int) -> Iterator[int]:
        """Of mutants: a few, or as many as there is time for."""
        for number, _ in enumerate(rounds(few, seed=0)):
            yield number

    def try_one(self, number: int) -> Case:
        """Make the mutant of this number and ask everything."""
        rng = np.random.Generator(np.random.PCG64([list(KINDS).index(self.kind), number]))
        with prepared(self.folder) as case:
            if self.kind == "model":
                models(self, case, rng, number)
            else:
                FILES[self.kind](case, rng, number)
            case.finish()
        return case


def models(trier: Trier, case: Case, rng: np.random.Generator, number: int) -> None:
    """Open and list, detect, inject, modify: one in five by command lines; one in four is run."""
    path = mutant(rng, case.folder / "case", trier.more)
    key = trier.keys[rng.integers(len(trier.keys))]
    method = METHODS[_often_first(len(METHODS), rng)]
    changed = MODIFICATIONS[rng.integers(len(MODIFICATIONS))]
    if number % 5 == 0:
        by_commands(case, path, key, method, changed)
    else:
        by_calls(case, path, key, method, changed)
    if trier.runs and number % 4 == 0:
        trier.runner.run(case, path)


def by_commands(case: Case, path: Path, key: Path, method: str, changed: Changed) -> None:
    """What a person does at a terminal."""
    name, intensity = changed
    case.nnw("layers", path)
    case.nnw("layers", path, "--format", "json")
    case.nnw("detect", path, "--key", key, "--no-run")
    written = ["-o", case.out / "o.onnx", "--key-out", case.out / "k.npz"]
    case.nnw("inject", path, *written, "--payload-bits", "8", "--method", method)
    much = [] if intensity is None else ["--intensity", intensity]
    case.nnw("modify", path, "-o", case.out / "m.onnx", "--modification", name, *much)


def by_calls(case: Case, path: Path, key: Path, method: str, changed: Changed) -> None:
    """What a program does with a network that it has opened once."""
    opened: list[OnnxNetwork] = []
    case.call("open", lambda: opened.append(read_whole(path)))
    for network in opened:
        case.call("verify", lambda network=network: nnw.verify(network, nnw.load_key(key)))
        case.call("embed", lambda network=network: marked(network, case.out, method))
        case.call("change", lambda network=network: modified(network, case.out, *changed))


def read_whole(path: Path) -> OnnxNetwork:
    """All that a network tells of itself."""
    network = open_network(path)
    for name in network.weights:
        with contextlib.suppress(NnwError):
            _ = network.weights[name].shape
    _ = network.inputs, network.outputs, network.opset, network.producer, network.card
    _ = network.last_operators, network.digest, network.warnings, network.no_weights_reason
    _ = network.hidden_axes, network.coverage(), network.copies
    network.runnable()
    return network


def marked(network: OnnxNetwork, out: Path, method: str) -> None:
    """Put a mark in, save all, and read it back."""
    payload = "" if method in ("kakikura", "fragile") else Payload.from_bits("01100101")
    made = nnw.inject(network, payload, method=method, seed=1)
    made.network.save(out / "o.onnx")
    nnw.save_key(made.claim, out / "k.npz")
    nnw.verify(out / "o.onnx", made.claim)


def modified(network: OnnxNetwork, out: Path, name: str, intensity: str | None) -> None:
    """Change it, save it, and read it back."""
    nnw.modify(network, name, intensity).network.save(out / "m.onnx")
    _ = open_network(out / "m.onnx").layers


def _often_first(count: int, rng: np.random.Generator) -> int:
    return 0 if rng.random() < 0.5 else int(rng.integers(count))


KINDS = ("model", *FILES)
