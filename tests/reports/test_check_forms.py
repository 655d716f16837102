"""Checks as JSON, JUnit, SARIF and Markdown, with hostile names too."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import jsonschema
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.measures.checks import Check
from nnw_onnx.reports.checks import RULES, Checked, form_of, render

HOSTILE = "<script>&\"' | `a` \x1b[31m\u202e ]]> =cmd()"
PASSED = Check("mark", "mark", "found", "80 of 80", "passed")
FAILED = Check("quality", "quality", "at most 1 point", "2 points", "failed", 2.0, "high")
UNKNOWN = Check("survival", "survives x at 3 %", "found", "no trainer", "not measured")
THREE = Checked("nnw gate", "marked.onnx", (PASSED, FAILED, UNKNOWN))
BAD = Checked(HOSTILE, HOSTILE, (Check("mark", HOSTILE, HOSTILE, HOSTILE, "failed"),))

SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {"type": "array", "items": {"$ref": "#/$defs/run"}},
    },
    "additionalProperties": False,
    "$defs": {
        "message": {"type": "object", "required": ["text"],
                    "properties": {"text": {"type": "string"}}, "additionalProperties": False},
        "rule": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "string"}, "name": {"type": "string"},
                           "shortDescription": {"$ref": "#/$defs/message"}},
            "additionalProperties": False,
        },
        "driver": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
            },
            "additionalProperties": False,
        },
        "location": {
            "type": "object",
            "required": ["physicalLocation"],
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation"],
                    "properties": {
                        "artifactLocation": {
                            "type": "object",
                            "required": ["uri"],
                            "properties": {"uri": {"type": "string", "format": "uri-reference",
                                                   "pattern": "^[A-Za-z0-9._~/%-]+$"}},
                            "additionalProperties": False,
                        }
                    },
                    "additionalProperties": False,
                }
            },
            "additionalProperties": False,
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "kind": {"enum": ["notApplicable", "pass", "fail", "review", "open",
                                  "informational"]},
                "level": {"enum": ["none", "note", "warning", "error"]},
                "message": {"$ref": "#/$defs/message"},
                "locations": {"type": "array", "items": {"$ref": "#/$defs/location"}},
                "partialFingerprints": {"type": "object",
                                        "additionalProperties": {"type": "string"}},
            },
            "additionalProperties": False,
            # 3.27.10: of what is no failure there is no level.
            "if": {"properties": {"kind": {"const": "fail"}}},
            "else": {"properties": {"level": {"const": "none"}}},
        },
        "run": {
            "type": "object",
            "required": ["tool"],
            "properties": {
                "tool": {"type": "object", "required": ["driver"],
                         "properties": {"driver": {"$ref": "#/$defs/driver"}},
                         "additionalProperties": False},
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
            "additionalProperties": False,
        },
    },
}  # fmt: skip
"""What SARIF 2.1.0 says of the parts that are used, written after sections 3.13 to 3.29."""


@pytest.mark.parametrize("checked", [THREE, BAD, Checked("none", "x.onnx", ())])
def test_sarif_is_sarif(checked):
    document = json.loads(render(checked, "sarif"))
    jsonschema.validate(document, SARIF, jsonschema.Draft202012Validator)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_fails_what_was_not_measured():
    (run,) = json.loads(render(THREE, "sarif"))["runs"]
    assert [(r["kind"], r["level"]) for r in run["results"]] == [
        ("pass", "none"), ("fail", "error"), ("fail", "error"),
    ]  # fmt: skip
    assert run["results"][2]["message"]["text"] == (
        "not measured: survives x at 3 %: no trainer; required: found"
    )


def test_junit_counts_and_tells(tmp_path):
    root = ElementTree.fromstring(render(THREE, "junit"))
    assert (root.tag, root.attrib) == (
        "testsuites", {"name": "nnw", "tests": "3", "failures": "1", "errors": "1"},
    )  # fmt: skip
    (suite,) = root
    assert (suite.tag, suite.get("name"), suite.get("skipped")) == ("testsuite", "nnw gate", "0")
    assert [case.get("classname") for case in suite] == ["nnw.mark", "nnw.quality", "nnw.survival"]
    assert [[part.tag for part in case] for case in suite] == [
        ["system-out"], ["failure"], ["error"],
    ]  # fmt: skip
    assert suite[1][0].attrib == {"message": "2 points", "type": "failed"}
    assert suite[2][0].text == "survives x at 3 %: no trainer; required: found"


def test_json_holds_everything():
    told = json.loads(render(THREE, "json"))
    assert (told["title"], told["file"], told["passed"]) == ("nnw gate", "marked.onnx", False)
    assert told["checks"][1] == {
        "rule": "quality", "name": "quality", "required": "at most 1 point",
        "measured": "2 points", "outcome": "failed", "value": 2.0, "limit": "high",
    }  # fmt: skip


def test_markdown_and_text_are_for_people():
    assert render(THREE, "text").splitlines() == [
        "passed: mark: 80 of 80; required: found",
        "failed: quality: 2 points; required: at most 1 point",
        "not measured: survives x at 3 %: no trainer; required: found",
        "1 of 3 checks passed",
    ]
    lines = render(THREE, "markdown").splitlines()
    assert lines[0] == "### nnw gate: marked.onnx"
    assert lines[-1] == "| **not measured** | survives x at 3 % | found | no trainer |"


@pytest.mark.parametrize("form", ["text", "json", "junit", "sarif", "markdown"])
def test_hostile_names_command_nothing(form):
    text = render(BAD, form)
    assert "\x1b" not in text
    assert "\u202e" not in text
    if form == "markdown":
        assert "<script>" not in text
        assert text.splitlines()[-1].count(" | ") == 3
    if form == "junit":
        ElementTree.fromstring(text)


@pytest.mark.parametrize("form", ["text", "json", "junit", "sarif", "markdown"])
def test_the_same_checks_give_the_same_bytes(form):
    assert render(THREE, form) == render(Checked(*vars(THREE).values()), form)


def test_the_name_of_a_file_says_the_form():
    names = ["a.json", "b.XML", "c.sarif", "d.md"]
    assert [form_of(n) for n in names] == ["json", "junit", "sarif", "markdown"]
    with pytest.raises(ConfigurationError, match=r"--checks: expected a file that ends in \.json"):
        form_of("checks.txt")


def test_every_rule_is_said_in_a_sentence():
    assert all(said.endswith(".") for said in RULES.values())
