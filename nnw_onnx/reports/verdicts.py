"""The answers in words, one for each technology and question; never a certification."""

from __future__ import annotations

from collections.abc import Sequence

from nnw_onnx.measures.imperceptibility import Equivalence, GroupImperceptibility
from nnw_onnx.measures.limits import Estimate, GroupCost, Interval, OperationCosts, Proportion
from nnw_onnx.measures.points import GroupRobustness, RobustnessPoint, Sweep
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Tone, Verdict

_TONES: dict[str, Tone] = {"negligible": "good", "noticeable": "caution"}
_Lost = tuple[Sweep, RobustnessPoint]


def imperceptibility_verdict(group: GroupImperceptibility) -> Verdict:
    """What the watermark costs in task quality."""
    test = group.stated if isinstance(group.stated, Equivalence) else None
    if test is None or group.verdict == "not-measured":
        text = f"{group.label}: the loss of task quality was not measured."
    else:
        text = f"{group.label}: {_loss(group, test)}: {_conclusion(group)}."
    return Verdict(
        aspect="imperceptibility",
        group=group.group,
        label=group.label,
        tone=_TONES.get(group.verdict, "neutral"),
        figure=words.DASH if test is None else words.points(test.loss, group.rate),
        figure_caption=f"{words.points_unit(group.rate, group.headline)} lost",
        text=text,
    )


def _loss(group: GroupImperceptibility, test: Equivalence) -> str:
    low, high = test.limits.low, test.limits.high
    verb, loss = "costs", test.loss
    if loss < 0:
        verb, loss, low, high = "gains", -loss, -high, -low
    over = f" over {group.stated_over}"
    unit = words.points_unit(group.rate, group.headline)
    between = f"{words.points(low, group.rate)} to {words.points(high, group.rate)}"
    much = f"{words.points(loss, group.rate)} {unit}"
    return f"the watermark {verb} {much} (95 % limits{over} {between})"


def _conclusion(group: GroupImperceptibility) -> str:
    unit = " points" if group.rate else ""
    margin = words.number(group.margin * (100 if group.rate else 1))
    at = f"at the margin of {margin}{unit}"
    if group.verdict == "negligible":
        one = " (for this one network)" if group.networks == 1 else ""
        return f"negligible {at}{one}{_deciding(group)}"
    if group.verdict == "noticeable":
        return f"more than the margin of {margin}{unit}"
    return f"not shown to be negligible {at}{_why_not(group)}"


def _deciding(group: GroupImperceptibility) -> str:
    """The 90 % limits, where only they lie inside the margin: TOST at 5 % decides by them."""
    test = group.stated
    if not isinstance(test, Equivalence) or test.limits.high < group.margin:
        return ""
    low, high = test.limits_90.low, test.limits_90.high
    between = f"{words.points(low, group.rate)} to {words.points(high, group.rate)}"
    return f", as the 90 % limits, which decide, are {between}"


def _why_not(group: GroupImperceptibility) -> str:
    networks, samples = group.over_networks, group.over_samples
    count = next((p.answers.samples for p in group.pairs if p.answers.status == "measured"), None)
    needed = group.samples_needed
    if isinstance(samples, Equivalence) and not samples.equivalent:
        if count is not None and needed is not None and count < needed:
            return f", because {count} test samples are too few (at least {needed} are needed)"
        return f", because the limits over the {count or ''} test samples reach beyond it"
    if isinstance(networks, Equivalence) and not networks.equivalent:
        return f", because the limits over {group.networks} networks reach beyond it"
    return ""


def robustness_verdict(group: GroupRobustness) -> Verdict:
    """What the watermark survives."""
    settings = [(s, p) for s in group.sweeps for p in s.points]
    inside = [(s, p) for s, p in settings if not p.outside_standard_range]
    lost_inside = [(s, p) for s, p in inside if p.survived is False]
    lost_outside = [(s, p) for s, p in settings if p.outside_standard_range and p.survived is False]
    parts = [_unmodified(group)]
    if group.detectable:
        parts += [_within(inside, lost_inside, group), _beyond(lost_outside, group)]
    else:
        parts.append(
            "With so few Symbols a Detector can never answer Yes at this false-positive rate: "
            "only the Symbol Error Rate tells what survives."
        )
    parts.append(_false_alarms(settings, group.unmodified))
    text = " ".join(p for p in parts if p) or "no Modification was tested."
    harmful = [p for _, p in (*lost_inside, *lost_outside) if p.usable is not False]
    tested = any(p.survived is not None for _, p in settings)
    tone: Tone = "good" if tested and not harmful else "caution" if harmful else "neutral"
    return Verdict(
        aspect="robustness",
        group=group.group,
        label=group.label,
        tone=tone,
        figure=_survived(inside) if group.detectable else words.DASH,
        figure_caption="tested settings in the standard's range survived",
        text=f"{group.label}: {text[0].lower() + text[1:]}",
    )


def _survived(inside: Sequence[_Lost]) -> str:
    known = [p.survived for _, p in inside if p.survived is not None]
    return f"{known.count(True)} of {len(known)}" if known else words.DASH


