"""Attacks of somebody who knows a method, where nobody looked when their settings were chosen.

    python results/adaptive_attacks.py --data DIR > results/adaptive-attacks.txt

DIR is the folder or archive of CIFAR-10. The settings were chosen with a look at what is still
detected: of triggers on `cnn-0` of digits and `small-00` of CIFAR-10, of weights on `small-00` to
`small-02`. Here they stand as they are, and networks and keys are others. Needs PyTorch.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit import knowing
from nnw_onnx.kit.evidence import matched
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.inject import Injected, inject
from nnw_onnx.runs.modify import Stacked, modify
from nnw_onnx.runs.surroundings import Alone, Trainings
from nnw_onnx.runs.suspect import Running, suspects, wrapped
from nnw_onnx.vocabulary import (
    Dataset,
    Detection,
    Json,
    Key,
    Method,
    Payload,
    Recipe,
    Samples,
    Spec,
    Step,
    Technology,
)

MODELS = Path(__file__).resolve().parents[1] / "models"
HEAD = "Attacks by who knows the method, settings as they stand, on networks and keys not looked at"
COMMAND = "python results/adaptive_attacks.py --data DIR > results/adaptive-attacks.txt"
LEVEL = 1e-6
TRIGGERS = {"adi": 40, "zhang": 0, "entangled": 0, "frontier": 0}
"""Method -> size of its payload."""
WEIGHTS = {"tartaglione": "redrawn-repeats", "constant-weight": "redrawn-repeats",
           "emmark": "grid-noise"}  # fmt: skip
"""Method -> the attack that was chosen with a look at it."""
SIZE = 64
SAID = {
    "tartaglione": knowing.aimed("@all", "clipping", intensity=3),
    "constant-weight": knowing.aimed("@largest", "outliers", share=0.2),
    "kakikura": knowing.step("overwriting", intensity=3, method="kakikura"),
}
"""Method -> an attack that is said to remove its mark, and that it does not name."""
COLUMNS = (
    "method", "attack", "network", "before", "after", "unmarked", "of", "wrong Symbols", "log10 p",
    "at 1e-6", "points lost",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """Networks of one task with its data.

    Attributes:
        networks: on which no setting was chosen.
        data: the data set, by its name and options.
        seen: samples that trainings see; None for all.
        tested: samples that accuracy is measured on, likewise.
        recipe: of the owner, whose rate is the attacker's too.
    """

    networks: tuple[Path, ...]
    data: Spec
    seen: int | None
    tested: int | None
    recipe: Recipe

    def samples(self, split: str) -> Samples:
        """Of "train" or "test", as many as are used."""
        limit = {"train": self.seen, "test": self.tested}[split]
        options = {**self.data.options, **({} if limit is None else {"limit": limit})}
        return plugins.create(Dataset, Spec(self.data.name, options)).load(split)


@dataclass(frozen=True)
class Row:
    """What an attack leaves.

    Attributes:
        before: of the marked network.
        after: of the same one, attacked.
        unmarked: of the network without the mark, by the same key.
        wrong: Symbols that are read wrongly after the attack, and all; None where none is read.
        lost: points of accuracy, of the marked network by the attack.
    """

    method: str
    attack: str
    network: str
    before: Detection
    after: Detection
    unmarked: Detection
    wrong: tuple[int, int] | None
    lost: float

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        p = self.after.log10_p
        decided = "no null" if p is None else "yes" if self.after.decided(LEVEL).detected else "no"
        found, of = (self.before, self.after, self.unmarked), self.before.null.symbols
        wrong = "" if self.wrong is None else "{} of {}".format(*self.wrong)
        return (
            self.method, self.attack, self.network, *(f"{x.statistic:.4g}" for x in found),
            "" if of is None else str(of), wrong, "" if p is None else f"{p:.2f}", decided,
            f"{self.lost:.2f}",
        )  # fmt: skip


class Bench:
    """A task's data, read once, and the networks of it."""

    def __init__(self, world: World) -> None:
        """Read the data."""
        self.world = world
        self.train, self.test = world.samples("train"), world.samples("test")

    def of(
        self, network: OnnxNetwork, technology: Technology | None = None, *layers: str
    ) -> RunBench:
        """The bench of one network, with the trainer of PyTorch."""
        trainings = Trainings(Spec("torch"), self.world.recipe, "cross-entropy")
        around = Alone(data=self.train, trainings=trainings)
        return RunBench(around, network, Place("t", "t", technology=technology, layers=layers))

    def accuracy(self, done: Stacked) -> float:
        """Share of the test samples that are told rightly, in percent."""
        test = self.test.fitted(done.network.inputs)
        batch = test.read(np.arange(len(test)))
        ask = wrapped(Running(done.network, SessionSettings(), 64), done.around)
        scores = next(iter(ask(batch.feeds).values()))
        return 100 * float(np.mean(scores.argmax(axis=1) == batch.targets))


def generator(*parts: object) -> np.random.Generator:
    """Another one for other parts; none of them was drawn from when settings were chosen."""
    seed = hashlib.sha256(repr(("blind", *parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed[:8], "big")))


