"""The answers in words, one for each technology and question; never a certification."""

from __future__ import annotations

from collections.abc import Sequence

from nnw_onnx.measures.comparison import Comparison, Equivalence
from nnw_onnx.measures.imperceptibility import GroupImperceptibility
from nnw_onnx.measures.limits import Estimate, Interval, NotMeasured, Proportion
from nnw_onnx.measures.points import GroupRobustness, RobustnessPoint, Sweep
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Completeness, Tone, Verdict

_TWIN = "twin (the same training without a watermark)"
_TONES: dict[str, Tone] = {"negligible": "good", "noticeable": "caution"}
_BEYOND = "Beyond the range"
_FEWER = "fewer than 95 % of the watermarks are detected at"
_Place = tuple[Sweep, RobustnessPoint]


def imperceptibility_verdict(group: GroupImperceptibility, complete: Completeness) -> Verdict:
    """What the watermark costs in task quality."""
    test = group.stated if isinstance(group.stated, Equivalence) else None
    lead = ""
    if complete.unmodified_found < complete.unmodified_planned:
        found = f"{complete.unmodified_found} of {complete.unmodified_planned}"
        lead = f"incomplete ({found} unmodified networks were tested): "
    if group.not_asked is not None:
        lead, text = "", f"{group.not_asked.reason}."
    elif test is None or group.verdict == "not-measured":
        text = "the loss of task quality was not measured."
        if isinstance(group.loss, NotMeasured) and group.reference == "twin":
            text = f"{text[:-1]}: {group.loss.reason}."
    else:
        against = f"beside its {_TWIN}, " if group.reference == "twin" else ""
        text = f"{against}{_change(group, test)}: {_conclusion(group)}."
    text += _beside_original(group)
    return Verdict(
        aspect="imperceptibility",
        group=group.group,
        label=group.label,
        workflow=group.workflow,
        tone=_TONES.get(group.verdict, "neutral") if not lead else "neutral",
        figure=words.DASH if test is None else words.points(-test.loss, group.rate, signed=True),
        figure_caption=f"{words.points_unit(group.rate, group.headline)}, change",
        text=f"{group.label}: {lead}{text}",
    )


def _beside_original(group: GroupImperceptibility) -> str:
    """The other comparison of a watermark that training puts in."""
    found = group.original
    if found is None or not isinstance(found.stated, Equivalence):
        return ""
    test = found.stated
    much = words.points(-test.loss, found.rate, signed=True)
    unit = " points" if found.rate else ""
    return (
        f" Beside the original network it changes by {much}{unit} (95 % limits over "
        f"{found.stated_over} {_limits_of_change(test.limits, found.rate)}), which includes what "
        "further training does."
    )


def _change(group: Comparison, test: Equivalence) -> str:
    much = words.points(-test.loss, group.rate, signed=True)
    unit = " points" if group.rate else ""
    return (
        f"the watermark changes {words.measure_name(group.headline)} by {much}{unit} "
        f"(95 % limits over {group.stated_over} {_limits_of_change(test.limits, group.rate)})"
    )


def _limits_of_change(loss: Interval, rate: bool) -> str:
    """Limits of a loss as those of the change, which has the other sign."""
    low, high = -loss.high, -loss.low
    return f"{words.points(low, rate, signed=True)} to {words.points(high, rate, signed=True)}"


def _conclusion(group: GroupImperceptibility) -> str:
    unit = " points" if group.rate else ""
    margin = words.number(group.margin * (100 if group.rate else 1))
    at = f"at the margin of {margin}{unit}"
    if group.verdict == "negligible":
        return f"negligible {at}{_axes(group)}{_deciding(group)}"
    if group.verdict == "noticeable":
        return f"a loss of more than the margin of {margin}{unit}"
    return f"not shown to be negligible {at}{_why_not(group)}"


def _axes(group: GroupImperceptibility) -> str:
    """What the finding may be carried over to."""
    tests = (group.over_networks, group.over_samples)
    if all(isinstance(t, Equivalence) for t in tests):
        return " for other networks and for other test samples, each on its own"
    if isinstance(group.over_samples, Equivalence):
        one = "this one network" if group.networks == 1 else "these networks"
        return f" (for {one}, with other test samples)"
    return " (for other networks, with these test samples)"


def _deciding(group: GroupImperceptibility) -> str:
    """The 90 % limits, where only they lie inside the margin: TOST at 5 % decides by them."""
    test = group.stated
    if not isinstance(test, Equivalence):
        return ""
    if -group.margin < test.limits.low and test.limits.high < group.margin:
        return ""
    between = _limits_of_change(test.limits_90, group.rate)
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


