"""The sink for text: nothing that a terminal, a page or an XML reader would obey or choke on."""

from __future__ import annotations

import json
import unicodedata
import xml.etree.ElementTree as ET

import pytest

from nnw_onnx.text import document, harmless, one_line

# All of the planes in which anything is, and some of the others.
EVERY = "".join(map(chr, (*range(0x1FFFF), *range(0xE0000, 0xE0200), 0xF0000, 0x10FFFF)))
FORBIDDEN_IN_XML = {*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF}
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_no_character_that_commands_anything_is_left() -> None:
    kept = {c for c in EVERY if harmless(c) == c}
    assert not {c for c in kept if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")}
    assert not {c for c in kept if unicodedata.category(c) in ("Zl", "Zp")}
    assert not {c for c in kept if unicodedata.bidirectional(c) in TURNING}
    assert not {c for c in kept if ord(c) in FORBIDDEN_IN_XML}
    assert [c for c in kept if c.isspace()] == [" "]


def test_what_people_write_stays() -> None:
    for text in (
        "Größe 100 %",
        "σ ≥ 10⁻⁶",
        "重み",
        "שכבה",
        "слой",
        "conv1.weight",
        "🙂",
        "é",
        "–−×",
    ):
        assert harmless(text) == text
        assert document(f"{text}\n{text}\n") == f"{text}\n{text}\n"


def test_escapes_are_those_of_python() -> None:
    assert harmless("a\x1b[31m\x9b\u202e\u3164\U000e0041\ud800\n") == (
        "a\\x1b[31m\\x9b\\u202e\\u3164\\U000e0041\\ud800\\n"
    )
    assert one_line(" a\n\t b\x00 ") == "a b\\x00"


def test_all_of_a_document_is_harmless_and_it_stays_what_it_is() -> None:
    once = document(EVERY)
    assert document(once) == once
    assert ET.fromstring(f"<a>{document(EVERY.replace('<', '').replace('&', ''))}</a>").text
    once.encode()


@pytest.mark.parametrize("text", ["\x9b\u202e", "\U000e0041", "a\u2028b", "\x7f", "\ufeff"])
def test_json_says_the_same_afterwards(text: str) -> None:
    raw = json.dumps({text: [text]}, ensure_ascii=False)
    assert json.loads(document(raw)) == json.loads(raw)
    assert document(raw).isprintable()
