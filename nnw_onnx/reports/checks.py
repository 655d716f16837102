"""Checks in the forms that continuous integration reads: JSON, JUnit, SARIF and Markdown.

What was not measured is an error in JUnit, and fails in SARIF: no form lets it pass. No date and no
time is in any of them, so that the same checks give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from xml.etree import ElementTree

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.measures.checks import Check, met
from nnw_onnx.reports.forms import markdown_escaped
from nnw_onnx.reports.words import plural
from nnw_onnx.text import harmless
from nnw_onnx.version import __version__
from nnw_onnx.vocabulary import Json

SUFFIXES = {".json": "json", ".xml": "junit", ".sarif": "sarif", ".md": "markdown"}
"""Suffix of a file -> the form that is written to it."""
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULES = {
    "mark": "The mark is found in the network.",
    "payload": "The network carries enough payload.",
    "false-positives": "Wrong keys and unmarked networks are not taken for the mark.",
    "commitment": "The published commitment binds key and network.",
    "seal": "The network is what was sealed.",
    "quality": "The mark costs no more quality than is allowed.",
    "survival": "The mark survives a Modification.",
    "requirement": "A number of the report is as required.",
}
"""Fixed word of a kind of check -> what it asks, in one sentence."""


@dataclass(frozen=True)
class Checked:
    """What was checked, for whoever reads the result.

    Attributes:
        title: what the checks are of, such as "nnw gate".
        file: name of the file that was checked, as a place to point at.
        checks: in the order in which they were made.
    """

    title: str
    file: str
    checks: tuple[Check, ...]

    @property
    def tally(self) -> str:
        """How many of them passed."""
        passed = sum(map(bool, self.checks))
        return f"{passed} of {plural(len(self.checks), 'check')} passed"


def form_of(name: str) -> str:
    """The form that belongs to the name of a file; raises `ConfigurationError` where none does."""
    suffix = f".{name.rpartition('.')[2]}".lower()
    if suffix not in SUFFIXES:
        raise ConfigurationError(
            f"--checks: expected a file that ends in {', '.join(SUFFIXES)}, got {name!r}; give it "
            "one of them, which says the form"
        )
    return SUFFIXES[suffix]


def render(checked: Checked, form: str) -> str:
    """The checks as one document: "text", "json", "junit", "sarif" or "markdown"."""
    return _WRITERS[form](checked)


def _text(checked: Checked) -> str:
    lines = [f"{c.outcome}: {_told(c)}" for c in checked.checks]
    return "".join(f"{harmless(line)}\n" for line in (*lines, checked.tally))


def _told(check: Check) -> str:
    return f"{check.name}: {check.measured}; required: {check.required}"


def _json(checked: Checked) -> str:
    told: dict[str, Json] = {
        "title": checked.title,
        "file": checked.file,
        "version": __version__,
        "passed": met(checked.checks),
        "checks": [asdict(check) for check in checked.checks],
    }
    return json.dumps(told, indent=1, allow_nan=False) + "\n"


def _junit(checked: Checked) -> str:
    counts = {
        "tests": str(len(checked.checks)),
        "failures": str(sum(c.outcome == "failed" for c in checked.checks)),
        "errors": str(sum(c.outcome == "not measured" for c in checked.checks)),
    }
    suites = ElementTree.Element("testsuites", {"name": "nnw", **counts})
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": harmless(checked.title), **counts, "skipped": "0"}
    )
    for check in checked.checks:
        name = {"classname": f"nnw.{check.rule}", "name": harmless(check.name)}
        _case(ElementTree.SubElement(suite, "testcase", name), check)
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(case: ElementTree.Element, check: Check) -> None:
    told = harmless(_told(check))
    if check:
        ElementTree.SubElement(case, "system-out").text = told
        return
    kind = "failure" if check.outcome == "failed" else "error"
    about = {"message": harmless(check.measured), "type": check.outcome}
    ElementTree.SubElement(case, kind, about).text = told


def _sarif(checked: Checked) -> str:
    used = list(dict.fromkeys(check.rule for check in checked.checks))
    rules: list[Json] = [
        {"id": f"nnw/{rule}", "name": rule, "shortDescription": {"text": RULES[rule]}}
        for rule in used
    ]
    driver: Json = {"name": "nnw-onnx", "version": __version__, "rules": rules}
    results: list[Json] = [_result(c, used.index(c.rule), checked.file) for c in checked.checks]
    run: Json = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    document: Json = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _result(check: Check, rule: int, file: str) -> Json:
    # Of what is no failure the level has to be "none" (SARIF 2.1.0, 3.27.10).
    kind, level = ("pass", "none") if check else ("fail", "error")
    unsure = "" if check.outcome != "not measured" else "not measured: "
    return {
        "ruleId": f"nnw/{check.rule}",
        "ruleIndex": rule,
        "kind": kind,
        "level": level,
        "message": {"text": harmless(f"{unsure}{_told(check)}")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(file)}}}],
        "partialFingerprints": {"nnwCheck/v1": f"{check.rule}: {harmless(check.name)}"},
    }


def _uri(name: str) -> str:
    from urllib.parse import quote

    return quote(name)


def _markdown(checked: Checked) -> str:
    rows = [
        (c.outcome if c else f"**{c.outcome}**", *map(markdown_escaped, _cells(c)))
        for c in checked.checks
    ]
    lines = [
        f"### {markdown_escaped(f'{checked.title}: {checked.file}')}\n",
        f"{checked.tally}\n",
        "| outcome | check | required | measured |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _cells(check: Check) -> Sequence[str]:
    return check.name, check.required, check.measured


_WRITERS: dict[str, Callable[[Checked], str]] = {
    "text": _text,
    "json": _json,
    "junit": _junit,
    "sarif": _sarif,
    "markdown": _markdown,
}
