"""How visible a mark is in the weights, to somebody who has no key.

Two looks at the layers that carry it: beside the same layer before, which nobody but the owner has;
and by a detector that was trained on layers of other networks with and without a mark, which
anybody can train who knows the method.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math.held_out import areas, balanced, held_out
from nnw_onnx.math.statistics import CONFIDENCE, Limits, student_quantile
from nnw_onnx.measures.limits import OTHER_NETWORKS, Nested, average
from nnw_onnx.measures.results import Seen, Value, Visibility
from nnw_onnx.measures.run import Run
from nnw_onnx.records import InjectionRecord, TechnologyRecord, TraceRecord

DRAWS = 999
"""Other labels that the area is compared with."""
LEVEL = 0.05
NO_TRACE = "no layer of its own carries it, or it was injected by an older version"
_FEW = f"fewer than {OTHER_NETWORKS} networks: a detector cannot be trained on others"
_NO_TWIN = "the twin, which is the same training without a watermark, has no such layer"


@dataclass(frozen=True)
class Look:
    """Numbers of one layer, with a mark or without.

    Attributes:
        network: it is in.
        layer: its name.
        marked: whether it carries a mark.
        features: what can be told of it.
    """

    network: int
    layer: str
    marked: bool
    features: tuple[float, ...]


def visibility(run: Run, technology: TechnologyRecord) -> Visibility:
    """What can be seen of the marks of a technology."""
    done = [i for i in run.marks(technology.index) if i.status == "done" and i.traces]
    twins = run.twins(technology)
    looks = list(_looks(done, twins if technology.training is not None else None))
    auc, p_value = detector(looks, _NO_TWIN if done else NO_TRACE)
    return Visibility(
        reference="twin" if technology.training is not None else "original",
        weights=_mean(done, lambda t: t.statistic),
        filter_means=_mean(done, lambda t: t.means_statistic),
        variance_ratio=_mean(done, lambda t: t.variance_ratio),
        auc=auc,
        p_value=p_value,
        verdict=_verdict(p_value),
        layers=len({name.layer for i in done for name in i.traces}),
    )


def detector(looks: Sequence[Look], otherwise: str) -> tuple[Value, float | None]:
    """What a detector of marks is worth that was trained on the layers of other networks.

    Returns:
        Area under the curve, the chance that a marked layer looks more marked than an unmarked one
        (0.5 is guessing), with approximate limits, those of a jackknife over networks; and the
        chance of so large an area if nothing can be seen: which of the looks at a layer is the one
        without a mark is drawn anew, and the detector trained on that. It is exact; the limits are
        not (in simulation they cover 87 to 93 %), since all detectors share most of what they know.
    """
    both = [{k.network for k in looks if k.marked is marked} for marked in (True, False)]
    networks = sorted(both[0] & both[1])
    if not networks:
        return Value.missing(otherwise), None
    if len(networks) < OTHER_NETWORKS:
        return Value.missing(_FEW), None
    known = [k for k in looks if k.network in networks]
    places, marked = np.array([k.network for k in known]), np.array([[k.marked for k in known]])
    matrix = held_out([k.features for k in known], places)
    scores = balanced(marked) @ matrix.T
    whole = float(areas(scores, marked)[0])
    without = [float(areas(scores[:, places != n], marked[:, places != n])[0]) for n in networks]
    relabelled = _relabelled(known)
    reached = areas(balanced(relabelled) @ matrix.T, relabelled) >= whole - 1e-12
    p_value = (1 + int(reached.sum())) / (1 + DRAWS)
    value = Value(value=whole, networks=len(networks))
    limits = _jackknife(whole, np.array(without))
    if limits is None:
        return value.model_copy(update={"reason": "no network changes it: no limits hold"}), p_value
    low, high = max(0.0, limits[0]), min(1.0, limits[1])
    return value.model_copy(update={"low": low, "high": high, "method": "approximate"}), p_value


def _relabelled(looks: Sequence[Look]) -> NDArray[np.bool_]:
    """(DRAWS, N) other labels: in each layer of each network as many without a mark as before.

    What is drawn follows from the looks, so that the same records give the same report.
    """
    places: dict[tuple[int, str], list[int]] = {}
    for i, look in enumerate(looks):
        places.setdefault((look.network, look.layer), []).append(i)
    told = hashlib.shake_256(repr([k.features for k in looks]).encode())
    numbers = np.frombuffer(told.digest(4 * DRAWS * len(looks)), np.uint32)
    keys = numbers.reshape(DRAWS, len(looks))
    labels = np.ones((DRAWS, len(looks)), dtype=np.bool_)
    for group in places.values():
        plain = sum(not looks[i].marked for i in group)
        least = np.argsort(keys[:, group], axis=1, kind="stable")[:, :plain]
        for column in least.T:
            labels[np.arange(DRAWS), np.array(group)[column]] = False
    return labels


def _looks(
    done: Sequence[InjectionRecord], twins: Sequence[InjectionRecord] | None
) -> Iterator[Look]:
    """Layers with marks, and the same without: of the original, or of the twin after training."""
    carriers = {(i.network, t.layer) for i in done for t in i.traces}
    plain: dict[tuple[int, str], tuple[float, ...]] = {}
    for injection in done if twins is None else twins:
        for trace in injection.traces:
            place = (injection.network, trace.layer)
            if place in carriers:
                plain[place] = trace.before if twins is None else trace.after
    for injection in done:
        for trace in injection.traces:
            yield Look(injection.network, trace.layer, True, trace.after)
    for (network, layer), found in plain.items():
        yield Look(network, layer, False, found)


def _jackknife(whole: float, without: NDArray[np.float64]) -> Limits | None:
    """Limits of a number over networks, from what it is without each of them."""
    n = without.size
    values = n * whole - (n - 1) * without
    error = float(values.std(ddof=1)) / math.sqrt(n)
    half = student_quantile(n, CONFIDENCE) * error
    return (whole - half, whole + half) if error > 0 else None


def _verdict(p_value: float | None) -> Seen:
    if p_value is None:
        return "not measured"
    return "seen" if p_value <= LEVEL else "not seen"


def _mean(done: Sequence[InjectionRecord], number: Callable[[TraceRecord], float | None]) -> Value:
    singles = [
        (i.network, (i.identity, t.layer), x)
        for i in done
        for t in i.traces
        if (x := number(t)) is not None
    ]
    return average(Nested.of(singles), NO_TRACE)
