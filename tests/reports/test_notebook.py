"""A report at a prompt and in a notebook."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.measures.results import Share, Value
from nnw_onnx.reports import columns


def test_a_report_and_its_parts_are_short_at_a_prompt(small):
    assert repr(small) == (
        "Report('Handwritten digits': 3 networks x 3 Payloads, 2 technologies, 26 settings, "
        "2 warnings)"
    )
    for made in (small.points[0], small.technologies[0].tally, small.settings[0].levels[0]):
        assert len(repr(made)) < 1200
    assert repr(Value(value=0.5, low=0.25, high=0.75, networks=4)) == (
        "Value(0.5 [0.25, 0.75], 4 networks)"
    )
    assert repr(Value.missing("because")) == "Value(none: because)"
    assert repr(Share(events=1, of=4, value=0.25)) == "Share(events=1.0, of=4, value=0.25)"


def test_a_notebook_shows_verdicts_and_matrix(small, hostile):
    text = small._repr_html_()
    assert "survives 18 of 21 settings" in text
    assert "<td>0 Gaussian noise</td>" in text
    root = ElementTree.fromstring(hostile._repr_html_())
    assert root.tag == "div"
    assert root.find(".//script") is None


def test_without_pandas_one_line_says_so(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigurationError, match=r"expected pandas, got: .*; pip install pandas"):
        small.to_pandas()


def test_the_frame_has_the_rows_of_the_file(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    found = small.to_pandas()
    assert len(found) == len(list(columns.rows(small)))
    assert {"technology", "quantity", "value", "unit"} <= set(found[0])


def test_pandas_itself_takes_it(small):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = small.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(list(columns.rows(small)))
    found = frame[(frame.table == "robustness") & (frame.quantity == "found_rate")]
    assert found.value.between(0, 1).sum() == found.value.notna().sum() > 0
    assert set(found.unit) == {"share"}