def evidence(
    done: Stacked, method: Method, key: Key, payload: Payload
) -> tuple[Detection, tuple[int, int] | None]:
    """What Detector or Decoder finds, and how many Symbols are wrong of how many."""
    ask = Running(done.network, SessionSettings(), 64)
    suspect = suspects(done.network, ask, done.around)(method)
    detector, reader = plugins.detects(method), plugins.decodes(method)
    if reader is None:
        assert detector is not None, f"{method.name} neither reads nor detects"
        return detector.detect(suspect, payload, key), None
    read = reader.decode(suspect, key).payload
    wrong = payload.errors(read), len(payload)
    found = matched(read, payload) if detector is None else detector.detect(suspect, payload, key)
    return found, wrong


def marked(bench: Bench, name: str, size: int, plain: OnnxNetwork, label: str) -> Injected:
    """A network with a mark under a key of its own."""
    method, rng = plugins.create(Method, Spec(name)), generator("key", name, label)
    payload = Payload.random(size, rng) if size else Payload()
    recipe = bench.world.recipe if plugins.injects(method) is None else None
    technology = Technology(method.spec(), size, recipe=recipe)
    return inject(technology, plain, payload, rng.bytes(32), bench.of(plain, technology))


def attacks(
    bench: Bench, name: str, size: int, stacks: Iterable[Sequence[Step]], path: Path
) -> Iterator[Row]:
    """What attacks do to a mark of a method in one network, each from there on."""
    plain, method = open_network(path), plugins.create(Method, Spec(name))
    put = marked(bench, name, size, plain, path.stem)
    claim = put.claim.payload or Payload()

    def found(done: Stacked) -> tuple[Detection, tuple[int, int] | None]:
        return evidence(done, method, put.claim.key, claim)

    (before, _), (unmarked, _) = found(Stacked(put.network)), found(Stacked(plain))
    own = bench.accuracy(Stacked(put.network))
    for stack in stacks:
        done = attacked(bench, put.network, stack, name, path.stem)
        after, wrong = found(done)
        lost = own - bench.accuracy(done)
        yield Row(name, told(stack), path.stem, before, after, unmarked, wrong, lost)


def attacked(
    bench: Bench, network: OnnxNetwork, stack: Sequence[Step], *seed: object
) -> Stacked:  # fmt: skip
    """A network after an attack, whose randomness knows nothing of the key."""
    return modify(
        network,
        stack,
        lambda index, now, layers: bench.of(now, None, *layers),
        lambda index: generator("attack", index, *seed),
    )


def told(stack: Sequence[Step]) -> str:
    """A stack in words."""
    return ", ".join(step.modification.name for step in stack)


def digits() -> World:
    """The shipped networks of digits, without the one that was looked at."""
    return World(
        tuple(MODELS / "digits" / f"cnn-{i}.onnx" for i in (1, 2)),
        Spec("digits", {"preprocessing": {"scale": 0.0625}}), None, None,
        Recipe(epochs=8, batch_size=64, learning_rate=0.03, own_per_batch=16),
    )  # fmt: skip


def cifar10(data: Path, numbers: Sequence[int]) -> World:
    """Small networks of CIFAR-10."""
    scale: dict[str, Json] = {
        "scale": 1 / 255,
        "mean": [0.4914, 0.4822, 0.4465],
        "std": [0.2470, 0.2435, 0.2616],
    }
    return World(
        tuple(MODELS / "comparison" / "compared" / f"small-{i:02}.onnx" for i in numbers),
        Spec("cifar10", {"path": str(data), "preprocessing": scale}), 8000, 2000,
        Recipe(epochs=4, batch_size=128, learning_rate=0.01, own_per_batch=16),
    )  # fmt: skip


def rows(data: Path) -> Iterator[Row]:
    """All of them, those of weights first; of CIFAR-10 the triggers that were looked at."""
    weights = Bench(cifar10(data, (*range(3, 12), 14, 15)))
    for name, attack in WEIGHTS.items():
        named = plugins.load(Method, name).adaptive
        chosen = [stack for stack in named if stack[0].modification.name == attack]
        for path in weights.world.networks:
            yield from attacks(weights, name, SIZE, chosen, path)
    for world, names in ((digits(), TRIGGERS), (cifar10(data, (11, 14, 15)), ("adi",))):
        bench = Bench(world)
        for name in names:
            for path in world.networks:
                stacks = plugins.load(Method, name).adaptive
                yield from attacks(bench, name, TRIGGERS[name], stacks, path)
    for name, step in SAID.items():
        for path in weights.world.networks:
            size = SIZE if plugins.create(Method, Spec(name)).alphabet else 0
            yield from attacks(weights, name, size, [(step,)], path)


def main(tell: Callable[[str], object] = sys.stdout.write) -> None:
    """Print the table, a tab between cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or archive of CIFAR-10")
    data = parser.parse_args().data
    tell(f"# {HEAD}\n# {COMMAND}\n")
    tell("\t".join(COLUMNS) + "\n")
    for row in rows(data):
        tell("\t".join(row.cells()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
