"""Commands of someone who holds a key: decode and detect."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.commands_network import LEVEL, payload_values, warn
from nnw_onnx.cli.options import KeyFile, Model, OutputFormat
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.runs.verify import Verdict
    from nnw_onnx.vocabulary import Claim, Decoding, Detection, Json, Payload, Place

MOST_PLACES = 10

Timeout = Annotated[
    float,
    typer.Option(min=1, metavar="SECONDS", help="Time a network may take that must be run."),
]


def decode(
    model: Model,
    key: KeyFile,
    output_format: OutputFormat = Format.JSON,
    timeout: Timeout = 600.0,
) -> None:
    """Read the payload of a watermarked network.

    Where a code or an alphabet stands between payload and symbols, its bits are told after them.

    Each symbol has a confidence: for a watermark in weights in standard deviations under a random
    key, for one in the answers to triggers the margin of the answer, in standard deviations of all
    scores. Where the key file carries the injected payload, the Symbol Error Rate and the p-value
    against it are told too. The exit status is 0 whatever was decoded.

    Example: nnw decode marked.onnx --key key.npz
    """
    import nnw_onnx as nnw

    network, claim = _opened(model), nnw.load_key(key)
    verdict = nnw.verify(network, claim, timeout=timeout)
    if verdict.reason is not None:
        raise CarrierNotFoundError(verdict.reason)
    read = verdict.decoding
    if read is None:
        raise ConfigurationError(
            f"{claim.key.method.name}: expected a method that reads symbols, got one that only "
            "says whether the watermark is there; use 'nnw detect'"
        )
    warn(read.notes)
    if verdict.payload is None:
        warn(("expected a word of the code, got none: these are the symbols as they were read",))
    if output_format is Format.JSON:
        output.as_json(_decoded(verdict, read))
        return
    payload = _as_bits(verdict.payload or read.payload)
    output.text(payload.text or payload.hex or _digits(payload))


def detect(
    model: Model,
    key: KeyFile,
    false_positive_rate: Annotated[
        float, typer.Option(help="Largest probability of a wrong yes.")
    ] = LEVEL,
    output_format: OutputFormat = Format.TEXT,
    timeout: Timeout = 600.0,
) -> None:
    """Tell whether a network carries a watermark.

    The exit status is 0 for yes and 1 for no.

    Example: nnw detect suspect.onnx --key key.npz
    """
    import nnw_onnx as nnw

    if not 0 < false_positive_rate < 1:
        raise ConfigurationError(
            f"--false-positive-rate: expected a number between 0 and 1, got "
            f"{false_positive_rate:g}; give for example 1e-6"
        )
    network, claim = _opened(model), nnw.load_key(key)
    detection = nnw.detect(network, claim, false_positive_rate=false_positive_rate, timeout=timeout)
    if output_format is Format.JSON:
        output.as_json({**asdict(detection), "p_value": detection.p_value})
    else:
        output.text(*_in_words(detection, claim))
    if not detection:
        raise typer.Exit(1)


def _opened(model: Model) -> OnnxNetwork:
    import nnw_onnx as nnw

    network = nnw.open(model)
    warn(network.warnings)
    return network


def _decoded(verdict: Verdict, read: Decoding) -> dict[str, Json]:
    found, size = verdict.detection, len(read.payload)
    return {
        "payload": None if verdict.payload is None else _values(_as_bits(verdict.payload)),
        "symbols": size,
        "values": list(read.payload.symbols),
        "symbol_error_rate": None if verdict.errors is None else verdict.errors / size,
        "bits": verdict.bits,
        "bit_errors": verdict.bit_errors,
        "matching_symbols": None if found is None else found.statistic,
        "p_value": None if found is None else found.p_value,
        "log10_p": None if found is None else found.log10_p,
        "ties": read.ties,
        "confidence": [round(value, 3) for value in read.confidence],
    }


def _as_bits(payload: Payload) -> Payload:
    """The same Symbols as bits, where all of them are: classes of an answer need not be."""
    return replace(payload, alphabet=2) if max(payload.symbols, default=0) < 2 else payload


def _values(payload: Payload) -> dict[str, Json]:
    if payload.alphabet == 2:
        return payload_values(payload)
    return {"bits": None, "hex": None, "text": None, "values": list(payload.symbols)}


def _digits(payload: Payload) -> str:
    return payload.bits if payload.alphabet <= 10 else " ".join(map(str, payload.symbols))


def _in_words(detection: Detection, claim: Claim) -> list[str]:
    """The answer, how sure it is, and what a person may want to know of it."""
    level, what = detection.level or LEVEL, _what(claim)
    answer = "yes" if detection else "no"
    lines = [
        f"{answer}: {_score(detection, what)}",
        "a network made without this key matches as well with probability "
        f"{_power(detection.log10_p or 0.0)}; yes means {level:g} or less",
        *detection.notes,
    ]
    if not detection.null.reaches(level):
        lines.append(
            f"{detection.null.symbols or claim.key.size} {what[0]} are too few to be detected at "
            "this rate even when all match"
        )
    inverted = detection.log10_inverted
    if inverted is not None and inverted <= math.log10(level):
        lines.append(
            "almost every symbol is inverted: the sign of the carrier's weights was changed"
        )
    places = sorted(detection.places, key=lambda place: -place.statistic)
    return lines + [_place(place) for place in places[:MOST_PLACES]]


def _score(detection: Detection, what: tuple[str, str]) -> str:
    if detection.null.symbols is None:
        return f"statistic {detection.statistic:g}; null distribution: {detection.null.name}"
    return f"{detection.statistic:g} of {detection.null.symbols} {what[0]} {what[1]}"


def _what(claim: Claim) -> tuple[str, str]:
    """What is counted, and what is said of those that count."""
    from nnw_onnx import plugins

    method = plugins.method_of(claim.key)
    if method.access == "answers":
        return "triggers", "answered as the key says"
    if method.alphabet == 0:
        return "parts", "are as the key says"
    return "symbols", "match the payload"


def _place(place: Place) -> str:
    sure = "" if place.log10_p is None else f", probability {_power(place.log10_p)}"
    return f"{place.layer} [{place.start}:{place.stop}]: {place.statistic:g}{sure}"


def _power(log10_p: float) -> str:
    """A probability from its decimal logarithm, also where it is too small for a float."""
    exponent = math.floor(log10_p)
    if exponent >= -3:
        return f"{10**log10_p:.3g}"
    return f"{10 ** (log10_p - exponent):.1f}e{exponent}"
