"""Wrong keys: random ones that have nothing to do with a network, as a control of the Detectors.

They are drawn for network and technology alone, so that every setting meets the same ones; where a
carrier is so large that keys take long, the first of each trial's share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from nnw_onnx import plugins
from nnw_onnx.kit import foreign
from nnw_onnx.records import ControlRecord
from nnw_onnx.runs import coding, seeds
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.context import Context, network_of
from nnw_onnx.runs.elsewhere import claim_of_file
from nnw_onnx.runs.finding import places_of
from nnw_onnx.runs.inject import new_claim
from nnw_onnx.runs.plan import injection_fields
from nnw_onnx.runs.training import Added
from nnw_onnx.runs.verify import SuspectOf, Verdict, verify
from nnw_onnx.vocabulary import Claim, Claims, Code, Key, Method, Payload, Technology, Trial

_MOST_WEIGHTS = 1 << 23
"""Weights that the wrong keys of one trial read in all, a second or two of work. A bound on numbers
and not on time, because records must be the same on every machine."""


def is_cheap(technology: Technology) -> bool:
    """Whether wrong keys are a control of a technology, and cost no inference each.

    Those of a fingerprint or of a method that learns its Decoder would each need an enrolment or a
    training of its own; `control_of` finds the latter. Those of a method that embeds by itself
    would each need an injection.
    """
    method = plugins.create(Method, technology.method)
    alone = plugins.sees_whole(method) is not None
    return method.access == "weights" and method.kind != "fingerprint" and not alone


def controls_of(context: Context, trial: Trial, suspect_of: SuspectOf) -> list[ControlRecord]:
    """What the wrong keys of a trial came to, for each technology of which they are a control.

    Args:
        context: of the run.
        trial: which keys.
        suspect_of: the network that they are tried on.
    """
    found = [
        control_of(context, trial.network, claims, suspect_of)
        for claims in trial.claims
        if claims.of == "wrong"
    ]
    return [control for control in found if control is not None]


def control_of(
    context: Context, network: int, claims: Claims, suspect_of: SuspectOf
) -> ControlRecord | None:
    """What the wrong keys of a trial came to; None where they are no control.

    Args:
        context: of the run.
        network: index of the unwatermarked network that the keys are made for.
        claims: which keys, and of which technology.
        suspect_of: the network that they are tried on.
    """
    index = claims.technology or 0
    template = _template(context, network, index)
    if template is None:
        return None
    count = min(claims.count, _most(template.key, suspect_of))
    wrong = _wrong(context, network, index, template, range(claims.first, claims.first + count))
    return _counted(index, verify(suspect_of, wrong, context.false_positive_rate))


def _most(key: Key, suspect_of: SuspectOf) -> int:
    """How many keys of a trial are tried, at least one."""
    method = plugins.method_of(key)
    places = places_of(suspect_of(method), method, key)
    # Where the carrier's name is gone, wrong keys are looked for in as many places as right ones.
    read = 1 if places.first is not None else max(1, len(places.others()))
    return max(1, _MOST_WEIGHTS // max(1, read * sum(map(math.prod, key.shapes))))


@dataclass(frozen=True)
class _Template:
    """A key made for a network, and whether one with another secret differs in nothing else.

    Choosing a carrier costs far more than drawing what a secret stands for, so such a key is made
    once and the secrets are put into it.
    """

    key: Key
    shared: bool


@lru_cache(maxsize=16)
def _template(context: Context, network: int, index: int) -> _Template | None:
    """None where the technology learns its Decoder: a key without a training means nothing."""
    if any(mark.technology == index for mark in context.marked):
        return _elsewhere(context, network, index)
    one, other = (_made(context, network, index, number) for number in (0, 1))
    if _learns(context, network, index, one):
        return None
    blank = [
        replace(claim.key, secret=bytes(32), commitment="", opening="", notes=())
        for claim in (one, other)
    ]
    no_arrays = not one.key.arrays and not other.key.arrays
    return _Template(one.key, shared=no_arrays and blank[0] == blank[1])


def _elsewhere(context: Context, network: int, index: int) -> _Template | None:
    """The key of a mark that others have put into this network; None where wrong ones need more.

    Of a method that learns something for each key, a wrong one cannot be drawn.
    """
    own = (m for m in context.marked if (m.technology, m.network) == (index, network))
    mark = next(own, None)
    if mark is None:
        return None
    key = claim_of_file(mark).key
    ready = foreign.is_foreign(key) or not key.arrays
    return _Template(key, shared=True) if ready else None


def _learns(context: Context, network: int, index: int, claim: Claim) -> bool:
    technology = context.technologies[index]
    method = plugins.trains(plugins.create(Method, technology.method))
    if technology.recipe is None or method is None:
        return False
    return bool(Added(method, network_of(context, network), claim).additions.state)


def _wrong(
    context: Context, network: int, index: int, template: _Template, numbers: Iterable[int]
) -> Iterator[Claim]:
    if not template.shared:
        yield from (_made(context, network, index, number) for number in numbers)
        return
    technology, base = context.technologies[index], _base(context, network, index)
    method = plugins.create(Method, technology.method)
    code = None if technology.code is None else plugins.create(Code, technology.code)
    # Symbols are all that is compared: to decode a code for each wrong key would cost far more.
    bits = technology.size if code is None else code.length(technology.size)
    plain = replace(template.key, code=None, carries=bits, commitment="", opening="")
    for number in numbers:
        secret, payload = _drawn(base, number, technology.size)
        claim = Claim(replace(plain, secret=secret), coding.symbols_of(method, code, payload))
        if foreign.is_foreign(plain):
            yield from foreign.wrong(claim, (0,))
        else:
            yield replace(claim, of="wrong")


def _made(context: Context, network: int, index: int, number: int) -> Claim:
    """A wrong claim with a key made for the network as any other key is."""
    technology, given = context.technologies[index], network_of(context, network)
    place = Place(
        name="control", title="control", technology=technology, layers=technology.layers,
        original=given,
    )  # fmt: skip
    secret, payload = _drawn(_base(context, network, index), number, technology.size)
    bench = RunBench(context, given, place)
    return new_claim(technology, given, payload, secret, bench, "wrong")


@lru_cache(maxsize=64)
def _base(context: Context, network: int, index: int) -> str:
    """What the wrong keys of a network and technology follow from, and no more."""
    return seeds.identity(
        purpose="wrong keys",
        seed=context.seed,
        network=context.sha256[network],
        **injection_fields(context.technologies[index], context.sources),
    )


def _drawn(base: str, number: int, size: int) -> tuple[bytes, Payload]:
    """Secret and payload of a wrong key."""
    drawn = seeds.identity(of=base, number=number)
    return bytes.fromhex(drawn), Payload(seeds.bits(size, of=drawn))


def _counted(index: int, verdicts: Iterable[Verdict]) -> ControlRecord | None:
    keys = detected = errors = symbols = 0
    logarithms: list[float] = []
    for verdict in verdicts:
        found, read = verdict.detection, verdict.decoding
        if found is None or found.log10_p is None:
            return None  # no null, no level that a control could keep
        keys += 1
        detected += bool(found)
        logarithms.append(found.log10_p)
        if read is not None and verdict.errors is not None:
            errors, symbols = errors + verdict.errors, symbols + len(read.payload)
    return ControlRecord(
        technology=index,
        keys=keys,
        detected=detected,
        below=(
            _at_most(-1, logarithms),
            _at_most(-2, logarithms),
            _at_most(-3, logarithms),
            _at_most(-4, logarithms),
        ),
        log10_least=min(logarithms, default=0.0),
        errors=errors,
        symbols=symbols,
    )


def _at_most(bound: float, logarithms: Sequence[float]) -> int:
    return sum(value <= bound for value in logarithms)
