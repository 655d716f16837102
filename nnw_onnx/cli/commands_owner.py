"""Commands of someone who holds a key: decode, detect, verify-commitment."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.commands_network import LEVEL, payload_values, warn
from nnw_onnx.cli.options import KeyFile, Model, OutputFormat, Provider
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.runs.verify import Verdict
    from nnw_onnx.vocabulary import Claim, Decoding, Detection, Json, Payload, Place

MOST_PLACES = 10
_WRONG = "the key is of another network or a wrong one, or the watermark is gone"
_OTHER_ORDER = (
    "were its channels put into another order or scaled? '--reference ORIGINAL.onnx', the network "
    "before the mark, puts them back"
)
_ALL_CHANGED = "the key is of another network or a wrong one, or every block was changed"
_ONLY_THERE = (
    "the exit status says that the mark is there; whether a network is what it was is the exit "
    "status of 'nnw integrity verify', with a seal"
)
_NEAR_CHANCE = 0.75
"""A larger part of the error that chance makes is told as that error."""

MemoryLimit = Annotated[
    int | None,
    typer.Option(
        min=256 << 20,
        metavar="BYTES",
        help="Memory that such a network may take. [default: by its size]",
    ),
]
LayerToRead = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="NAME",
        help="Layer to read, whatever the key calls it. [default: looked for and told]",
        autocompletion=completion.layers,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The network before the mark: puts channels back in order first.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(min=1, metavar="SECONDS", help="Time a network may take that must be run."),
]


def decode(
    model: Model,
    key: KeyFile,
    layer: LayerToRead = None,
    reference: Reference = None,
    output_format: OutputFormat = Format.TEXT,
    timeout: Timeout = 600.0,
    memory_limit: MemoryLimit = None,
    provider: Provider = None,
) -> None:
    """Read the payload of a watermarked network.

    The payload goes to stdout, what it is worth to stderr; --format json has both, and each symbol
    with its confidence: in standard deviations under a random key, or of the scores of answers to
    triggers. A key reads something from every network: the exit status is 1 where that is no better
    than chance beside the payload of the key, else 0; 'nnw detect' says whether the watermark is
    there.

    Example: nnw decode marked.onnx --key key.npz
    """
    import nnw_onnx as nnw

    network, claim = _both(model, key, "decode")
    verdict = nnw.verify(
        network,
        claim,
        layer=layer,
        reference=reference,
        timeout=timeout,
        memory_limit=memory_limit,
        providers=provider or (),
    )
    if verdict.reason is not None and verdict.decoding is None:
        raise CarrierNotFoundError(verdict.reason)
    read = verdict.decoding
    if read is None:
        raise ConfigurationError(
            f"{claim.key.method.name}: expected a method that reads symbols, got one that only "
            "says whether the watermark is there; use 'nnw detect'"
        )
    if output_format is not Format.JSON:
        warn(read.notes)
    if verdict.payload is None:
        warn(("expected a word of the code, got none: these are the symbols as they were read",))
    if output_format is Format.JSON:
        output.as_json(_decoded(verdict, read))
    else:
        payload = _as_bits(verdict.payload or read.payload)
        output.text(payload.text or payload.hex or _digits(payload))
        for line in _worth(verdict, read):
            output.note(line)
    if _means_nothing(verdict, read):
        raise typer.Exit(1)


def detect(
    model: Model,
    key: KeyFile,
    false_positive_rate: Annotated[
        float, typer.Option(help="Largest probability of a wrong yes.")
    ] = LEVEL,
    layer: LayerToRead = None,
    reference: Reference = None,
    run: Annotated[
        bool, typer.Option(help="Try whether answers depend on the weights that say yes.")
    ] = True,
    inputs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Samples to run it on, by the names of its inputs. [default: some are drawn]",
        ),
    ] = None,
    wrong_keys: Annotated[
        int,
        typer.Option(min=0, max=1_000_000, help="Random keys to try beside it, for a rank."),
    ] = 0,
    output_format: OutputFormat = Format.TEXT,
    timeout: Timeout = 600.0,
    memory_limit: MemoryLimit = None,
    provider: Provider = None,
) -> None:
    """Tell whether a network carries a watermark.

    The weights that were read are named, and whether they are used: those that no output depends on
    carry nothing, so a small network is run, in a process of its own, with other weights in their
    place. The exit status is 0 for yes and 1 for no. A mark of integrity is there where
    blocks of it are whole; the answer tells how many are, and whether the network is what it was.

    Example: nnw detect suspect.onnx --key key.npz
    """
    import nnw_onnx as nnw

    if not 0 < false_positive_rate < 1:
        raise ConfigurationError(
            f"--false-positive-rate: expected a number between 0 and 1, got "
            f"{false_positive_rate:g}; give for example 1e-6"
        )
    network, claim = _both(model, key, "detect")
    detection = nnw.detect(
        network,
        claim,
        false_positive_rate=false_positive_rate,
        layer=layer,
        reference=reference,
        run=run,
        inputs=inputs,
        wrong_keys=wrong_keys,
        timeout=timeout,
        memory_limit=memory_limit,
        providers=provider or (),
    )
    if output_format is Format.JSON:
        whole = _whole(detection, claim)
        output.as_json({**asdict(detection), "p_value": detection.p_value, "whole": whole})
    else:
        output.text(*_in_words(detection, claim))
    if detection and _whole(detection, claim) is False:
        output.note(_ONLY_THERE)
    if not detection:
        if reference is None and _hangs_on_order(claim):
            output.note(_OTHER_ORDER)
        raise typer.Exit(1)


def _hangs_on_order(claim: Claim) -> bool:
    from nnw_onnx import plugins
    from nnw_onnx.runs import resync

    return resync.refusal(plugins.method_of(claim.key)) is None


_OPEN_OPTIONS = (
    "options left open: the commitment is of an earlier version and does not bind the options of "
    "the method; ask for the dated key file, or count each choice of them as one more key"
)


_RECORDED = (
    "the hash is the one that the model records; anybody can write it there, so compare it with "
    "the one that was published"
)


def verify_commitment(
    key: Annotated[Path, typer.Argument(metavar="KEY.npz", help="Key file of the claim.")],
    original: Annotated[
        Path, typer.Argument(metavar="ORIGINAL", help="ONNX file as it was before the mark.")
    ],
    commitment: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="The hash that was published. [default: the key's own]"),
    ] = None,
    recorded: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Marked network whose metadata have the hash instead."),
    ] = None,
) -> None:
    """Tell whether a commitment binds a key and a network.

    The network is the unmarked original. A yes shows that key and payload were chosen before the
    hash was published, and not after looking at a suspect. The hash in a key file shows nothing
    alone: compare it with the published one. The exit status is 0 for yes and 1 for no.

    Example: nnw verify-commitment key.npz original.onnx
    """
    import nnw_onnx as nnw

    claim = nnw.load_key(key)
    found = nnw.verify_commitment(
        claim, nnw.open(original), published=commitment, recorded=recorded
    )
    if recorded is not None:
        output.note(_RECORDED)
    if found:
        output.text(
            "yes: the commitment binds this key, its payload, its carrier and this network",
            f"commitment {found.hash}",
            *([] if found.options else [_OPEN_OPTIONS]),
        )
        return
    output.text(f"no: {found.reason}", f"commitment {found.hash}")
    raise typer.Exit(1)


def _both(model: Path, key: Path, command: str) -> tuple[OnnxNetwork, Claim]:
    """Network and claim; refused in one line where they are given the other way round."""
    import nnw_onnx as nnw

    if model.suffix == ".npz" and key.suffix == ".onnx":
        raise ConfigurationError(
            f"MODEL: expected the network, got the key file; write it as: nnw {command} {key} "
            f"--key {model}"
        )
    network = nnw.open(model)
    # Not what onnx objects to: its checker learns all operators first, longer than a reading takes.
    warn(network.reading_warnings)
    return network, nnw.load_key(key)


def _worth(verdict: Verdict, read: Decoding) -> list[str]:
    """What a reading is worth, and what a high error means."""
    where = ", ".join(dict.fromkeys(found.layer for found in verdict.found))
    lines = [f"read from {where}"] if where else []
    lines += [verdict.reason] if verdict.reason else []
    size, errors = len(read.payload), verdict.errors
    if errors is None:
        told = f"the key file tells no payload, so nothing shows whether these {size} symbols"
        return [*lines, f"{told} were put in"]
    if errors == 0:
        return [*lines, f"all {size} symbols are those of the key file"]
    lines.append(
        f"{errors} of {size} symbols ({errors / size:.0%}) differ from those of the key file, "
        f"{_meaning(verdict, errors / size, 1 - 1 / read.payload.alphabet)}"
    )
    if verdict.bit_errors is not None:
        lines.append(f"after the code {verdict.bit_errors} of {verdict.bits} bits are wrong")
    return lines


def _means_nothing(verdict: Verdict, read: Decoding) -> bool:
    """Whether what was read is no better than chance beside what the key says was put in."""
    found, errors = verdict.detection, verdict.errors
    if not errors or (found is not None and (found.detected or _inverted(found))):
        return False
    return errors / len(read.payload) > _NEAR_CHANCE * (1 - 1 / read.payload.alphabet)


def _meaning(verdict: Verdict, error: float, chance: float) -> str:
    """What a Symbol Error Rate means beside the one that chance makes."""
    found = verdict.detection
    inverted = None if found is None else found.log10_inverted
    if found is not None and found.detected:
        return f"chance makes {chance:.0%}: the watermark is there, and damaged"
    if inverted is not None and inverted <= math.log10(LEVEL):
        return "almost every one of them inverted: the sign of the carrier's weights was changed"
    if error > _NEAR_CHANCE * chance:
        return f"about as chance makes them ({chance:.0%}): what was read means nothing; {_WRONG}"
    return (
        f"fewer than chance makes ({chance:.0%}), and still too many to say that the watermark is "
        "there"
    )


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
        "found": [asdict(found) for found in verdict.found],
        "notes": [*read.notes, *([] if verdict.reason is None else [verdict.reason])],
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
    from nnw_onnx.kit import evidence
    from nnw_onnx.runs.verify import NO_CARRIER, NO_CLAIM

    level, what = detection.level or LEVEL, _what(claim)
    if detection.null in (NO_CARRIER, NO_CLAIM):
        return [f"no: {detection.null.name}", *_where(detection), *detection.notes]
    short = evidence.too_short(detection.null, level)
    answer = "yes" if detection else "no" if short is None else "no, it cannot be shown"
    whole = _whole(detection, claim)
    if detection and whole is False:
        answer = "yes, but the network is not what it was"
    score = _score(detection, what)
    wrong = _WRONG if whole is None else _ALL_CHANGED
    lines = [
        f"{answer}: {score}",
        _sure(detection, level),
        *_size(detection, what[0]),
        *([short] if short else []),
        *([wrong] if _is_chance(detection) else []),
        *_where(detection),
        *(note for note in detection.notes if note != score),
    ]
    if _inverted(detection):
        lines.append(
            "almost every symbol is inverted: the sign of the carrier's weights was changed"
        )
    places = _telling(detection, claim)
    lines += [_place(place) for place in places[:MOST_PLACES]]
    more = len(places) - MOST_PLACES
    return lines + [f"and {more} more places; '--format json' has all"] * (more > 0)


def _sure(detection: Detection, level: float) -> str:
    """How often a network made without the key does as well, where anybody knows."""
    from nnw_onnx.vocabulary.evidence import power

    if detection.log10_p is None:
        return "how often a network made without this key does as well is not known"
    return (
        "a network made without this key matches as well with probability "
        f"{power(detection.log10_p)}; yes means {level:g} or less"
    )


def _telling(detection: Detection, claim: Claim) -> list[Place]:
    """The places worth showing: those of most evidence, or of integrity those that were changed."""
    most = max((place.statistic for place in detection.places), default=0.0)
    if _of_integrity(claim):
        hurt = [p for p in detection.places if p.statistic < most or not detection.statistic]
        return sorted(hurt, key=lambda place: (place.layer, place.start))
    return sorted(detection.places, key=lambda place: -place.statistic)


def _of_integrity(claim: Claim) -> bool:
    from nnw_onnx import plugins

    return plugins.method_of(claim.key).kind == "integrity"


def _whole(detection: Detection, claim: Claim) -> bool | None:
    """Whether all that a mark of integrity vouches for is as it was; None of other marks."""
    if not _of_integrity(claim):
        return None
    return bool(detection) and not _telling(detection, claim)


def _is_chance(detection: Detection) -> bool:
    """Whether as many match as a wrong key makes, or fewer, but for an inverted mark."""
    symbols, chance = detection.null.symbols, detection.null.chance
    if detection or not symbols or not chance or _inverted(detection):
        return False
    wrong = 1 - detection.statistic / symbols
    return wrong > _NEAR_CHANCE * (1 - chance)


def _inverted(detection: Detection) -> bool:
    inverted = detection.log10_inverted
    return inverted is not None and inverted <= math.log10(detection.level or LEVEL)


def _size(detection: Detection, what: str) -> list[str]:
    """How many must match at this level, and the exact chance that they do."""
    if detection.needed is None or detection.attained is None:
        return []
    chance = f"chance makes so many with probability {detection.attained:.2g}"
    return [f"yes takes {detection.needed} of {detection.null.symbols} {what}: {chance}"]


def _where(detection: Detection) -> list[str]:
    """The layers that were read, and what is known of their use."""
    few = detection.found[:_MOST_FOUND]
    lines = [
        f"read from layer {f.layer}{f' ({f.part})' if f.part else ''}; {_USES[f.use]}"
        + (f" ({f.note})" if f.note else "")
        for f in few
    ]
    more = len(detection.found) - len(few)
    return lines + ([f"and from {more} more"] if more else [])


_MOST_FOUND = 4
_USES = {
    "live": "an output is computed with it",
    "answers depend": "answers depend on it",
    "answers do not depend": "no answer depends on it",
}


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
    if method.kind == "integrity":
        return "blocks", "are whole"
    if method.alphabet == 0:
        return "parts", "are as the key says"
    return "symbols", "match the payload"


def _place(place: Place) -> str:
    from nnw_onnx.vocabulary.evidence import power

    sure = "" if place.log10_p is None else f", probability {power(place.log10_p)}"
    return f"{place.layer} [{place.start}:{place.stop}]: {place.statistic:g}{sure}"