def robustness_verdict(group: GroupRobustness, complete: Completeness) -> Verdict:
    """What the watermark survives: settings that leave no usable network are counted apart."""
    if group.not_asked is not None:
        return _robustness(group, "neutral", words.DASH, f"{group.not_asked.reason}.")
    settings = [(s, p) for s in group.sweeps for p in s.points]
    inside = [(s, p) for s, p in settings if not p.outside_standard_range]
    outside = [(s, p) for s, p in settings if p.outside_standard_range]
    alarms = _false_alarms(settings, group.unmodified)
    alarmed = any(p.false_alarms for _, p in settings) or (
        group.unmodified is not None and group.unmodified.false_alarms > 0
    )
    lead = _unfinished(complete)
    parts = [lead, alarms if alarmed else "", _unmodified(group)]
    if group.detectable:
        parts += [_range(inside, group, "In the standard's range"), _range(outside, group, _BEYOND)]
    else:
        parts.append(
            "With so few Symbols a Detector can never answer Yes at this false-positive rate: "
            "only the Symbol Error Rate tells what survives."
        )
    void = [p for _, p in settings if p.void is not None]
    unknown = sum(_unknown(p) for _, p in settings)
    if unknown:
        verb = "is" if unknown == 1 else "are"
        parts.append(f"{words.plural(unknown, 'setting')} {verb} not fully measured.")
    parts.append(_void(void))
    text = " ".join(p for p in (*parts, "" if alarmed else alarms) if p)
    text = text or "no Modification was tested."
    tone = _tone(settings, alarmed, bool(lead or unknown or void))
    figure = _survived(inside) if group.detectable else words.DASH
    return _robustness(group, tone, figure, text[0].lower() + text[1:])


def _robustness(group: GroupRobustness, tone: Tone, figure: str, text: str) -> Verdict:
    return Verdict(
        aspect="robustness",
        group=group.group,
        label=group.label,
        workflow=group.workflow,
        tone=tone,
        figure=figure,
        figure_caption="settings survived, of those in the standard's range that leave the network "
        "usable",
        text=f"{group.label}: {text}",
    )


def _void(points: Sequence[RobustnessPoint]) -> str:
    """Overwritings that are none, and that therefore count for nothing."""
    lasts = [p.ser_last_new_mark for p in points]
    rates = [last.mean for last in lasts if isinstance(last, Estimate)]
    if not rates:
        return ""
    low, high = words.percent(min(rates)), words.percent(max(rates))
    much = low if low == high else f"{low} to {high}"
    return (
        f"Not counted: {words.plural(len(rates), 'overwriting')} whose new watermarks are not in "
        f"(the Symbol Error Rate of the last is {much})."
    )


def _tone(settings: Sequence[_Place], alarmed: bool, unfinished: bool) -> Tone:
    if alarmed:
        return "bad"
    if any(p.survived is False and p.usable is not False for _, p in settings):
        return "caution"
    tested = any(p.survived is not None for _, p in settings)
    return "good" if tested and not unfinished else "neutral"


def _unfinished(complete: Completeness) -> str:
    parts = []
    if complete.missing_settings:
        parts.append(f"{complete.settings_found} of {complete.settings_planned} settings")
    if complete.trials_missing:
        planned = complete.trials_planned or complete.unmodified_planned
        parts.append(f"{planned - complete.trials_missing:,} of {planned:,} trials")
    return f"Incomplete: only {words.listed(parts)} have a record." if parts else ""


def _unknown(point: RobustnessPoint) -> bool:
    return point.void is None and (not point.complete or point.survived is None)


def _survived(inside: Sequence[_Place]) -> str:
    usable = [p for _, p in inside if p.usable is not False and p.survived is not None]
    return f"{sum(p.survived is True for p in usable)} of {len(usable)}" if usable else words.DASH


def _unmodified(group: GroupRobustness) -> str:
    point = group.unmodified
    if point is None or not isinstance(point.ser_watermarked, Estimate):
        return ""
    rate, n = point.ser_watermarked.mean, point.ser_watermarked.n
    if rate == 0:
        networks = f"all {n} unmodified watermarked networks"
        if n == 1:
            networks = "the one unmodified watermarked network"
        return f"The Payload is read without error from {networks}."
    return f"The Payload is read with a Symbol Error Rate of {words.percent(rate)} unmodified."


def _range(places: Sequence[_Place], group: GroupRobustness, where: str) -> str:
    """One side of the standard's range: first what leaves the network usable, then the rest."""
    tested = [(s, p) for s, p in places if p.survived is not None]
    usable = [(s, p) for s, p in tested if p.usable is not False]
    ruined = [(s, p) for s, p in tested if p.usable is False]
    parts = []
    if usable:
        parts.append(_among_usable(usable, group, where))
    if ruined:
        parts.append(_among_ruined(ruined, group, where if not usable else ""))
    return " ".join(parts)


