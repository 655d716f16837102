"""A watermark on the grid of a quantizer: steps that are coarser than what a method asks for.

Methods are made for weights that can take any value. On a grid the nearest value may be the old
one for every weight, so that nothing of a small change is left. Then each weight goes to one of
the two values between which the wanted one lies, drawn so that the change arrives on average
(non-subtractive dither; Wannamaker, Lipshitz, Vanderkooy, Wright, "A Theory of Nonsubtractive
Dither", IEEE Trans. Signal Processing 48 (2000)): sums over many weights, which is what methods
read, keep it. The draws follow from the key. What is then still missing, because weights at an end
of the grid do not move, the method puts in once more, on top of what has arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import carriers, keystream
from nnw_onnx.vocabulary import Array, Key

_LEAST_KEPT, _MOST_KEPT = 0.8, 1.25
"""Of the change: with less the mark is weaker than the method thinks, with more it costs more."""
_WAYS = ((1, 1.0), (2, 1.0), (4, 1.0), (4, 1.5), (4, 2.0))
"""Passes and factors of the change that are tried one after the other."""

F64 = NDArray[np.float64]
Inject = Callable[[OnnxNetwork], OnnxNetwork]


@dataclass
class Rounding:
    """A rule for new weights on a grid (see `OnnxNetwork.rounded_by`), which remembers them.

    Attributes:
        secret: from which draws follow; None takes the nearest values.
        label: another one means other draws.
        gain: the change is multiplied by it.
        asked: layer -> the weights asked for last.
        taken: layer -> the values on the grid that were taken for them.
    """

    secret: bytes | None = None
    label: str = ""
    gain: float = 1.0
    asked: dict[str, F64] = field(default_factory=dict)
    taken: dict[str, F64] = field(default_factory=dict)

    def __call__(self, network: OnnxNetwork, name: str, asked: Array) -> F64:
        """The values to take, of which one lies below or above the one that was asked for."""
        self.asked[name] = np.asarray(asked, np.float64)
        old = np.asarray(network.weights[name], np.float64)
        wanted = old + self.gain * (self.asked[name] - old)
        nearest = network.with_weights({name: wanted})
        middle = np.asarray(nearest.weights[name], np.float64)
        self.taken[name] = middle
        if self.secret is not None:
            below, above = nearest.neighbours(name)
            self.taken[name] = self._drawn(name, wanted, middle, below, above)
        return self.taken[name]

    def _drawn(self, name: str, wanted: F64, middle: F64, below: Array, above: Array) -> F64:
        assert self.secret is not None
        rest = wanted - middle
        gap = np.where(rest > 0, above, below) - middle
        share = np.divide(rest, gap, out=np.zeros_like(rest), where=gap != 0)
        draws = keystream.uniform(self.secret, f"rounding/{self.label}/{name}", rest.size)
        return np.where(draws.reshape(rest.shape) < share, middle + gap, middle)


@dataclass(frozen=True)
class Put:
    """A network with a watermark, and what an owner should know of the grids that hold it."""

    network: OnnxNetwork
    notes: tuple[str, ...] = ()


def put(
    network: OnnxNetwork,
    key: Key,
    inject: Inject,
    errors: Callable[[OnnxNetwork], int | None],
) -> Put:
    """The network with a watermark that is read back from what arrives.

    A network whose carriers are floating-point weights is injected once, and as it is.

    Args:
        network: before anything is put in.
        key: names the carriers.
        inject: puts the watermark in; what it raises as `InjectionError` on a grid is tried again.
        errors: Symbols that are read wrongly, or None where nothing is read.

    Raises:
        InjectionError: no attempt is read back.
    """
    names = key.layers or tuple(layer.name for layer in network.layers)
    if all(network.grid(name) is None for name in names):
        return Put(inject(network))
    best: _Attempt | None = None
    refusal: InjectionError | None = None
    for attempt in _attempts(network, key.secret, inject):
        if best is not None and attempt.first.gain > 1:
            break
        if attempt.refusal is not None and not attempt.first.asked:
            raise attempt.refusal  # before any weight was asked for: no grid is to blame
        wrong = errors(attempt.network) if attempt.refusal is None else None
        if attempt.refusal is not None or wrong:
            refusal = refusal or attempt.refusal or _lost(names, wrong or 0, key.size)
        elif attempt.fits:
            return attempt.put()
        elif best is None or abs(attempt.kept - 1) < abs(best.kept - 1):
            best = attempt
    if best is None:
        assert refusal is not None
        raise refusal
    return best.put()


@dataclass(frozen=True)
class _Attempt:
    """A network as one way of rounding left it.

    Attributes:
        before: the network without the watermark.
        network: the network with it, with the nearest values as its rule again.
        first: the rule of the first pass, which has seen what the method wanted.
        passes: how often the method put it in.
        refusal: what the method said of the last pass.
    """

    before: OnnxNetwork
    network: OnnxNetwork
    first: Rounding
    passes: int
    refusal: InjectionError | None

    @property
    def kept(self) -> float:
        """The part of the change wanted at first that arrives, least of all layers."""
        return min((self._of(name)[1] for name in self.first.asked), default=1.0)

    @property
    def fits(self) -> bool:
        """Whether about as much of the change arrives as the method wanted."""
        return _LEAST_KEPT <= self.kept <= _MOST_KEPT

    def put(self) -> Put:
        """The network with notes on how it came about."""
        notes = [self._note(name) for name in self.first.asked]
        return Put(self.network, (*notes, *self._how()))

    def _of(self, name: str) -> tuple[float, float, int, int]:
        """RMS rounding and part kept of the change, and how many of so many weights moved."""
        old = np.asarray(self.before.weights[name], np.float64)
        moved = np.asarray(self.network.weights[name], np.float64) - old
        wanted = self.first.asked[name] - old
        energy = float(np.sum(wanted * wanted)) or 1.0
        rounding = float(np.sqrt(np.sum(np.square(moved - wanted)) / energy))
        kept = float(np.sum(moved * wanted)) / energy if wanted.any() else 1.0
        return rounding, kept, int(np.count_nonzero(moved)), old.size

    def _note(self, name: str) -> str:
        rounding, kept, moved, size = self._of(name)
        return (
            f"{name}: written on the {self.network.grid(name)}: {moved} of {size} weights moved, "
            f"rounding {rounding:.1%} of the change (RMS), {kept:.0%} of it arrives"
        )

    def _how(self) -> tuple[str, ...]:
        if self.first.secret is None:
            return ()
        stronger = f", {self.first.gain:g} times the change" if self.first.gain != 1 else ""
        again = f", put in {self.passes} times on top of each other" if self.passes > 1 else ""
        return (
            "the nearest values lost too much of the change, so weights went at random (keyed) to "
            f"the values below or above{again}{stronger}",
        )


def _attempts(network: OnnxNetwork, secret: bytes, inject: Inject) -> Iterator[_Attempt]:
    """The nearest values, then draws in more and more passes."""
    yield _attempt(network, inject, [Rounding()])
    for passes, gain in _WAYS:
        labels = [f"{passes}/{gain:g}/{k}" for k in range(passes)]
        yield _attempt(network, inject, [Rounding(secret, label, gain) for label in labels])


def _attempt(network: OnnxNetwork, inject: Inject, rules: Sequence[Rounding]) -> _Attempt:
    now, refusal = network, None
    for rule in rules:
        try:
            now, refusal = inject(now.rounded_by(rule)).rounded_by(None), None
        except InjectionError as error:
            # What arrived is not enough for the method, but a start for the next pass.
            now, refusal = now.with_weights(rule.taken), error
    return _Attempt(network, now, rules[0], len(rules), refusal)


def _lost(names: Sequence[str], wrong: int, size: int) -> InjectionError:
    return InjectionError(
        f"layer {carriers.listed(names)}: expected all {size} symbols to be read back, got {wrong} "
        "wrong ones on the grid of quantized weights; use a larger strength, a shorter payload, or "
        "the network before quantization"
    )
