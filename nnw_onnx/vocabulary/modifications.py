"""Modifications: what an author of one writes."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary.bench import Bench
from nnw_onnx.vocabulary.evidence import Claim
from nnw_onnx.vocabulary.networks import Around, Ask, Feeds, Network, Values, Weights
from nnw_onnx.vocabulary.specs import Json, Need, PlugIn
from nnw_onnx.vocabulary.tasks import Scale
from nnw_onnx.vocabulary.training import Recipe

Family = Literal["standard", "deployment", "preserving", "adaptive", "removal"]
"""Groups of the report: the standard's table; what happens to networks anyway; what leaves the
function as it is; who knows the method but no key; everything else."""

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*", re.ASCII)


@dataclass(frozen=True)
class Parameter:
    """Parameter of a Modification: its Type and the range of Intensities in the standard.

    Attributes:
        letter: the letter of the reference software: S, P, R, B, ...
        meaning: what the Intensity measures.
        unit: what it is counted in: "%", "bits", "x sigma" (times something), ...; "" or "ratio"
            where it is a plain number.
        low: smallest Intensity of the standard's table; None where it has none.
        high: largest one, likewise.
        high_single_layer: largest one where a single layer is aimed at, if that differs.
        stronger: "up" where a larger Intensity changes more, else "down".
        option: the field of the Modification that a sweep fills.
    """

    letter: str
    meaning: str
    unit: str
    low: float | None = None
    high: float | None = None
    high_single_layer: float | None = None
    stronger: Literal["up", "down"] = "up"
    option: str = "intensity"

    def outside_standard_range(self, intensity: float, *, single_layer: bool) -> bool:
        """Whether an Intensity is outside the range of the standard (a warning, never an error)."""
        high = self.high
        if single_layer and self.high_single_layer is not None:
            high = self.high_single_layer
        too_low = self.low is not None and intensity < self.low
        return too_low or (high is not None and intensity > high)

    def with_unit(self, intensity: float) -> str:
        """An Intensity as a person reads it: "0.5 %", "4 bits", "0.1 x sigma", "quality 50"."""
        if self.unit in ("", "ratio"):
            return (
                f"{intensity:g}" if self.option == "intensity" else f"{self.option} {intensity:g}"
            )
        counted = not self.unit.startswith("x ")
        unit = self.unit.removesuffix("s") if counted and intensity == 1 else self.unit
        return f"{intensity:g} {unit}"

    def standard_range(self, *, single_layer: bool = False) -> str:
        """The standard's range in words, such as "1 to 90 %"; "" where it has none."""
        single = self.high_single_layer if single_layer else None
        bounds = (self.low, self.high if single is None else single)
        if bounds == (None, None):
            return ""
        low, high = ("any" if bound is None else f"{bound:g}" for bound in bounds)
        unit = "" if self.unit == "ratio" else self.unit
        return f"{low} to {high} {unit}".rstrip()

    def read(self, given: float | str) -> float:
        """An Intensity from a number, or from a text with its unit such as "50%" or "4 bits".

        Of a Parameter that is a share in %, a bare number below 1 is refused: 0.5 is half a per
        cent here, and half of the weights for who knows other libraries.

        Raises:
            ConfigurationError: no number, another unit, or a bare number that may mean either.
        """
        number, unit = self._parts(given)
        if unit:
            return number / self._divisor(unit, given)
        if self.unit == "%" and 0 < number < 1:
            raise ConfigurationError(
                f"expected a percentage, got {number:g}, which is {number:g} % and not a share; "
                f'write "{number:g}%" if it is meant, else {100 * number:g}'
            )
        return number

    def _parts(self, given: float | str) -> tuple[float, str]:
        if not isinstance(given, str):
            try:
                return float(given), ""
            except OverflowError as error:
                raise ConfigurationError(
                    f"expected a number, such as {self.example()}, got one beyond all that a "
                    "computer calculates with; correct it"
                ) from error
        found = _QUANTITY.fullmatch(given)
        if found is None:
            raise ConfigurationError(
                f"expected a number, such as {self.example()}, got {given!r}; correct it"
            )
        return float(found[1]), found[2].lower().removeprefix("x ")

    def _divisor(self, unit: str, given: object) -> float:
        own = self.unit.lower().removeprefix("x ")
        if unit in (own, own.removesuffix("s")):
            return 1.0
        # A ratio may be written in per cent of what it is a ratio of.
        if unit == "%" and (self.unit.startswith("x ") or self.unit == "ratio"):
            return 100.0
        raise ConfigurationError(
            f"expected a number in {self.unit or 'no unit'}, such as {self.example()}, got "
            f"{given!r}; correct it"
        )

    def example(self) -> str:
        """An Intensity as somebody may write it."""
        number = self.high if self.high is not None else 1
        return f"{number:g}" if self.unit in ("", "ratio") else self.with_unit(number)