def _among_usable(places: Sequence[_Place], group: GroupRobustness, where: str) -> str:
    kept = [p for _, p in places if p.survived]
    lost = [(s, p) for s, p in places if not p.survived]
    leave = "leaves" if len(places) == 1 else "leave"
    text = (
        f"{where} it survives {len(kept)} of {words.plural(len(places), 'setting')} that {leave} "
        f"the network usable{_how_well(kept)}."
    )
    if any(p.usable is None for _, p in places):
        text += " Whether the network stays usable was not measured at all of them."
    return f"{text} {_FEWER[0].upper()}{_FEWER[1:]} {_weakest(lost, group)}." if lost else text


def _how_well(kept: Sequence[RobustnessPoint]) -> str:
    shares = [p.p_md for p in kept if isinstance(p.p_md, Proportion)]
    if not shares:
        return ""
    worst = max(shares, key=lambda share: share.value)
    least = "" if worst.events == 0 else "at least "
    return f" ({least}{worst.n - worst.events} of {worst.n} watermarks detected at each)"


def _among_ruined(places: Sequence[_Place], group: GroupRobustness, where: str) -> str:
    kept = sum(p.survived is True for _, p in places)
    lost = [(s, p) for s, p in places if not p.survived]
    text = f"At {len(places)} more the network is no longer usable"
    if where:
        text = f"{where} the network is no longer usable at {words.plural(len(places), 'setting')}"
    text += f"; there it is still found at {kept or 'none'}"
    return f"{text}; {_FEWER} {_weakest(lost, group)}." if lost else f"{text}."


def _weakest(lost: Sequence[_Place], group: GroupRobustness) -> str:
    """The weakest lost Intensity of each sweep, with what is left of mark and network."""
    sweeps: dict[int, _Place] = {}
    for sweep, point in lost:
        sweeps.setdefault(id(sweep), (sweep, point))
    return words.listed([_place(s, p, group) for s, p in sweeps.values()], most=6)


def _place(sweep: Sweep, point: RobustnessPoint, group: GroupRobustness) -> str:
    on = _always_lost_beyond(sweep, point)
    where = words.setting(sweep, point.intensity or 0.0, " and beyond" if on else "")
    there = " there" if on else ""
    parts = []
    if isinstance(point.p_md, Proportion):
        parts.append(f"{point.p_md.n - point.p_md.events} of {point.p_md.n} detected{there}")
    gone = point.watermarked.not_applicable
    if gone:
        parts.append(f"no carrier in {gone} of them" if point.watermarked.done else "no carrier")
    left = point.quality_watermarked
    if isinstance(left, Estimate):
        name = words.measure_name(group.headline)
        data = f" on {point.quality_of}" if point.quality_of else ""
        parts.append(f"{name} {words.quality(left.mean, group.rate)}{data}")
    return f"{where[:-1]}: {', '.join(parts)})" if parts else where


def _always_lost_beyond(sweep: Sweep, point: RobustnessPoint) -> bool:
    """Whether stronger Intensities of the same side of the range follow, all of them lost."""
    stronger = sweep.points[sweep.points.index(point) + 1 :]
    side = [p for p in stronger if p.outside_standard_range == point.outside_standard_range]
    return bool(side) and all(p.survived is False for p in side)


def _false_alarms(settings: Sequence[_Place], unmodified: RobustnessPoint | None) -> str:
    """Networks, not tests: every setting asks the same networks with the same keys again."""
    points = [p for _, p in settings if isinstance(p.p_fa, Proportion)]
    plain = unmodified if unmodified and isinstance(unmodified.p_fa, Proportion) else None
    every = [*points, plain] if plain else points
    results = [r for p in every for r in p.networks if r.payload_index is None]
    tested = {r.network for r in results if r.detected is not None}
    if not tested:
        return ""
    alarms = {r.network for r in results if r.detected}
    if not alarms:
        at = ["unmodified"] if plain else []
        at += [f"at {words.plural(len(points), 'setting')}"] if points else []
        networks = words.plural(len(tested), "unwatermarked network")
        return f"No false alarm on {networks} ({words.listed(at)})."
    count = sum(p.false_alarms > 0 for p in every)
    where = f"at {count} of {words.plural(len(every), 'setting')}"
    if plain and plain.false_alarms:
        where += ", the unmodified one among them"
    return (
        f"False alarm: a watermark is found in {len(alarms)} of "
        f"{words.plural(len(tested), 'unwatermarked network')} ({where})."
    )
