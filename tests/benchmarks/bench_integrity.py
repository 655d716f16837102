"""What seals and marks of integrity notice, whether they name the right blocks, and what they cost.

    python tests/benchmarks/bench_integrity.py [FLIPS] [COPIES]

Flips of one bit of any stored value (of any weight that is vouched for), of one weight, of one
layer; quantization, float16 and steps of fine-tuning; and copies written anew, in which nothing may
be noticed. A block is right where it is named if and only if its bytes are others.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "graph"))

import reserialising
from ratios import Ratio, busy, full

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs.integrity import Change
from nnw_onnx.runs.seals import Seal
from nnw_onnx.vocabulary import Payload

MODELS = Path(__file__).resolve().parents[2] / "models"
METHODS = ("fragile", "recoverable", "reversible")
THOROUGH = ("seal", "fragile")
"""Those that are asked ten times as often."""
Block = tuple[str, int, int]


@dataclass
class Row:
    """How often a change was noticed, and how well its blocks were named."""

    trials: int = 0
    noticed: int = 0
    changed: int = 0
    named: int = 0
    right: int = 0
    exact: int = 0
    times: list[float] = field(default_factory=list)

    def add(self, *, noticed: bool, changed: set[Block], named: set[Block]) -> None:
        """One trial: blocks that were changed, and blocks that were named."""
        self.trials += 1
        self.noticed += noticed
        self.changed += len(changed)
        self.named += len(named)
        self.right += len(changed & named)
        self.exact += changed == named

    def words(self) -> str:
        """Noticed, share of changed blocks named, share of named ones changed, all exact."""
        found = "-" if not self.changed else f"{self.right / self.changed:.4f}"
        sure = "-" if not self.named else f"{self.right / self.named:.4f}"
        milliseconds = 1e3 * float(np.median(self.times)) if self.times else 0.0
        return (
            f"{self.noticed:6d} of {self.trials:6d}   {found:>7} {sure:>7}   {self.exact:6d}"
            f"   {milliseconds:7.1f} ms"
        )


def stored(network: OnnxNetwork, length: int) -> dict[Block, bytes]:
    """Every block of every stored tensor, as a seal has them."""
    found = {}
    for held in network.inventory().tensors:
        size = int(np.prod(held.shape, dtype=np.int64))
        for number, content in enumerate(held.blocks(length)):
            place = (held.name, number * length, min(size, (number + 1) * length))
            found[place] = bytes(content)
    return found


class Sealed:
    """A network with its seal."""

    name = "seal"

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.seal = network, nnw.seal(network, key=bytes(32))
        self.before = stored(network, self.seal.block)

    def values(self) -> list[str]:
        """Layers whose values are vouched for."""
        return [layer.name for layer in self.network.layers]

    def truth(self, network: OnnxNetwork) -> set[Block]:
        """Blocks whose bytes are others."""
        after = stored(network, self.seal.block)
        return {place for place, content in self.before.items() if after.get(place) != content}

    def asked(self, network: OnnxNetwork) -> tuple[bool, set[Block]]:
        """Whether a change is noticed, and the blocks that are named."""
        found = nnw.verify_seal(network, self.seal, key=bytes(32))
        return not found, set(_named(found.changes, self.seal))


def _named(changes: Iterable[Change], sealed: Seal) -> Iterator[Block]:
    sizes = {t.name: int(np.prod(t.shape, dtype=np.int64)) for t in sealed.tensors}
    for change in changes:
        runs = change.blocks or ((0, change.weights),)
        for start, stop in runs if change.what == "tensor" else ():
            for begin in range(start, stop, sealed.block):
                yield change.name, begin, min(sizes[change.name], begin + sealed.block)


class Marked:
    """A network with a mark of integrity."""

    def __init__(self, network: OnnxNetwork, method: str, seed: int, folder: Path) -> None:
        self.name = method
        made = nnw.inject(network, Payload(), method=method, seed=seed)
        path = folder / f"{method}.onnx"
        made.network.save(path)
        self.network, self.key = nnw.open(path), made.key
        self.method = plugins.detects(plugins.method_of(self.key))
        self.places = [(p.layer, p.start, p.stop) for p in self._detect(self.network)[1]]
        self.before = {name: np.array(self.network.weights[name]) for name in self.key.layers}

    def values(self) -> list[str]:
        """Layers whose values are vouched for."""
        return list(self.key.layers)

    def truth(self, network: OnnxNetwork) -> set[Block]:
        """Blocks in which the bytes of a weight are others."""
        found = set()
        for name, start, stop in self.places:
            after, before = network.weights[name], self.before[name]
            same = after.dtype == before.dtype
            now = after.reshape(-1)[start:stop].tobytes()
            if not same or now != before.reshape(-1)[start:stop].tobytes():
                found.add((name, start, stop))
        return found

    def _detect(self, network: OnnxNetwork) -> tuple[float, tuple]:
        found = self.method.detect(network, Payload(), self.key)
        return found.statistic, found.places

    def asked(self, network: OnnxNetwork) -> tuple[bool, set[Block]]:
        """Whether a change is noticed, and the blocks that are named."""
        whole, places = self._detect(network)
        bits = self.method.bits
        named = {(p.layer, p.start, p.stop) for p in places if p.statistic < bits}
        return whole < len(self.places), named


Subject = Sealed | Marked


def tried(subject: Subject, networks: Iterator[OnnxNetwork]) -> Row:
    """The row of some networks that were made of the subject's."""
    row = Row()
    for network in networks:
        changed = subject.truth(network)
        begin = time.perf_counter()
        noticed, named = subject.asked(network)
        row.times.append(time.perf_counter() - begin)
        row.add(noticed=noticed, changed=changed, named=named)
    return row


