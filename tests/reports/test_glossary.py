"""Words explained where they stand, on the screen and on paper."""

from __future__ import annotations

from nnw_onnx.reports.glossary import TERMS, explained, footnotes
from nnw_onnx.reports.page import page


def test_a_term_is_explained_at_its_first_mention():
    text = str(explained("void, and void again"))
    assert text.count("<abbr") == 1
    assert text.endswith("</abbr>, and void again")


def test_a_term_inside_of_another_word_is_none():
    assert "<abbr" not in explained("avoid, FPGA, in-void")
    assert str(explained("unnoticed")).count("<abbr") == 1


def test_what_is_explained_is_escaped():
    assert str(explained("<b>void</b>")).startswith("&lt;b&gt;<abbr")
    assert "\x1b" not in explained("a\x1bvoid")


def test_workflows_are_explained_on_the_page_and_below_it_for_paper(large):
    text = page(large)
    assert f'<abbr title="{TERMS["NNW-NTI"]}">NNW-NTI</abbr>' in text
    assert f'<abbr title="{TERMS["void"]}">void</abbr>' in text
    assert f"<b>void</b>: {TERMS['void']}." in text


def test_footnotes_are_of_the_words_that_are_used():
    found = dict(footnotes(["survives all", "void at 3 marks", "NNW-NIR"]))
    assert set(found) == {"void", "NNW-NIR"}
