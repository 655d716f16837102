"""Numbers and names as a reader wants them; plain text, escaped by whoever writes a document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnw_onnx.measures.clock import RESOLUTION
from nnw_onnx.records import MeasureRecord
from nnw_onnx.text import harmless
from nnw_onnx.vocabulary import Json

DASH = "–"
MINUS = "−"
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
WORKFLOWS = {
    "NNW-NTI": "No Training Imperceptibility",
    "NNW-WTI": "With Training Imperceptibility",
    "NNW-NIR": "No Inference Robustness",
    "NNW-WIR": "With Inference Robustness",
}


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals, a true minus sign and no negative zero."""
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent where it is readable."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        shown = mantissa.rstrip("0").rstrip(".").replace("-", MINUS)
        ten = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
        return ten if shown == "1" else f"{shown} × {ten}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = fixed(value, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float, decimals: int = 1) -> str:
    """A share in percent."""
    return f"{fixed(100 * value, decimals)} %"


def seconds(value: float, digits: int = 3) -> str:
    """A time with its unit and so many significant digits."""
    return _scaled(value, _SECONDS, digits)


def size(value: float, digits: int = 3) -> str:
    """Bytes with their unit, likewise."""
    return _scaled(value, _BYTES, digits) if value >= 999.5 else f"{value:.0f} B"


def memory(value: float, digits: int = 3) -> str:
    """Peak memory, likewise; below the resolution of its measurement that is what is said."""
    return f"under {size(RESOLUTION)}" if value < RESOLUTION else size(value, digits)


def _scaled(value: float, units: Sequence[tuple[float, str]], digits: int) -> str:
    # 999.96 ms has to become 1.00 s: the unit is that of the rounded number.
    factor, unit = next((u for u in units if abs(value) >= u[0] * 0.9995), units[-1])
    scaled = value / factor
    if scaled and abs(scaled) < 1e-3:
        return f"{number(scaled)} {unit}"
    whole = math.floor(math.log10(abs(scaled) * 1.0005)) if scaled else 0
    return f"{fixed(scaled, max(0, digits - 1 - whole))} {unit}"


def evidence(log10_p: float) -> str:
    """Evidence, -log10 p, with one decimal; more than 300 is no more evidence."""
    return "over 300" if log10_p < -300 else fixed(-log10_p, 1)


@dataclass(frozen=True)
class Shown:
    """How values and losses of a measure are shown.

    Attributes:
        measure: whose.
    """

    measure: MeasureRecord

    @property
    def factor(self) -> float:
        """From the measure's own numbers to those shown."""
        return 100.0 if self.measure.unit == "%" else 1.0

    @property
    def unit(self) -> str:
        """What losses are counted in."""
        return "points" if self.measure.unit == "%" else self.measure.unit

    @property
    def decimals(self) -> int:
        """Of a loss: as many as let a negligible one be seen."""
        exponent = math.log10(self.factor * self.measure.negligible)
        return min(6, max(0, math.ceil(-exponent - 1e-9)))

    def value(self, value: float, unit: bool = True) -> str:
        """A quality, such as "93.41 %"."""
        shown = self.factor * value
        text = fixed(shown, 2) if abs(shown) < 1000 else number(shown, 4)
        return f"{text} {self.measure.unit}".rstrip() if unit else text

    def loss(self, value: float | None, more: int = 0) -> str:
        """A loss without its unit; fewer decimals where it is large, a dash where unknown."""
        if value is None:
            return DASH
        shown = self.factor * value
        digits = math.floor(math.log10(abs(shown))) if abs(shown) >= 1 else 0
        return fixed(shown, max(0, max(1, self.decimals) - digits) + more)

    def margin(self) -> str:
        """The loss that is negligible, with its unit."""
        return self._limit(self.measure.negligible)

    def usable(self) -> str:
        """The loss up to which a network is usable, with its unit."""
        return self._limit(self.measure.usable_loss)

    def _limit(self, value: float) -> str:
        return f"{number(self.factor * value)} {self.unit}".rstrip()


def named(name: str, value: Json) -> str:
    """An option, a key of a recipe or a fact with its value: "learning rate 0.01"."""
    said = harmless(name.replace("_", " "))
    if isinstance(value, bool):
        return said if value else f"no {said}"
    return f"{said} {plain(value)}"


def plain(value: Json) -> str:
    """A value of a configuration as words."""
    match value:
        case None:
            return "default"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return number(value, 4)
        case Mapping():
            return ", ".join(named(k, v) for k, v in value.items())
        case list() | tuple():
            return " ".join(plain(v) for v in value) or "none"
    return harmless(str(value))


def listed(items: Sequence[str], most: int = 4, between: str = ", ") -> str:
    """Items as "a, b and c", with "and n more" where there are many."""
    if len(items) > most:
        return f"{between.join(items[:most])} and {len(items) - most} more"
    return " and ".join(filter(None, [between.join(items[:-1]), *items[-1:]]))


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun, such as "1 network" or "2 networks"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def shorter(name: str, value: Json) -> str:
    """An option in a few characters: "strength 0.01" becomes "s0.01"."""
    return f"{harmless(name[:1])}{plain(value)[:6]}"