@dataclass(frozen=True)
class Modified:
    """A network after a Modification.

    Attributes:
        network: the modified network.
        around: what now stands before the network, the newest first.
        marks: watermarks put on top, which the runner reads at the end of the stack.
        facts: what a report should say of it, such as epochs, samples and the last loss.
        samples_of: data set that the network answers now, where that is not the task's.
    """

    network: Network
    around: tuple[Around, ...] = ()
    marks: tuple[Claim, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    samples_of: Literal["transfer"] | None = None


class Modification(PlugIn):
    """A Modification in its general form: the plug-ins of `nnw_onnx.modifications`.

    Most authors take one of the short forms below, which end in this one.

    Attributes:
        title: its name in a report; "" for `name` with spaces.
        number: that of the standard's table (0 to 6), or None.
        family: group in the report.
        parameter: of the sweep; None for a Modification that is done or not.
        aims: whether it changes the layers that it is aimed at (`bench.layers`) and no others.
            Layers given to one that does not aim are refused.
        preserves: a promise that the runner checks: the largest change of an answer over the
            largest answer; None where nothing is promised.
        before: options that came after evaluations had been made, with the value that is what the
            Modification did until then: at that value identities and draws are those of then.
    """

    title: ClassVar[str] = ""
    number: ClassVar[int | None] = None
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter | None] = None
    aims: ClassVar[bool] = False
    preserves: ClassVar[float | None] = None
    before: ClassVar[Mapping[str, Json]] = MappingProxyType({})

    def settings(self, recipe: Recipe) -> Sequence[Mapping[str, Json]]:
        """Options of the settings that a table of a configuration stands for; () for itself alone.

        Override it where an option that is left out decides so much that one value says little, as
        the learning rate of a fine-tuning. Whoever gives the option gets one setting.

        Args:
            recipe: of the evaluation.
        """
        return ()

    @abstractmethod
    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network after the Modification; pure given bench and generator."""


class WeightModification(Modification):
    """Arrays of weights become others of the same shape.

    Attributes:
        layer_by_layer: a promise that each layer follows from that layer and the generator alone,
            in the order given. Then layers are asked for one at a time, and networks larger than
            memory can be modified.
    """

    aims = True
    layer_by_layer: ClassVar[bool] = False

    @abstractmethod
    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> Weights:
        """New values of the layers aimed at (canonical layout), in the order given."""

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with the weights of the layers aimed at replaced."""
        if self.layer_by_layer:
            for name in bench.layers:
                one = self.modify_weights({name: network.weights[name]}, rng)
                network = network.with_weights(one)
            return Modified(network)
        aimed = {name: network.weights[name] for name in bench.layers}
        return Modified(network.with_weights(self.modify_weights(aimed, rng)))


class FileModification(Modification):
    """An ONNX file becomes another: what converters, quantizers and optimizers take."""

    @abstractmethod
    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the modified model to `target`; `source` stays as it is."""

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network of the file that was written."""
        return Modified(
            bench.through_file(
                network, lambda source, target: self.modify_file(source, target, bench, rng)
            )
        )


class InputModification(Modification):
    """One input sample becomes another, before the network sees it; the weights stay.

    The generator of a sample follows from the draw of the Modification and from the content of the
    sample, so batches, order and engine do not matter, and triggers meet it as test samples do.
    """

    needs: ClassVar[tuple[Need, ...]] = ("scale",)

    @abstractmethod
    def transform(self, sample: Feeds, scale: Scale | None, rng: np.random.Generator) -> Feeds:
        """The changed sample; its arrays have no batch axis.

        Args:
            sample: graph input -> one sample.
            scale: the way back from the first feed to a signal in [0, 1], or None.
            rng: of this sample.
        """

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The same network behind the transformation."""
        salt, scale = rng.bytes(16), bench.samples().scale

        def one(sample: Feeds) -> Feeds:
            content = hashlib.sha256(salt + b"".join(v.tobytes() for v in sample.values()))
            seed = int.from_bytes(content.digest()[:16], "big")
            return self.transform(sample, scale, np.random.Generator(np.random.Philox(seed)))

        def around(feeds: Feeds, ask: Ask) -> Values:
            changed = [
                one({name: values[i] for name, values in feeds.items()})
                for i in range(min(map(len, feeds.values())))
            ]
            return ask({name: np.stack([c[name] for c in changed]) for name in feeds})

        return Modified(network, (around,))