def _unmodified(group: GroupRobustness) -> str:
    point = group.unmodified
    if point is None or not isinstance(point.ser_watermarked, Estimate):
        return ""
    rate, n = point.ser_watermarked.mean, point.ser_watermarked.n
    if rate == 0:
        return f"The Payload is read without error from all {n} unmodified watermarked networks."
    return f"The Payload is read with a Symbol Error Rate of {words.percent(rate)} unmodified."


def _within(inside: Sequence[_Lost], lost: Sequence[_Lost], group: GroupRobustness) -> str:
    tested = [p for _, p in inside if p.survived is not None]
    if not tested:
        return ""
    if not lost:
        return (
            "It survives every tested Modification in the standard's range "
            f"({words.plural(len(tested), 'setting')}): at least 95 % of the watermarks are "
            "detected after each."
        )
    return (
        f"In the standard's range it survives {len(tested) - len(lost)} of "
        f"{words.plural(len(tested), 'tested setting')}; it is lost at {_lost(lost, group)}."
    )


def _beyond(lost: Sequence[_Lost], group: GroupRobustness) -> str:
    if not lost:
        return ""
    return f"Beyond the range it is lost at {_lost(lost, group)}."


def _lost(lost: Sequence[_Lost], group: GroupRobustness) -> str:
    """The weakest lost Intensity of each sweep, with what is left of the network."""
    sweeps: dict[int, list[_Lost]] = {}
    for sweep, point in lost:
        sweeps.setdefault(id(sweep), []).append((sweep, point))
    first = [found[0] for found in sweeps.values()]
    ruined = [(s, p) for s, p in first if p.usable is False]
    usable = [(s, p) for s, p in first if p.usable is not False]
    parts = []
    if usable:
        parts.append(f"{_places(usable, group)}, where the network is still usable")
    if ruined:
        itself = "the networks themselves are" if len(ruined) > 1 else "the network itself is"
        parts.append(f"{_places(ruined, group)}, where {itself} no longer usable")
    return "; and at ".join(parts)


def _places(lost: Sequence[_Lost], group: GroupRobustness) -> str:
    return words.listed([_place(s, p, group) for s, p in lost], most=6)


def _place(sweep: Sweep, point: RobustnessPoint, group: GroupRobustness) -> str:
    on = _always_lost_beyond(sweep, point)
    where = words.setting(sweep, point.intensity or 0.0, " and beyond" if on else "")
    left = point.quality_watermarked
    if not isinstance(left, Estimate):
        return where
    name = f"{words.measure_name(group.headline)} "
    there = " there" if on else ""
    return f"{where[:-1]}: {name}{words.quality(left.mean, group.rate)}{there})"


def _always_lost_beyond(sweep: Sweep, point: RobustnessPoint) -> bool:
    """Whether stronger Intensities of the same side of the range follow, all of them lost."""
    stronger = sweep.points[sweep.points.index(point) + 1 :]
    side = [p for p in stronger if p.outside_standard_range == point.outside_standard_range]
    return bool(side) and all(p.survived is False for p in side)


def _false_alarms(settings: Sequence[_Lost], unmodified: RobustnessPoint | None) -> str:
    points = [p for _, p in settings] + ([unmodified] if unmodified else [])
    tests = [p.p_fa for p in points if isinstance(p.p_fa, Proportion)]
    events, n = sum(t.events for t in tests), sum(t.n for t in tests)
    if not n:
        return ""
    count = "no" if events == 0 else f"{events}"
    return f"There was {count} false alarm in {words.plural(n, 'test')} of unwatermarked networks."


def cost_verdict(group: GroupCost) -> Verdict:
    """What injecting, detecting and decoding take."""
    by_name = {o.operation: o for o in group.operations}
    parts = [
        _operation(by_name[name], verb)
        for name, verb in (
            ("injection", "injecting"),
            ("detection", "detecting"),
            ("decoding", "decoding"),
        )
        if name in by_name
    ]
    known = [p for p in parts if p]
    ratio = by_name["inference"].ratio
    sentences = [words.listed(known) + "."] if known else []
    if isinstance(ratio, Estimate):
        limits = words.limits(ratio.limits, _ratio)
        inside = f" (95 % limits {limits})" if isinstance(ratio.limits, Interval) else ""
        sentences.append(
            f"Inference takes {_ratio(ratio.mean)} times as long as without the watermark{inside}."
        )
    text = " ".join(sentences) or "the Computational Cost was not measured."
    return Verdict(
        aspect="cost",
        group=group.group,
        label=group.label,
        tone="neutral",
        figure=f"{_ratio(ratio.mean)} ×" if isinstance(ratio, Estimate) else words.DASH,
        figure_caption="inference time of the unwatermarked network",
        text=f"{group.label}: {text}",
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _operation(cost: OperationCosts, verb: str) -> str:
    if not isinstance(cost.seconds, Estimate):
        return ""
    memory = cost.peak_bytes
    space = f" and {words.size(memory.mean)}" if isinstance(memory, Estimate) else ""
    return f"{verb} takes {words.seconds(cost.seconds.mean)}{space}"