def flipped(
    subject: Subject, count: int, rng: np.random.Generator, folder: Path
) -> Iterator[OnnxNetwork]:
    """The file of the network with one bit of one stored value flipped, NaN and infinity too."""
    network = subject.network
    content = bytearray(network.path.read_bytes())
    file = vars(network)["_file"]
    ranges = [file.tensors[network.addresses[name]].values for name in subject.values()]
    sizes = np.array([stop - start for start, stop in ranges])
    path = folder / "flipped.onnx"
    for _ in range(count):
        start, stop = ranges[rng.choice(len(ranges), p=sizes / sizes.sum())]
        place, bit = int(rng.integers(start, stop)), 1 << int(rng.integers(8))
        content[place] ^= bit
        path.write_bytes(content)
        content[place] ^= bit
        yield nnw.open(path)


def copies(
    subject: Subject, count: int, rng: np.random.Generator, folder: Path
) -> Iterator[OnnxNetwork]:
    """The network written anew in ways that do not count."""
    model = onnx.load(subject.network.path)
    for number in range(count):
        made = reserialising.reserialised(model, rng)
        yield nnw.open(reserialising.written(made, folder / str(number) / "copy.onnx", rng))


def single_weights(subject: Subject, count: int, rng: np.random.Generator) -> Iterator[OnnxNetwork]:
    """One weight a thousandth larger."""
    names = subject.values()
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        values = np.array(subject.network.weights[name])
        place = int(rng.choice(np.flatnonzero(values.reshape(-1))))
        values.reshape(-1)[place] *= np.float32(1.001)
        yield subject.network.with_weights({name: values})


def layers(subject: Subject, rng: np.random.Generator) -> Iterator[OnnxNetwork]:
    """Noise of a hundredth of a standard deviation on one layer after the other."""
    for name in subject.values():
        values = np.array(subject.network.weights[name])
        noise = rng.normal(0, 0.01 * float(values.std()) + 1e-6, values.shape)
        yield subject.network.with_weights({name: (values + noise).astype(values.dtype)})


def swaps(subject: Subject, count: int, rng: np.random.Generator) -> Iterator[OnnxNetwork]:
    """Two weights of a layer that change places."""
    names = [n for n in subject.values() if subject.network.weights[n].size > 1]
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        values = np.array(subject.network.weights[name]).reshape(-1)
        one, other = rng.choice(values.size, 2, replace=False)
        values[[one, other]] = values[[other, one]]
        shape = subject.network.weights[name].shape
        yield subject.network.with_weights({name: values.reshape(shape)})


def modified(
    subject: Subject, name: str, strengths: tuple[float, ...], **more: str
) -> Iterator[OnnxNetwork]:
    """A Modification of the package, of every weight."""
    for strength in strengths:
        yield nnw.modify(subject.network, name, strength, **more).network


def rows(subject: Subject, flips: int, count: int, folder: Path) -> Iterator[tuple[str, Row]]:
    """Every row of a subject."""
    streams = (np.random.Generator(np.random.Philox([7, k])) for k in itertools.count())
    makers: dict[str, Callable[[], Iterator[OnnxNetwork]]] = {
        "one bit flipped": lambda: flipped(subject, flips, next(streams), folder),
        "one weight x 1.001": lambda: single_weights(subject, 200, next(streams)),
        "two weights swapped": lambda: swaps(subject, 200, next(streams)),
        "one layer, noise": lambda: layers(subject, next(streams)),
        "quantizing": lambda: modified(subject, "quantizing", (16, 8, 4)),
        "written anew": lambda: copies(subject, count, next(streams), folder),
    }
    if _torch():
        makers["a few steps of training"] = lambda: modified(
            subject, "fine-tuning", (0.01, 0.02), training="digits-training"
        )
    for what, make in makers.items():
        yield what, tried(subject, make())


