"""The plug-ins `reference-decoder`, `reference-detector` and `reference-fingerprint`.

Which of them a class is used as is for whoever names it: by what its Decoder reads, or by what its
Detector says; a class that has both can be evaluated as both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, JsonValue

from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.kit import carriers, commitments, keystream, permissions, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Bound,
    Commits,
    Decodes,
    Decoding,
    Detection,
    Detects,
    Embeds,
    Epoch,
    Job,
    Json,
    Key,
    Method,
    Network,
    Null,
    Payload,
    PutIn,
    SeesWhole,
    Suspect,
    Trained,
    WholeSuspect,
)

if TYPE_CHECKING:
    from nnw_onnx_torch.reference.asking import Answer, Asker

_CODE = "code"
"""Fact of a key: SHA-256 (hex) of the file that it was made with."""
_KEPT, _FINGERPRINT, _WEIGHTS = "kept", "fingerprint", "weights/"
_MOST_LEFT = 8
OWN_THRESHOLD = Null("a threshold of the class itself, whose rate of false alarms is not known")


def _table(given: object) -> object:
    """A table, also from the JSON that a command line has."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return given  # the type says what was expected


Dictionary = Annotated[Mapping[str, JsonValue], BeforeValidator(_table)]


@dataclass(frozen=True)
class _ReferenceClass(Commits, SeesWhole, Method):
    """What the three have in common."""

    file: Path = option(help="Python file of the class; it runs only with --allow-code FILE")
    class_name: str = option(help="name of the class in it")
    dictionary: Dictionary | None = option(
        None, help="what the class gets as its dictionary, beside what is added"
    )
    access: Literal["weights", "answers"] = option(
        "weights", help="whether its Decoder and Detector read weights, or run the network"
    )
    payload_name: str = option(
        "payload", help="under which name the dictionary has the payload while it is put in"
    )
    timeout: Annotated[float, Gt(0), Le(1e6)] = option(
        600.0, help="seconds that a call of the class may take"
    )
    memory: Annotated[int, Ge(1 << 28), Le(1 << 50)] | None = option(
        None, help="bytes of memory that it may take (Linux); without it what such a network needs"
    )

    @property
    def title(self) -> str:  # type: ignore[override]  # a constant of others
        """The name of the class."""
        return self.class_name

    def check(self, way: PutIn | None, key: Key | None = None) -> None:
        """See `vocabulary.Method`.

        Raises:
            ConfigurationError: the file may not run.
            PluginError: there is no such class, or it lacks what it is used for.
        """
        asker = self._asker(key)
        members = asker.ask("members").head.get("members")
        found = members if isinstance(members, dict) else {}
        for name in self._wanted(way):
            if name not in found:
                raise asker.fault(
                    name,
                    f"expected a class with it, got one with {', '.join(found) or 'nothing'} of "
                    f"the contract; {self._instead(way)}",
                )
            if found[name]:
                raise asker.fault(name, f"{found[name]}; write it as the contract has it")

    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """The network itself: what the class would change of it is not known before."""
        return [("network", (), network.digest)]

    def _wanted(self, way: PutIn | None) -> tuple[str, ...]:
        """Members that a class must have."""
        put_in = {"injection": ("Embedder",), "training": ("Embedder_one_step",), None: ()}
        return (*put_in[way], self._reader)

    def _instead(self, way: PutIn | None) -> str:
        training = "add a table [methods.training] where it has Embedder_one_step"
        without = "leave [methods.training] out where it has Embedder"
        return {"injection": training, "training": without, None: "use another plug-in"}[way]

    _reader: ClassVar[str] = "Detector"

    def _made(
        self, network: Network, size: int, secret: bytes, bench: Bench, **arrays: Array
    ) -> Key:
        carriers.refuse_layers(bench, self.title)
        code = permissions.found(self.file).sha256
        bound = [("network", (), network.digest)]
        return Key(
            method=self.spec(),
            secret=secret,
            size=size,
            facts={_CODE: code},
            arrays=arrays,
            commitment=commitments.commit(secret, self.name, bound),
            notes=(f"no carrier layer: {self.class_name} of {self.file.name} decides",),
        )

    def _asker(self, key: Key | None, size: int = 0, secret: bytes = bytes(32)) -> Asker:
        _check_torch()
        from nnw_onnx_torch.reference.asking import Asker

        told = None if key is None else key.facts.get(_CODE)
        if key is not None:
            size, secret = key.size, key.secret
        number = int(keystream.integers(secret, f"{self.name}/seed", 1, 1 << 31)[0])
        fixed: dict[str, Json] = {
            "dictionary": dict(self.dictionary or {}), "access": self.access, "seed": number,
            "size": size, "payload_name": self.payload_name,
        }  # fmt: skip
        code = permissions.found(self.file, None if told is None else str(told))
        return Asker(code, self.class_name, fixed, self.timeout, self.memory)


