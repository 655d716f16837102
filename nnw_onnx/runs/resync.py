"""Claims heard on a network that was put back into the order of a reference first.

Channels that change places, other scales and signs, dummies and normalisations folded into weights
leave what a network answers, and take most marks in weights away. A reference is the network as it
was before any mark. What was done is told from the two networks alone, so that for whoever made a
network without the key, a key reads from it as before: the null distribution stays exact and the
p-value needs no correction.

A reference that carries the claimed mark itself knows the key. Then the layers of the key take no
part in the likeness; see `without_carriers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit.alignment import Alignment, Matched
from nnw_onnx.records import AligningRecord
from nnw_onnx.runs.finding import in_words
from nnw_onnx.runs.modify import difference
from nnw_onnx.runs.realigning import InOrder, Realigned, realigned
from nnw_onnx.runs.suspect import AskLayers, Examined, fitted
from nnw_onnx.runs.suspect import suspects as plain_suspects
from nnw_onnx.runs.verify import BY_NAME, Search, SuspectOf, Verdict, verify
from nnw_onnx.vocabulary import Around, Ask, Claim, Feeds, Found, Key, Method, Values

LARGEST_DIFFERENCE = 0.1
"""Largest change of an answer over the largest answer at which the network in order still counts as
the one that was given, where its inner layers are run: integers compute with coarser numbers."""


def refusal(method: Method) -> str | None:
    """Why re-synchronisation is nothing for a method, in words; None where it is."""
    if method.kind == "fingerprint":
        return (
            "a fingerprint is told by its likeness to the network it was taken from, which putting "
            "another in the order that is most like it would raise"
        )
    if plugins.sees_whole(method) is not None:
        return "it is shown networks whole, and only layers are put back"
    if method.kind == "integrity":
        return "integrity asks whether a network is as it was, its order included"
    if method.in_order:
        return "its mark lies in the order or the scales of channels, which putting back takes out"
    if method.access == "answers":
        return "what only asks a network does not depend on the order of its channels"
    return None


def check(key: Key) -> None:
    """Raise `ConfigurationError` where re-synchronisation is nothing for the method of a key."""
    reason = refusal(plugins.method_of(key))
    if reason is not None:
        raise ConfigurationError(
            f"reference: expected none for {key.method.name}, because {reason}; leave it out"
        )


def in_order(network: OnnxNetwork, reference: OnnxNetwork, key: Key, *, marked: bool) -> Realigned:
    """The network in the order of the reference, for the claim of a key.

    Args:
        network: as it was given.
        reference: see the module.
        key: of the claim.
        marked: whether the reference carries the claimed mark itself.

    Raises:
        ConfigurationError: it does, and nothing else is left to tell the order by.
        ModelFileError: weights cannot be read.
    """
    if not marked:
        return realigned(network, reference)
    found = realigned(network, reference, key.layers)
    if not _tells(found, key):
        raise ConfigurationError(
            "reference: expected the network before the mark, or one with layers beside those of "
            "the key that tell the order of their channels, got the mark itself and none; give the "
            "network as it was before"
        )
    return found


def _tells(found: Realigned, key: Key) -> bool:
    """Whether the order of all channels of the key's layers was told by other layers."""
    strands = found.alignment.strands
    names = [name for name in key.layers if name in strands.by_name]
    return all(strands.numbers(name) <= found.alignment.orders.keys() for name in names)


def suspects(
    found: Realigned,
    network: OnnxNetwork,
    given: AskLayers,
    now: AskLayers,
    around: Sequence[Around] = (),
) -> SuspectOf:
    """The network in order as a method may see it: only layers that were found are there.

    Args:
        found: the network in order.
        network: as it was given.
        given: asks that.
        now: asks `found.network`.
        around: what stands before the network.
    """
    seen = InOrder(found)
    ask = _proved(found, lambda feeds: given(fitted(network, feeds), ()), now)

    def suspect_of(method: Method) -> Examined:
        return Examined(seen, method.access, ask, around)

    return suspect_of


def heard(
    suspect_of: SuspectOf,
    claims: Iterable[Claim],
    level: float,
    found: Realigned,
    search: Search = BY_NAME,
    *,
    marked: bool = False,
) -> Iterator[Verdict]:
    """A verdict for each claim on a network in order, with where it was read and how sure that is.

    Args:
        suspect_of: of `suspects`.
        claims: see `verify`.
        level: see `verify`.
        found: the network in order.
        search: see `verify`; the probe is asked about the network that was given.
        marked: whether the reference carries the claimed mark itself.
    """
    if search.probe is not None:
        search = replace(search, probe=_translated(search.probe, found))
    notes = in_sentences(found, marked=marked)
    for verdict in verify(suspect_of, claims, level, search):
        yield _told(verdict, found, notes)


def alone(
    network: OnnxNetwork,
    reference: OnnxNetwork,
    claim: Claim,
    level: float,
    search: Search,
    asking: Callable[[OnnxNetwork], AskLayers],
) -> tuple[Verdict, SuspectOf]:
    """The verdict on a claim beside a reference, and the network in order on which it was heard.

    That is the network as it was given where it could not be put in order.

    Args:
        network: as it was given.
        reference: see the module.
        claim: what is claimed.
        level: see `verify`.
        search: see `verify`.
        asking: runs a network.

    Raises:
        ConfigurationError: re-synchronisation is nothing for the method, or see `in_order`.
    """
    check(claim.key)
    marked = _carries(plain_suspects(reference, asking(reference)), claim, level)
    found = in_order(network, reference, claim.key, marked=marked)
    given = asking(network)
    if found.recovered:
        suspect_of: SuspectOf = suspects(found, network, given, asking(found.network))
    else:
        suspect_of = plain_suspects(network, given)
    return next(heard(suspect_of, [claim], level, found, search, marked=marked)), suspect_of


