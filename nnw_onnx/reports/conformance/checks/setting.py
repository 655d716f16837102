"""Clauses of NNW-TEC: its general setting and its technologies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nnw_onnx.measures.results import Technology
from nnw_onnx.reports.conformance.answers import (
    Answer,
    apart,
    each,
    met,
    not_measured,
    not_met,
)
from nnw_onnx.reports.conformance.checks.common import fingerprints, watermarks
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import listed, named
from nnw_onnx.vocabulary import Json


def general_setting(
    report: Report, networks: Sequence[str], data: str, measures: Sequence[str]
) -> Answer:
    """Networks, data set and measures of a task; the first two are told by their names only.

    Args:
        report: of the run.
        networks: names of the architectures.
        data: name of the data set.
        measures: of the task.
    """
    own = {m.name.casefold() for m in report.measures}
    if report.headline.name.casefold() not in {m.casefold() for m in measures}:
        return apart(f"networks of this run are measured by {report.headline.name}", "t-base")
    lacking = [f"measure {m}" for m in measures if m.casefold() not in own]
    if _plain(data) not in _data(report):
        lacking.append(f"data set {data}")
    files = [_plain(n.name) for n in report.networks]
    lacking += [f"network {n}" for n in networks if not any(_plain(n) in f for f in files)]
    if lacking:
        return not_met(
            f"by the names of files and plug-ins, without {listed(lacking)}", "environment"
        )
    return met(f"{listed(networks)} on {data}, by the names of files and plug-ins", "environment")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _data(report: Report) -> str:
    plugin = report.dataset.plugin
    return _plain(
        " ".join([plugin.name, *(v for v in plugin.options.values() if isinstance(v, str))])
    )


def technology(
    report: Report,
    method: str,
    training: bool,
    options: Mapping[str, Json] | None = None,
) -> Answer:
    """One of the document's technologies is under test, in the document's form.

    Args:
        report: of the run.
        method: name of the method that it is.
        training: whether training puts it in.
        options: of the method, as the document has them.
    """
    own = [t for t in report.technologies if t.record.method.name == method]
    if not own:
        return apart("it is not under test", "technologies")
    wanted = dict(options or {})
    same = [t.label for t in own if t.trained is training and _has(t, wanted)]
    if same:
        return met(listed(same, 3), "technologies")
    asked = ["put in by training"] * training + [named(*option) for option in wanted.items()]
    others = listed([t.label for t in own], 3)
    return apart(f"{others}: another form of it, which is to be {listed(asked)}", "technologies")


def _has(technology: Technology, wanted: Mapping[str, Json]) -> bool:
    return wanted.items() <= technology.record.method.options.items()


def bit_errors(report: Report) -> Answer:
    """Wrong bits / bits of the Payload."""

    def ask(technology: Technology) -> Answer:
        if technology.record.kind == "fingerprint":
            return not_met("the bits of a fingerprint are not compared", "method")
        found = technology.unmodified
        read = found.bit_errors if found.bit_errors.value is not None else found.ser
        if read.value is None:
            return not_measured(str(read.reason), "robustness")
        return met("before any Modification, and in every setting that is read", "robustness")

    reading = [t for t in watermarks(report) if t.record.decodes] + fingerprints(report)
    return each(reading, ask, apart("no technology of this run has bits to read", "technologies"))


def profile(report: Report, name: str) -> Answer:
    """Every clause of another profile.

    Args:
        report: of the run.
        name: of the other profile.
    """
    other = next(c for c in report.conformance if c.profile == name)
    open_ = [c.id for c in other.clauses if c.status == "not met"]
    if open_:
        return not_met(f"of {name} is not met: {listed(open_, 6)}", "conformance")
    return met(f"{name}: {other.counted()}", "conformance")