@dataclass(frozen=True)
class _Embedding(_ReferenceClass, Embeds):
    """A class that puts a mark in."""

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """A key that names the code; what the class draws for itself joins it when it embeds.

        Raises:
            InjectionError: a layer is asked for.
            ConfigurationError: the file may not run.
        """
        return self._made(network, size, secret, bench)

    def embed(
        self,
        network: Network,
        payload: Payload,
        key: Key,
        job: Job | None = None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Trained:
        """The network after `Embedder`, or after an epoch of `Embedder_one_step` after the other.

        Raises:
            PluginError: the class fails, or answers weights that no network can have.
            TrainingError: PyTorch does not run the network.
        """
        bits = (symbols.embedded_signs(payload, key) > 0).astype(np.int64) if key.size else ()
        told: dict[str, Json] = {"payload": [int(bit) for bit in bits]}
        asker = self._asker(key)
        if job is None:
            return self._embedded(asker, network, asker.ask("embed", network, told=told), ())
        from nnw_onnx_torch.reference.asking import staged

        epochs: list[Epoch] = []
        batches: list[int] = []

        def tell(said: Mapping[str, Any]) -> None:
            epochs.append(_epoch(said, len(epochs) + 1, told["payload"]))
            batches.append(int(said.get("batches") or 0))
            on_epoch(epochs[-1])

        with staged(job) as words:
            answer = asker.ask("train", network, told={**told, "job": words}, on_epoch=tell)
        return replace(self._embedded(asker, network, answer, tuple(epochs)), batches=sum(batches))

    def _embedded(
        self, asker: Asker, network: Network, answer: Answer, epochs: tuple[Epoch, ...]
    ) -> Trained:
        from nnw_onnx.errors import ModelFileError
        from nnw_onnx.graph import OnnxNetwork

        changed = {
            name.removeprefix(_WEIGHTS): values
            for name, values in answer.arrays.items()
            if name.startswith(_WEIGHTS)
        }
        member = "Embedder_one_step" if epochs else "Embedder"
        if not isinstance(network, OnnxNetwork) or _KEPT not in answer.arrays:
            raise asker.fault(member, "expected a network, got something else; mend the class")
        try:
            marked = network.with_stored(changed)
        except ModelFileError as error:
            raise asker.fault(
                member, f"expected weights that fit the network, got: {error}; mend the class"
            ) from error
        return Trained(marked, epochs, 0, state={_KEPT: answer.arrays[_KEPT]})


@dataclass(frozen=True)
class ReferenceDecoder(_Embedding, Decodes):
    """A class of the reference software's contract, by what its Decoder reads.

    The bits that the class is given are the payload XOR a keyed stream, so that they are fair
    coins: a network made without the key gets each right with chance 1/2, as long as the Decoder
    does not read them from what the class itself has kept. Whether it does is shown by the networks
    without a mark.
    """

    name: ClassVar[str] = "reference-decoder"
    summary: ClassVar[str] = "a class of the reference software's contract, by its Decoder"
    _reader: ClassVar[str] = "Decoder"

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """The Symbols that the class reads, each as sure as the other.

        Raises:
            PluginError: the class fails, or answers no Symbols.
        """
        asker = self._asker(key)
        answer = asker.ask("decode", _whole(suspect), _arrays(key, _KEPT))
        bits = answer.head.get("bits")
        if not isinstance(bits, list) or [b for b in bits if b not in (0, 1)]:
            raise asker.fault("Decoder", "expected Symbols 0 or 1, got others; mend the class")
        return symbols.read(2.0 * np.array(bits, np.float64) - 1.0, 1.0, key)


@dataclass(frozen=True)
class ReferenceDetector(_Embedding, Detects):
    """A class of the reference software's contract, by what its Detector says.

    It carries no payload. The Detector has a threshold of its own, so that its false alarms are
    counted and not known before.
    """

    name: ClassVar[str] = "reference-detector"
    summary: ClassVar[str] = "a class of the reference software's contract, by its Detector"
    alphabet = 0

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """What the Detector says.

        Raises:
            PluginError: the class fails, or answers neither yes nor no.
        """
        asker = self._asker(key)
        return _detection(asker, asker.ask("detect", _whole(suspect), _arrays(key, _KEPT)))


@dataclass(frozen=True)
class ReferenceFingerprint(_ReferenceClass, Detects):
    """A fingerprint of the reference software's contract.

    Its Detector calls its Extractor and its Matcher; the stored fingerprint is in the dictionary,
    `fingerprints["owner"]`.
    """

    name: ClassVar[str] = "reference-fingerprint"
    summary: ClassVar[str] = "a fingerprint of the reference software's contract"
    kind: ClassVar[Literal["watermark", "fingerprint", "integrity"]] = "fingerprint"
    alphabet = 0

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """The fingerprint that the Extractor takes of the network.

        Raises:
            PluginError: the class fails, or answers no fingerprint.
            InjectionError: a layer is asked for.
        """
        asker = self._asker(None, size, secret)
        found = asker.ask("extract", network).arrays.get(_FINGERPRINT)
        if found is None or found.ndim != 1 or not np.isfinite(found).all():
            raise asker.fault("Extractor", "expected a fingerprint, got none; mend the class")
        return self._made(network, size, secret, bench, fingerprint=found)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """Whether the Detector says that the network is the one of the stored fingerprint.

        Raises:
            PluginError: the class fails, or answers neither yes, no nor an identity.
        """
        asker = self._asker(key)
        arrays = _arrays(key, _FINGERPRINT)
        return _detection(asker, asker.ask("detect", _whole(suspect), arrays))

    def _wanted(self, way: PutIn | None) -> tuple[str, ...]:
        return ("Extractor", "Matcher", "Detector")


def _detection(asker: Asker, answer: Answer) -> Detection:
    says, statistic = answer.head.get("says"), answer.head.get("statistic")
    if not isinstance(says, bool) or not isinstance(statistic, int | float):
        raise asker.fault("Detector", "expected yes or no, got something else; mend the class")
    if not math.isfinite(statistic):
        raise asker.fault("Detector", "expected a finite statistic, got another; mend the class")
    return Detection(float(statistic), log10_p=None, null=OWN_THRESHOLD, says=says)


def _epoch(said: Mapping[str, Any], number: int, bits: Json) -> Epoch:
    """The facts of an epoch as the process tells them, nothing of which is believed."""
    loss, penalty, read = (said.get(name) for name in ("loss", "penalty", "bits"))
    watched = None
    if isinstance(read, list) and isinstance(bits, list) and len(read) == len(bits) > 0:
        watched = sum(a != b for a, b in zip(read, bits, strict=True)) / len(bits)
    return Epoch(number, _number(loss) or 0.0, _number(penalty), watched)


def _number(told: object) -> float | None:
    return float(told) if isinstance(told, int | float) and math.isfinite(told) else None


def _arrays(key: Key, name: str) -> dict[str, Array]:
    """What a question takes from a key: the state of the class, or the stored fingerprint."""
    return {name: key.arrays[name]} if name in key.arrays else {}


def _whole(suspect: Suspect) -> Network:
    # The runner shows the whole network to a method that `SeesWhole`.
    return cast(WholeSuspect, suspect).network


def _check_torch() -> None:
    try:
        import torch  # noqa: F401 - to see whether it is there
    except ImportError as error:
        raise ConfigurationError(
            f"reference classes: expected PyTorch, got: {error}; pip install 'nnw-onnx[torch]'"
        ) from error


__all__ = ["PluginError", "ReferenceDecoder", "ReferenceDetector", "ReferenceFingerprint"]