def _carries(suspect_of: SuspectOf, claim: Claim, level: float) -> bool:
    """Whether a network carries a claimed mark; where no null decides, whether it is read whole."""
    verdict = next(verify(suspect_of, [claim], level))
    found = verdict.detection
    if found is None or found.detected is None:
        return verdict.errors == 0
    return found.detected


def in_sentences(found: Realigned, *, marked: bool = False) -> tuple[str, ...]:
    """What a person should know of how a network was put in order."""
    told = facts(found)
    if not told.recovered:
        return (f"not re-synchronised: {told.reason}",)
    lines = [
        f"re-synchronised with the reference: {told.channels - told.lost} of {told.channels} "
        f"channels of {told.axes} hidden axes matched (mean cosine {told.cosine:.2f}, "
        f"{told.margin:.2f} above the best wrong ones), {told.moved} of them in other places"
        + "".join(f"; {done}" for done in _undone(told)),
        "the order was told by the reference without the key, so the p-value needs no correction",
    ]
    if told.told < told.axes:
        lines.append(
            f"the channels of {told.axes - told.told} axes could not be told apart for sure; their "
            "order is the likeliest one"
        )
    if marked:
        lines[1] = (
            "the reference carries the mark itself, so the layers of the key took no part in "
            "telling the order; the p-value holds for a method that changed no others"
        )
    return tuple(lines)


def _undone(told: AligningRecord) -> list[str]:
    parts = [
        (told.scaled, "scales undone"),
        (told.turned, "signs turned back"),
        (told.dummies, "dummies taken out"),
        (told.mixed, "axes put back into their basis"),
        (told.folded, "normalisations unfolded"),
        (told.lost, "missing channels, which are zeros now"),
    ]
    return [f"{count} {words}" for count, words in parts if count]


def facts(found: Realigned) -> AligningRecord:
    """How a network was put in order, in numbers."""
    alignment = found.alignment
    matched = list(alignment.matched.values())
    kernels = list(alignment.likeness.values())
    weights = [one.axis.size for one in matched] or None
    return AligningRecord(
        recovered=found.recovered,
        reason=None if found.recovered else _why_not(alignment),
        layers=len(found.given),
        missing=len(found.missing),
        ways=dict(Counter(place.way for place in alignment.places.values())),
        axes=len(alignment.strands.axes),
        told=sum(one.told for one in matched),
        channels=sum(axis.size for axis in alignment.strands.axes),
        moved=sum(one.moved for one in matched),
        lost=sum(one.missing for one in matched),
        dummies=sum(one.merged + one.dropped for one in alignment.removed.values()),
        scaled=sum(_scaled(one) for one in matched),
        turned=sum(int((one.order.signs < 0).any(axis=0).sum()) for one in matched),
        mixed=sum(one.mixed for one in matched),
        folded=len(found.folded),
        cosine=_mean([one.cosine for one in matched or kernels], weights),
        margin=_mean([one.margin for one in matched or kernels], weights),
        gap=alignment.gap,
    )


def _scaled(one: Matched) -> int:
    """Channels whose factors are not 1."""
    return int((one.order.factors != 1).any(axis=0).sum())


def _mean(values: Sequence[float], weights: Sequence[int] | None) -> float | None:
    return float(np.average(values, weights=weights)) if values else None


def _why_not(found: Alignment) -> str:
    return (
        "its channels are no more like those of the reference than of any other network (their "
        f"partners are {found.gap:.2g} deviations above the best wrong ones, and "
        f"{found.wanted:.2g} would tell them apart)"
    )


def _told(verdict: Verdict, found: Realigned, notes: tuple[str, ...]) -> Verdict:
    """The verdict with the places in the network that was given."""
    where = tuple(map(found.found, verdict.found))
    notes = (*notes, *in_words(where, verdict.claim.key))
    detection, decoding = verdict.detection, verdict.decoding
    if detection is not None:
        places = tuple(map(found.found, detection.found))
        detection = replace(detection, found=places, notes=(*detection.notes, *notes))
    if decoding is not None:
        decoding = replace(decoding, found=where, notes=(*decoding.notes, *notes))
    return replace(verdict, found=where, detection=detection, decoding=decoding)


Probe = Callable[[tuple[Found, ...]], tuple[Found, ...]]


def _translated(probe: Probe, found: Realigned) -> Probe:
    """The probe of the network that was given, asked about places of the network in order."""

    def ask(where: tuple[Found, ...]) -> tuple[Found, ...]:
        told = probe(tuple(map(found.found, where)))
        return tuple(
            replace(one, use=new.use, note=new.note) for one, new in zip(where, told, strict=True)
        )

    return ask


def _proved(found: Realigned, given: Ask, now: AskLayers) -> AskLayers:
    """Asks the network in order, where it answers as the one that was given."""

    def ask(feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        if found.missing:
            raise CarrierNotFoundError(
                "re-synchronisation: expected every layer of the reference, because inner layers "
                f"are run, got none that is {found.missing[0]}; take the network that this one was "
                "converted from"
            )
        told, own = now(feeds, layers), given(feeds)
        outputs = [values for name, values in told.items() if name not in layers]
        change = difference(list(own.values()), outputs)
        if change > LARGEST_DIFFERENCE:
            raise CarrierNotFoundError(
                f"re-synchronisation: expected a network in order that answers as the one that was "
                f"given, got answers that differ by {change:.2g} of the largest; not all that was "
                "done to it is known"
            )
        return told

    return ask
