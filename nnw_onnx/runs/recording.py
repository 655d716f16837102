"""What was found, as records keep it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from pydantic import ValidationError

from nnw_onnx import plugins
from nnw_onnx.records import (
    BlocksRecord,
    FoundRecord,
    NullRecord,
    PlaceRecord,
    Scores,
    VerdictRecord,
)
from nnw_onnx.runs import guard
from nnw_onnx.runs.verify import Verdict
from nnw_onnx.vocabulary import Json, Quality
from nnw_onnx.vocabulary.tasks import LARGEST

MOST_PLACES = 64


def verdict_record(
    injection: str, verdict: Verdict, blocks: BlocksRecord | None = None
) -> VerdictRecord:
    """A verdict on the claim of an injection, and what was changed and named of its blocks."""
    method = plugins.method_of(verdict.claim.key)
    return guard.recorded(method, "verdict", lambda: _verdict_record(injection, verdict, blocks))


def _verdict_record(injection: str, verdict: Verdict, blocks: BlocksRecord | None) -> VerdictRecord:
    read, found = verdict.decoding, verdict.detection
    return VerdictRecord(
        injection=injection,
        status=verdict.status,
        reason=verdict.reason,
        symbols=_symbols(verdict),
        errors=verdict.errors,
        bits=verdict.bits,
        bit_errors=verdict.bit_errors,
        statistic=None if found is None else found.statistic,
        log10_p=None if found is None else found.log10_p,
        log10_inverted=None if found is None else found.log10_inverted,
        null=None if found is None else NullRecord(**asdict(found.null)),
        detected=None if found is None else found.detected,
        needed=None if found is None else found.needed,
        attained=None if found is None or found.attained is None else min(1.0, found.attained),
        ties=None if read is None else read.ties,
        min_confidence=None if read is None else float(min(read.confidence)),
        mean_confidence=None if read is None else float(np.mean(read.confidence)),
        places=_places(verdict),
        notes=_notes(verdict),
        found=tuple(FoundRecord(**asdict(f)) for f in verdict.found if not f.plain)[:MOST_PLACES],
        blocks=blocks,
    )


def unrecordable(error: ValidationError) -> str:
    """Why a record cannot hold what was found, where nobody can be named for it."""
    return (
        f"record: expected words and numbers of at most {LARGEST:g}, got "
        f"{guard.wrong_in(error)}; look at what the Modification or the training leaves"
    )


def scores_of(quality: Quality) -> Scores | None:
    """Scores by sample, as one bit each where they are right or wrong; None without any."""
    scores, weights = quality.scores, quality.weights
    if scores is None:
        return None
    right_or_wrong = weights is None and bool(np.isin(scores, (0.0, 1.0)).all())
    data = np.packbits(scores.astype(bool)) if right_or_wrong else scores.astype("<f4")
    return Scores(
        form="bits" if right_or_wrong else "float32",
        n=len(scores),
        data=_base64(data.tobytes()),
        weights=None if weights is None else _base64(weights.astype("<f4").tobytes()),
    )


def facts_of(facts: Mapping[str, Json]) -> dict[str, float | str]:
    """Facts as numbers and words; what is neither is written as JSON."""
    found: dict[str, float | str] = {}
    for name, value in facts.items():
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if plain or isinstance(value, str):
            found[name] = value  # type: ignore[assignment]  # a number or words by the line above
        else:
            found[name] = json.dumps(value)
    return found


def _symbols(verdict: Verdict) -> int | None:
    """Symbols that were compared; of a Detector that reads none, what its null counts."""
    if verdict.decoding is not None:
        return len(verdict.decoding.payload) or None
    if verdict.status != "done" or verdict.detection is None:
        return None
    return verdict.detection.null.symbols


def _places(verdict: Verdict) -> tuple[PlaceRecord, ...]:
    """The places that tell most: those of most evidence, of an integrity method of least."""
    found = () if verdict.detection is None else verdict.detection.places
    ordered = sorted(
        found, key=lambda p: (0.0 if p.log10_p is None else p.log10_p, -p.statistic, p.layer)
    )
    if plugins.method_of(verdict.claim.key).kind == "integrity":
        # What was changed has to be named; the place of most evidence tells whether all are alike.
        ordered = [*reversed(ordered[1:][1 - MOST_PLACES :]), *ordered[:1]]
    return tuple(PlaceRecord(**asdict(place)) for place in ordered[:MOST_PLACES])


def _notes(verdict: Verdict) -> tuple[str, ...]:
    """Notes on what was read and on the evidence, each once."""
    read, found = verdict.decoding, verdict.detection
    # That there is no carrier is the reason of the verdict already.
    told = () if found is None or found.null.name.startswith("no carrier") else found.notes
    return tuple(dict.fromkeys((*(read.notes if read else ()), *told)))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
