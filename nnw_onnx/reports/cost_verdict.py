"""The answer in words on Computational Cost."""

from __future__ import annotations

from nnw_onnx.measures.costs import GroupCost, OperationCosts
from nnw_onnx.measures.limits import Estimate, Interval
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Completeness, Verdict

_TIMING_NOISE = (0.95, 1.05)


def cost_verdict(group: GroupCost, complete: Completeness) -> Verdict:
    """What injecting, detecting and decoding take."""
    by_name = {o.operation: o for o in group.operations}
    injection = by_name["injection"]
    parts = [
        _training(injection) if group.trained else _operation(injection, "injecting"),
        _operation(by_name["detection"], "detecting"),
        _operation(by_name["decoding"], "decoding"),
    ]
    known = [p for p in parts if p]
    ratio = by_name["inference"].ratio
    sentences = [words.listed(known) + "."] if known else []
    sentences += _epochs(group)
    if isinstance(ratio, Estimate):
        limits = words.limits(ratio.limits, _ratio)
        inside = f" (95 % limits {limits})" if isinstance(ratio.limits, Interval) else ""
        sentences.append(
            f"Inference takes {_ratio(ratio.mean)} times as long as without the watermark{inside}"
            f"{_within_noise(ratio)}."
        )
    text = " ".join(sentences) or "the Computational Cost was not measured."
    if complete.costs_missing:
        planned = complete.costs_planned or 0
        text = f"incomplete ({complete.costs_found} of {planned} measurements): {text}"
    return Verdict(
        aspect="cost",
        group=group.group,
        label=group.label,
        tone="neutral",
        figure=f"{_ratio(ratio.mean)} ×" if isinstance(ratio, Estimate) else words.DASH,
        figure_caption="inference time of the unwatermarked network",
        text=f"{group.label}: {text}",
    )


def _training(cost: OperationCosts) -> str:
    """What a batch of the training takes that puts the watermark in."""
    if not isinstance(cost.seconds, Estimate):
        return ""
    text = f"injecting by training takes {words.seconds(cost.seconds.mean)} a batch"
    if isinstance(cost.ratio, Estimate):
        text += f", {_ratio(cost.ratio.mean)} times as long as without a watermark,"
    if isinstance(cost.peak_bytes, Estimate):
        text += f" and {words.size(cost.peak_bytes.mean)}"
    if isinstance(cost.device_peak_bytes, Estimate):
        text += f" ({words.size(cost.device_peak_bytes.mean)} on the accelerator)"
    return text


def _epochs(group: GroupCost) -> list[str]:
    """How many epochs it took, and how often they were too few."""
    if not group.epochs_cells:
        return []
    never = f"in {group.never_in} of {group.epochs_cells} networks the watermark is never in"
    if not isinstance(group.epochs, Estimate):
        return [f"{never[:1].upper()}{never[1:]}."]
    known = group.epochs
    between = words.limits(known.limits, words.number)
    inside = f" (95 % limits {between})" if isinstance(known.limits, Interval) else ""
    text = f"The watermark is in after {_epochs_of(known.mean)}{inside}"
    return [f"{text}; {never}." if group.never_in else f"{text}."]


def _epochs_of(value: float) -> str:
    return f"{words.number(value)} {'epoch' if value == 1 else 'epochs'}"


def _within_noise(ratio: Estimate) -> str:
    low, high = _TIMING_NOISE
    limits = ratio.limits
    if isinstance(limits, Interval) and low <= limits.low and limits.high <= high:
        return ": no difference beyond timing noise"
    return ""


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _operation(cost: OperationCosts, verb: str) -> str:
    if not isinstance(cost.seconds, Estimate):
        return ""
    memory = cost.peak_bytes
    space = f" and {words.size(memory.mean)}" if isinstance(memory, Estimate) else ""
    return f"{verb} takes {words.seconds(cost.seconds.mean)}{space}"
