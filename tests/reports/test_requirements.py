"""Requirements: the language, the rows that it selects, and which number is compared."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.measures.checks import met
from nnw_onnx.measures.results import Value
from nnw_onnx.records import MeasureRecord
from nnw_onnx.reports import columns
from nnw_onnx.reports.requirements import MOST, checked, parsed

SHARE = MeasureRecord(name="top-1 accuracy", unit="%", negligible=0.005, usable_loss=0.05)
DECIBEL = MeasureRecord(name="PSNR", unit="dB", negligible=0.1, usable_loss=1.0)


def of(report, *texts):
    return checked([parsed(text) for text in texts], report)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("quality.loss <= 1.0", ("quality", "loss", None, None, "high", "<=", 1.0)),
        ("quality.loss.mean<1", ("quality", "loss", None, None, "mean", "<", 1.0)),
        (
            "robustness[l1-pruning@50].detected >= 95%",
            ("robustness", "found_rate", "l1-pruning", 50.0, "low", ">=", 95.0),
        ),
        (
            ' robustness[ "L1 pruning, carrier layer" @ 99.9 % ] . ser . high < 1e-2 ',
            ("robustness", "ser", "L1 pruning, carrier layer", 99.9, "high", "<", 0.01),
        ),
        (
            "robustness[quantizing@4 bits, technology=uchida].status == survives",
            ("robustness", "status", "quantizing", 4.0, "", "==", 0.0),
        ),
    ],
)
def test_requirements_are_read(text, fields):
    found = parsed(text)
    got = (found.table, found.column.key, found.modification, found.intensity, found.limit,
           found.sign, found.bound)  # fmt: skip
    assert got == fields


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a table, got the end; write for example 'quality.loss <= 1.0'"),
        ("qualty.loss <= 1", r"a table: one of base, .*; .*|got 'qualty' \(did you mean 'quality'"),
        (
            "quality.los <= 1",
            r"a quantity of quality: one of .*got 'los' \(did you mean 'loss'\?\)",
        ),
        ("quality.loss.men <= 1", r"a limit: one of mean, low, high, got 'men' \(did you mean"),
        ("quality.loss == 1", "expected one of <=, >=, <, > after loss, got =="),
        ("robustness.status <= 1", "expected == after status, got <="),
        ("robustness.status == 1", "expected a word, got '1'"),
        ("quality.loss <= x", "expected a number, got 'x'"),
        ("quality.loss <= 1 2", "expected the end, got '2'"),
        ("quality.loss <= 1e999", "expected a number, got inf; give a smaller one"),
        ("quality[l1-pruning].loss <= 1", "expected a Modification in one of blocks, resynch"),
        ("robustness[l1-pruning@x].ser <= 1", "expected an Intensity, got 'x'"),
        ("robustness[l1-pruning ser <= 1", "expected ',', got 'ser'"),
        ("robustness[technology=].ser <= 1", r"expected a technology, got '\]'"),
        ("quality.loss <= 1; import os", "expected a requirement, got '; import os'"),
        ("__import__('os').system <= 1", "expected a requirement, got"),
        ("quality.loss <= " + "1" * MOST, f"expected at most {MOST} characters, got 516"),
    ],
)
def test_a_mistake_is_one_line(text, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("require ")


@given(st.text(max_size=60))
def test_any_text_is_a_requirement_or_one_line(text):
    with contextlib.suppress(ConfigurationError):
        assert parsed(text).table in columns.TABLES


@pytest.mark.parametrize(
    ("text", "measure", "bound"),
    [
        ("quality.loss <= 1.5", SHARE, 0.015),
        ("quality.loss <= 1.5%", SHARE, 0.015),
        ("quality.loss <= 1.5", DECIBEL, 1.5),
        ("quality.after >= 0.9", SHARE, 0.9),
        ("quality.after >= 90%", SHARE, 0.9),
        ("quality.after >= 30", DECIBEL, 30.0),
        ("robustness.found_rate >= 95%", DECIBEL, 0.95),
        ("robustness.log10_p <= -6", SHARE, -6.0),
        ("cost.injection <= 2", SHARE, 2.0),
    ],
)
def test_a_bound_is_in_the_units_that_people_mean(text, measure, bound):
    assert parsed(text).scaled(measure) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # 0.95 % would be met by nearly everything, and 95 by nothing.
        (
            "robustness.found_rate >= 95",
            "expected a share with %, or from 0 to 1, got 95; write 95%",
        ),
        ("quality.after >= 90", "expected a share with %, or from 0 to 1, got 90; write 90%"),
        ("cost.injection <= 5%", "expected a number without %, got 5%; leave % out"),
    ],
)
def test_a_bound_that_could_mean_two_things_is_refused(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parsed(text).scaled(SHARE)


def test_the_number_that_speaks_against_a_requirement_is_compared(small):
    row = next(
        r for r in columns.rows(small)
        if (r.table, r.quantity, r.technology) == ("quality", "loss", "block-spread, 64 bits")
    )  # fmt: skip
    between = 100 * (row.value + row.high) / 2
    assert row.value < between / 100 < row.high
    place = "quality[technology=block-spread].loss"
    conservative, mean, low, at_least = of(
        small, f"{place} <= {between}", f"{place}.mean <= {between}", f"{place}.low <= {between}",
        f"{place} >= {between}",
    )  # fmt: skip
    assert [c.limit for c in (conservative, mean, low, at_least)] == ["high", "mean", "low", "low"]
    assert [bool(c) for c in (conservative, mean, low, at_least)] == [False, True, True, False]
    assert conservative.value == pytest.approx(100 * row.high)
    assert "upper of the 90 % limits; mean" in conservative.measured
    assert conservative.required.startswith("<= 0.16")


def test_every_row_that_is_selected_must_meet_it(small):
    (every,) = of(small, 'robustness["Gaussian noise"].detected >= 95%')
    assert every.outcome == "failed"
    assert every.measured.count("33.33 %") == 2
    assert every.measured.endswith("(of 10 rows)")
    (all_of_them,) = of(small, "robustness[x].detected >= 95%")
    assert "more (of " in all_of_them.measured
    (weak,) = of(small, 'robustness["gaussian noise"@0.1].detected >= 95%')
    assert weak.outcome == "passed"
    assert "(of 2 rows)" in weak.measured
    (one,) = of(small, 'robustness["Gaussian noise"@0.1, technology=uchida].detected >= 95%')
    assert "of uchida, 64 bits under Gaussian noise at 0.1" in one.measured
    (plain,) = of(small, "robustness[technology=uchida].detected >= 95%")
    assert plain.measured.endswith("of uchida, 64 bits")


def test_words_are_compared_as_words(small):
    right, wrong = of(
        small, "imperceptibility.verdict == negligible", "imperceptibility.verdict == noticeable"
    )
    assert (right.outcome, wrong.outcome) == ("passed", "failed")
    assert (right.value, right.limit) == (None, "")


def test_what_was_not_measured_never_passes(small):
    cost = small.technologies[0].cost.model_copy(update={"injection": Value.missing("no room")})
    first = small.technologies[0].model_copy(update={"cost": cost})
    report = small.model_copy(update={"technologies": (first, *small.technologies[1:])})
    (found,) = of(report, "cost.injection.mean <= 1000")
    assert found.outcome == "not measured"
    assert found.measured == "not measured of block-spread, 64 bits: no room (of 2 rows)"
    assert not met([found])
    (absent,) = of(small, "blocks.recall >= 90%")
    assert (absent.outcome, absent.measured) == ("not measured", "the report has no such row")


def test_a_number_without_limits_meets_no_conservative_requirement(small):
    few = Value(value=0.001, networks=1, reason="there is one network")
    old = small.technologies[0].imperceptibility
    row = old.measures[0].model_copy(update={"loss": few})
    changed = old.model_copy(update={"measures": (row, *old.measures[1:])})
    first = small.technologies[0].model_copy(update={"imperceptibility": changed})
    report = small.model_copy(update={"technologies": (first, *small.technologies[1:])})
    conservative, mean = of(report, "quality.loss <= 1", "quality.loss.mean <= 1")
    assert (conservative.outcome, mean.outcome) == ("not measured", "passed")
    assert conservative.measured == (
        "no limits of block-spread, 64 bits: there is one network; the mean is 0.1 points, which "
        "loss.mean requires something of (of 2 rows)"
    )


def test_counts_are_what_they_are(small):
    right, wrong = of(small, "technologies.lost <= 1000", "technologies.survived >= 1000")
    assert (right.outcome, right.limit, wrong.outcome) == ("passed", "count", "failed")


def test_nothing_checked_is_nothing_met():
    assert not met([])
