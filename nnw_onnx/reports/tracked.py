"""A report as a tracker of experiments keeps it: parameters and metrics by name.

Names hold letters, digits, blanks and `/._-` alone, which every tracker takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nnw_onnx.reports import columns, words
from nnw_onnx.reports.columns import Row
from nnw_onnx.reports.model import Report
from nnw_onnx.text import one_line

LONGEST_NAME, LONGEST_VALUE = 250, 500
_KEPT = {
    "base": ("quality",),
    "technologies": ("injections", "usable", "survived", "lost", "undecided", "least", "alarms"),
    "imperceptibility": ("before", "after", "loss"),
    "robustness": ("found_rate", "false_alarm_rate", "ser", "log10_p", "quality", "loss"),
    "cost": ("injection", "batch_ratio", "detection", "decoding", "memory", "inference_ratio"),
    "controls": ("wrong_keys", "wrong_found"),
}
"""Table -> the quantities that are followed from run to run."""
_LIMITED = frozenset({"loss", "found_rate", "quality"})
_OTHER = re.compile(r"[^A-Za-z0-9_. -]+")


@dataclass(frozen=True)
class Tracked:
    """What is kept of a report.

    Attributes:
        params: what was asked for.
        metrics: what was measured, in the units of `tables/all.csv`; what was not is left out.
    """

    params: dict[str, str]
    metrics: dict[str, float]


def tracked(report: Report) -> Tracked:
    """Parameters and metrics of a report, which should be a shareable one."""
    params = {_name(*key.split("/")): one_line(v)[:LONGEST_VALUE] for key, v in _params(report)}
    metrics: dict[str, float] = {}
    for row in columns.rows(report):
        if row.quantity in _KEPT.get(row.table, ()):
            for name, value in _metrics(row):
                metrics.setdefault(name, value)
    return Tracked(params, metrics)


def _params(report: Report) -> Iterator[tuple[str, str]]:
    yield "title", report.title
    yield "nnw-onnx", report.reproducibility.package_version
    yield "networks", str(len(report.networks))
    yield "network names", ", ".join(network.name for network in report.networks)
    yield "payloads", str(report.payloads)
    yield "repetitions", str(report.repetitions)
    yield "false_positive_rate", f"{report.false_positive_rate:g}"
    yield "data", f"{report.dataset.plugin.name}, {report.dataset.split}"
    yield "samples", str(report.dataset.entries)
    yield "headline", report.headline.name
    yield "modifications", ", ".join(setting.label for setting in report.settings)
    for technology in report.technologies:
        method = technology.record.method
        yield f"technology {technology.index}", technology.label
        yield f"method {technology.index}", words.named(method.name, method.options)


def _metrics(row: Row) -> Iterator[tuple[str, float]]:
    if row.value is None:
        return
    at = "" if row.intensity is None else f"{row.intensity:g} {row.intensity_unit}".rstrip()
    where = [
        part for part in (row.technology, row.table, row.modification, at, row.measure) if part
    ]
    name = _name(*where, row.quantity)
    yield name, float(row.value)
    if row.quantity in _LIMITED and row.low is not None and row.high is not None:
        yield f"{name}.low", row.low
        yield f"{name}.high", row.high


def _name(*parts: str) -> str:
    """A name that may be a path, in which no part leads elsewhere."""
    words = (part.replace(",", "").replace("%", "percent") for part in parts)
    plain = (_OTHER.sub("_", word).strip(" .") or "_" for word in words)
    return "/".join(plain)[: LONGEST_NAME - len(".high")].rstrip(" ./")