def _torch() -> bool:
    try:
        import torch  # noqa: F401 - to see whether it is there
    except ImportError:
        return False
    return True


def subjects(path: Path, folder: Path) -> Iterator[Subject]:
    """A network sealed, and marked with each method."""
    network = nnw.open(path)
    yield Sealed(network)
    for method in METHODS:
        yield Marked(network, method, 1, folder)


def healed(folder: Path, count: int) -> None:
    """How often `recoverable` gives a network back, by the share of its blocks changed."""
    subject = Marked(nnw.open(MODELS / "cifar10" / "fast-0.onnx"), "recoverable", 1, folder)
    rng = np.random.Generator(np.random.Philox(9))
    print(f"\nrecoverable, {subject.network.path.name}: {len(subject.places)} blocks, "
          f"given back of {count} networks with that share of its blocks changed")  # fmt: skip
    for share in (0.05, 0.1, 0.15, 0.2, 0.25):
        back = sum(_healed(subject, share, rng) for _ in range(count))
        print(f"  {share:4.0%}  {back:4d}")


def _healed(subject: Marked, share: float, rng: np.random.Generator) -> bool:
    """Whether every bit comes back; an answer that is wrong is an error of this program."""
    weights = {name: np.array(values) for name, values in subject.before.items()}
    for k in rng.choice(len(subject.places), round(share * len(subject.places)), replace=False):
        name, start, stop = subject.places[k]
        weights[name].reshape(-1)[start:stop] = 0.01
    hurt = subject.network.with_weights(weights)
    try:
        given = nnw.restore(hurt, subject.key)
    except nnw.NnwError:
        return False
    same = all(np.array_equal(given.weights[n], w) for n, w in subject.before.items())
    if not same:
        raise AssertionError("restored, but not bit by bit")
    return True


def large(megabytes: int, folder: Path) -> Path:
    """A network of about so many MiB, its weights in a file of their own."""
    from onnx import helper, numpy_helper

    rng = np.random.Generator(np.random.Philox(3))
    side = 1024
    count = megabytes * (1 << 20) // (4 * side * side)
    names = [f"w{k}" for k in range(count)]
    weights = [rng.standard_normal((side, side), np.float32) for _ in names]
    nodes = [helper.make_node("MatMul", [f"x{k}", n], [f"x{k + 1}"]) for k, n in enumerate(names)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x0", 1, ["n", side])], [value(f"x{count}", 1, ["n", side])],
        [numpy_helper.from_array(w, n) for w, n in zip(weights, names, strict=True)],
    )  # fmt: skip
    path = folder / "large.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="large.bin")
    return path


def speed(megabytes: int, folder: Path) -> None:
    """Bytes a second of a large network that is sealed and verified."""
    path = large(megabytes, folder)
    network = nnw.open(path)
    begin = time.perf_counter()
    sealed = nnw.seal(network)
    done = time.perf_counter() - begin
    sealed.save(folder / "large.json")
    size = (folder / "large.json").stat().st_size
    print(f"\n{megabytes} MiB sealed in {done:.2f} s ({megabytes / done:.0f} MiB/s); the seal has "
          f"{size / 1024:.0f} KiB in {sealed.blocks} blocks of {sealed.block}")  # fmt: skip


def ratios(megabytes: int | None = None) -> Iterator[Ratio]:
    """Sealing a network and verifying the seal, over one hash of its file."""
    megabytes = megabytes or (1024 if full() else 64)
    with tempfile.TemporaryDirectory() as name:
        path = large(megabytes, Path(name))
        content = path.with_name("large.bin")
        hashing = min(busy(lambda: hashlib.sha256(content.read_bytes())) for _ in range(3))
        seals: list[Seal] = []
        sealing = min(busy(lambda: seals.append(nnw.seal(nnw.open(path)))) for _ in range(3))
        verifying = min(busy(lambda: nnw.verify_seal(nnw.open(path), seals[0])) for _ in range(3))
    yield Ratio(f"sealing {megabytes} MiB", sealing, "sha256 of the file", hashing)
    yield Ratio(f"verifying the seal of {megabytes} MiB", verifying, "sha256 of the file", hashing)


def main() -> None:
    """Print the tables."""
    logging.disable(logging.WARNING)
    flips = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("of blocks: share of changed ones that are named, of named ones that were changed")
        for subject in subjects(MODELS / "digits" / "cnn-0.onnx", folder):
            print(f"\n{subject.name:24} noticed            changed   named    exact   median time")
            few = 1 if subject.name in THOROUGH else 10
            for what, row in rows(subject, flips // few, count // few, folder):
                print(f"  {what:22} {row.words()}", flush=True)
        healed(folder, 10)
        speed(256, folder)


if __name__ == "__main__":
    main()
