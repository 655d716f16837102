"""How often wrong keys are a Yes on networks that were put back in order; a program.

    python -m tests.benchmarks.null_after_resync FOLDER_OF_SHARED_DATA [--keys N] [METHOD ...]

A ResNet-20 that other people trained, without and with the mark of another key, is permuted, scaled
and turned, each time otherwise, and put back into the order of the unmarked network. For each level
it prints how many p-values of wrong keys were at most that, how many an exact test gives, and the
99.9 % limits of such a count.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit.evidence import size_of
from nnw_onnx.runs import resync
from nnw_onnx.runs.realigning import realigned
from nnw_onnx.runs.suspect import Running
from nnw_onnx.runs.verify import SuspectOf
from nnw_onnx.testing import ArrayBench
from nnw_onnx.vocabulary import Claim, Detection, Modification, Spec

from ..runs.resnets import residual_network  # noqa: TID252 - shared with tests
from .null_of_methods import LEVELS, PAYLOAD

HEADER = """\
Wrong keys on a ResNet-20 that was permuted, scaled and turned and put back into the order of the
unmarked one, without and with the mark of another key: p-values at most each level, of how many an
exact test gives (99.9 % limits; ! outside). Made by

    python -m tests.benchmarks.null_after_resync FOLDER_OF_SHARED_DATA
"""
METHODS = ("block-spread", "uchida", "st-dm")
ATTACK = ("permutation", "scaling", "sign-flips")
DRAWS = 5
"""Times that each network is attacked and put in order."""
BATCH = 64


@dataclass
class Counted:
    """What the wrong keys of one method came to, so far."""

    keys: int = 0
    hits: tuple[int, ...] = (0,) * len(LEVELS)
    last: Detection | None = None

    def add(self, found: Detection) -> None:
        """One key more."""
        assert found.log10_p is not None
        below = [10.0**found.log10_p <= level for level in LEVELS]
        self.hits = tuple(hit + new for hit, new in zip(self.hits, below, strict=True))
        self.keys, self.last = self.keys + 1, found

    def told(self) -> Iterator[str]:
        """For each level the count, what an exact test gives, and where chance leaves it."""
        assert self.last is not None
        for level, hit in zip(LEVELS, self.hits, strict=True):
            size = size_of(self.last.null, level)
            chance = level if size is None else size.attained
            low, high = stats.binom.interval(0.999, self.keys, chance)
            word = "" if low <= hit <= high else " !"
            yield f"{hit} of {self.keys * chance:.4g} ({low:.0f} to {high:.0f}){word}"


def attacked(network: OnnxNetwork, rng: np.random.Generator) -> OnnxNetwork:
    """The network with channels in other places, of other scales and signs."""
    for name in ATTACK:
        done = plugins.create(Modification, Spec(name)).modify(network, ArrayBench(), rng).network
        assert isinstance(done, OnnxNetwork)
        network = done
    return network


def in_order(network: OnnxNetwork, plain: OnnxNetwork) -> tuple[SuspectOf, resync.Realigned]:
    """The network as a method sees it once it was put back."""
    found = realigned(network, plain)
    assert found.recovered, found.alignment.gap
    given, now = (Running(x, SessionSettings(), BATCH) for x in (network, found.network))
    return resync.suspects(found, network, given, now), found


def wrong(claim: Claim, first: int, count: int) -> Iterator[Claim]:
    """Claims of the same payload under other secrets."""
    for number in range(first, first + count):
        secret = hashlib.sha256(f"wrong key {number}".encode()).digest()
        key = replace(claim.key, secret=secret, commitment="", opening="")
        yield replace(claim, key=key, of="wrong")


def main() -> None:
    """Print a line for each method, without and with the mark of another key."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared_data", type=Path)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--keys", type=int, default=1000, help="on each network put in order")
    options = parser.parse_args()
    print(HEADER)
    print(f"p <= {', '.join(f'{level:g}' for level in LEVELS)}: wrong keys, of how many by chance")
    with tempfile.TemporaryDirectory() as folder:
        path = residual_network(options.shared_data, "resnet20", Path(folder) / "resnet20.onnx")
        plain = nnw.open(path)
        for name in options.methods:
            given = nnw.inject(plain, PAYLOAD, method=name, seed=1)
            for word, network in (("unmarked", plain), ("marked", given.network)):
                found = _counted(plain, network, given.claim, options.keys)
                print(f"{name:18}{word:10}{found.keys} keys  {'  '.join(found.told())}", flush=True)


def _counted(plain: OnnxNetwork, network: OnnxNetwork, claim: Claim, keys: int) -> Counted:
    found = Counted()
    for draw in range(DRAWS):
        rng = np.random.Generator(np.random.PCG64(draw))
        suspect_of, order = in_order(attacked(network, rng), plain)
        claims = wrong(claim, draw * keys, keys)
        for verdict in resync.heard(suspect_of, claims, 1e-6, order):
            assert verdict.detection is not None
            found.add(verdict.detection)
    return found


if __name__ == "__main__":
    main()
