"""Numbers and names as a reader wants them; plain text, escaped by whoever writes a document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnw_onnx.measures.limits import Estimate, Interval, NotMeasured, Proportion, Value
from nnw_onnx.measures.points import Sweep
from nnw_onnx.records import printable

DASH = "–"
_ROUNDING = 1e-12
_MODIFICATIONS = {"l1-pruning": "L1 pruning"}
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
WORKFLOWS = {
    "NNW-NTI": "No Training Imperceptibility",
    "NNW-WTI": "With Training Imperceptibility",
    "NNW-NIR": "No Inference Robustness",
    "NNW-WIR": "With Inference Robustness",
}
NOT_ASKED = "not asked for"
ORIGINAL = "original network"
TWIN = "twin"
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent where it is readable."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quality(value: float, rate: bool) -> str:
    """A quality: rates in percent."""
    return f"{100 * value:.2f} %" if rate else number(value, 4)


def points(value: float, rate: bool, signed: bool = False) -> str:
    """A difference of qualities without its unit: rates in percentage points."""
    exact = 0.0 if abs(value) < _ROUNDING else value
    text = f"{100 * exact:.2f}" if rate else number(exact, 3)
    if text.strip("-0.") == "":
        return text.removeprefix("-")
    return f"+{text}" if signed and exact > 0 else text


def points_unit(rate: bool, measure: str | None) -> str:
    """What a difference of qualities is counted in."""
    name = measure_name(measure)
    return f"points of {name}" if rate else f"of {name}"


def measure_name(name: str | None) -> str:
    """A quality measure's name as words."""
    return "quality" if name is None else name.replace("_", " ").replace("top1", "top-1")


def percent(value: float) -> str:
    """A ratio in percent, at most two decimals."""
    text = f"{100 * value:.2f}".rstrip("0").rstrip(".")
    return f"{text} %"


def seconds(value: float) -> str:
    """A time with its unit."""
    return _scaled(value, _SECONDS)


def size(value: float) -> str:
    """Bytes with their unit."""
    return _scaled(value, _BYTES) if value >= 1e3 else f"{value:.0f} B"


def _scaled(value: float, units: Sequence[tuple[float, str]]) -> str:
    for factor, unit in units:
        if abs(value) >= factor:
            return f"{number(value / factor)} {unit}"
    factor, unit = units[-1]
    return f"{number(value / factor)} {unit}"


def p_value(log10_p: float) -> str:
    """A p-value given by its decimal logarithm."""
    if log10_p > -4:
        return number(10**log10_p, 2)
    exponent = math.floor(log10_p)
    mantissa = f"{10 ** (log10_p - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa}e{exponent}"


def modification_name(name: str, options: Mapping[str, Any] | None = None) -> str:
    """A Modification's name as words, with the options that are not the Intensity."""
    words = _MODIFICATIONS.get(name, name.replace("-", " "))
    words = words[:1].upper() + words[1:]
    inside = ", ".join(named(k, v) for k, v in sorted((options or {}).items()))
    return f"{words} ({inside})" if inside else words


def named(name: str, value: Any) -> str:
    """An option, a key of a recipe or a fact with its value: "learning rate 0.01"."""
    said = name.replace("_", " ")
    if isinstance(value, bool):
        return said if value else f"no {said}"
    return f"{said} {plain_value(value)}"


def plain_value(value: Any) -> str:
    """A value of a configuration as words."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value, 4)
    if isinstance(value, Mapping):
        return ", ".join(named(k, v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return " ".join(plain_value(v) for v in value) or "none"
    return printable(str(value))


def facts(values: Mapping[str, float | str]) -> str:
    """What a Modification says of itself, on one line; a dash where it says nothing."""
    return ", ".join(named(name, value) for name, value in values.items()) or DASH


def recipe(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A recipe as (name, value) in words."""
    known = {"trained": "the networks as they are", "scratch": "fresh weights"}
    return [
        (
            (name[:1].upper() + name[1:]).replace("_", " "),
            known.get(str(value), plain_value(value)) if name == "start" else plain_value(value),
        )
        for name, value in values.items()
    ]


def workflow(name: str) -> str:
    """A workflow by its acronym and its name."""
    return f"{name}, {WORKFLOWS.get(name, 'a workflow of MPAI-NNT')}"


def aim_name(aim: str) -> str:
    """The layers aimed at, as words."""
    known = {"all": "all layers", "carrier": "carrier layer"}
    return known.get(aim, f"layers {aim}")


def intensity(value: float, unit: str | None) -> str:
    """An Intensity with its unit."""
    text = number(value, 6)
    return f"{text} {unit}" if unit and unit != "ratio" else text


def setting(sweep: Sweep, value: float, beyond: str = "") -> str:
    """A Modification at an Intensity, in words; `beyond` follows the Intensity."""
    unit = sweep.parameter.unit if sweep.parameter else None
    name = modification_name(sweep.modification, sweep.options)
    return f"{name} {intensity(value, unit)}{beyond} ({aim_name(sweep.aim)})"


def limits(interval: Interval | NotMeasured | None, form: Any) -> str:
    """Limits in words: "1 to 2", each written by `form`."""
    if not isinstance(interval, Interval):
        return DASH
    return f"{form(interval.low)} to {form(interval.high)}"


def measured(value: Estimate | Value | Proportion | NotMeasured, form: Any) -> str:
    """A number with its limits, or a dash."""
    match value:
        case NotMeasured():
            return DASH
        case Value():
            return str(form(value.value))
        case Proportion():
            inside = "" if value.limits is None else f" [{limits(value.limits, form)}]"
            return f"{form(value.value)}{inside}"
        case Estimate():
            known = isinstance(value.limits, Interval)
            inside = f" [{limits(value.limits, form)}]" if known else single_values(value, form)
            return f"{form(value.mean)}{inside}"


def single_values(value: Estimate, form: Any) -> str:
    """The values of fewer than five networks in place of limits: " (1, 2 and 3)"."""
    if value.limits_method != "bootstrap" or value.minimum == value.maximum:
        return ""
    return f" ({', '.join(form(v) for v in value.individual)})" if value.individual else ""


def listed(items: Sequence[str], most: int = 4) -> str:
    """Items as "a, b and c", with "and n more" where there are many."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun, such as "1 network" or "2 networks"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
