"""Intensities with their units."""

from __future__ import annotations

import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import Modification, Parameter

SHARE = Parameter("P", "share", "%", 1, 90, high_single_layer=99.99)
BITS = Parameter("B", "bits a weight", "bits", 2, 32, stronger="down")
NOISE = Parameter("S", "noise / weights", "x sigma", 0.1, 0.3)
PLAIN = Parameter("Q", "quality", "", stronger="down", option="quality")
RATIO = Parameter("R", "something", "ratio")


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        (SHARE, 0.5, "0.5 %"),
        (BITS, 4, "4 bits"),
        (BITS, 1, "1 bit"),
        (NOISE, 0.1, "0.1 x sigma"),
        (NOISE, 1, "1 x sigma"),
        (PLAIN, 50, "quality 50"),
        (RATIO, 0.25, "0.25"),
    ],
)
def test_what_is_written_is_read_again(parameter: Parameter, value: float, words: str) -> None:
    assert parameter.with_unit(value) == words
    if parameter is not PLAIN:
        assert parameter.read(words) == value
    assert parameter.read(str(value if value >= 1 else f"{value} {parameter.unit}")) == value


@pytest.mark.parametrize(
    ("parameter", "given", "value"),
    [
        (SHARE, " 50 % ", 50),
        (SHARE, "50%", 50),
        (SHARE, 0, 0),
        (SHARE, "0", 0),
        (SHARE, 1, 1),
        (BITS, "4bits", 4),
        (BITS, "4 Bits", 4),
        (NOISE, "0.2 sigma", 0.2),
        (NOISE, "7%", 0.07),
        (NOISE, "55 %", 0.55),
        (NOISE, "1e-1", 0.1),
        (RATIO, "30%", 0.3),
        (SHARE, "-3", -3),
    ],
)
def test_units_are_read(parameter: Parameter, given: float | str, value: float) -> None:
    assert parameter.read(given) == value


@pytest.mark.parametrize(
    ("parameter", "given", "message"),
    [
        (
            SHARE,
            0.5,
            'got 0.5, which is 0.5 % and not a share; write "0.5%" if it is meant, else 50',
        ),
        (SHARE, "0.99", "which is 0.99 % and not a share"),
        (SHARE, "3 bits", "expected a number in %, such as 90 %, got '3 bits'; correct it"),
        (BITS, "4 %", "expected a number in bits, such as 32 bits, got '4 %'"),
        (BITS, "four", "expected a number, such as 32 bits, got 'four'"),
        (BITS, 10**400, "expected a number, such as 32 bits, got one beyond all that a computer"),
        (PLAIN, "3 %", "expected a number in no unit"),
        (NOISE, "", "expected a number, such as 0.3 x sigma, got ''"),
        (NOISE, "nan", "expected a number"),
    ],
)
def test_what_may_mean_something_else_is_asked_back(
    parameter: Parameter, given: float | str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parameter.read(given)
    assert message in str(caught.value)


def test_ranges_in_words() -> None:
    assert SHARE.standard_range() == "1 to 90 %"
    assert SHARE.standard_range(single_layer=True) == "1 to 99.99 %"
    assert RATIO.standard_range() == ""


@pytest.mark.parametrize("name", plugins.names("modifications"))
def test_every_parameter_says_what_it_is_counted_in(name: str) -> None:
    parameter = plugins.load(Modification, name).parameter
    if parameter is not None and parameter.option == "intensity":
        assert parameter.unit not in ("", "ratio")
        assert parameter.with_unit(3).startswith("3 ")
