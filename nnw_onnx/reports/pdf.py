"""The figures as PDF: a writer for the part of SVG that `figure.svg.j2` uses.

Papers want PDF, and what turns SVG into it is a system library (cairo) or does not know markers. A
figure has rectangles of text, lines and points only, so that this is smaller than either. Fonts are
the standard ones of PDF (Helvetica, Symbol), which are named and not embedded.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from nnw_onnx.reports.paths import drawn, moved, vertices

_SCALE = 0.75
"""Points of paper in a pixel of CSS."""
_SVG = "{http://www.w3.org/2000/svg}"
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_SIZE = 10.5
# Widths of Helvetica from the space to the tilde, in thousandths (Adobe's font metrics).
_HELVETICA = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
_SYMBOL = {"−": 0x2D, "≥": 0xB3, "≤": 0xA3, "→": 0xAE, "σ": 0x73, "κ": 0x6B, "µ": 0x6D}
_RAISED = {c: (str(i), 0.35) for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")} | {"⁻": ("-", 0.35)}
_LOWERED = {c: (str(i), -0.15) for i, c in enumerate("₀₁₂₃₄₅₆₇₈₉")}
_SHIFTED = _RAISED | _LOWERED
_SMALL = 0.7

Style = Mapping[str, str]
Point = tuple[float, float]


def pdf(svg: str) -> bytes:
    """A figure as a PDF of one page; the same figure gives the same bytes.

    Args:
        svg: text of a figure that `figures.figures` made.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314 - made by a template, which escapes all names
    width, height = (float(root.get(side, "0")) for side in ("width", "height"))
    title = root.findtext(f"{_SVG}title") or ""
    drawing = _Drawing.of(root)
    drawing.draw(root, (0.0, 0.0))
    flip = f"{_SCALE} 0 0 {-_SCALE} 0 {_number(_SCALE * height)} cm"
    return _file("\n".join([flip, *drawing.out]), _SCALE * width, _SCALE * height, title)


@dataclass
class _Drawing:
    """Operators of PDF, as they come."""

    rules: Mapping[str, Style]
    named: Mapping[str, ElementTree.Element]
    out: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, root: ElementTree.Element) -> _Drawing:
        """An empty one with the styles and the named parts of a figure."""
        rules: dict[str, dict[str, str]] = {}
        for selectors, body in _RULE.findall(_COMMENT.sub("", root.findtext(f"{_SVG}style") or "")):
            pairs = (part.partition(":") for part in body.split(";") if ":" in part)
            given = {name.strip(): value.strip() for name, _, value in pairs}
            for selector in selectors.split(","):
                rules.setdefault(selector.strip(), {}).update(given)
        return cls(rules, {e.get("id", ""): e for e in root.iter() if e.get("id")})

    def draw(self, parent: ElementTree.Element, at: Point) -> None:
        """What is inside of an element, which lies at a place."""
        for element in parent:
            match element.tag.removeprefix(_SVG):
                case "svg" if element.get("width") != "0":
                    x, y = float(element.get("x", "0")), float(element.get("y", "0"))
                    self.draw(element, (at[0] + x, at[1] + y))
                case "g":
                    self.draw(element, at)
                case "use":
                    self.draw(self.named[element.get("href", "").removeprefix("#")], at)
                case "path":
                    self._path(element, at)
                case "text":
                    self._text(element, at)

    def _style(self, element: ElementTree.Element, kind: str = "") -> Style:
        found = dict(self.rules.get(kind, {}))
        for name in element.get("class", "").split():
            found |= self.rules.get(f".{name}", {})
        return found

    def _path(self, element: ElementTree.Element, at: Point) -> None:
        style, d = self._style(element), element.get("d", "")
        marker = style.get("marker", "")
        if marker:
            shape = self.named[marker.removeprefix("url(#").removesuffix(")")][0]
            for point in vertices(d):
                place = (at[0] + point[0], at[1] + point[1])
                self._shape(shape.get("d", ""), self._style(shape), place)
            return
        self._shape(d, style, at)

    def _shape(self, d: str, style: Style, at: Point) -> None:
        fill, stroke = (_colour(style, style.get(key, "none")) for key in ("fill", "stroke"))
        if fill is None and stroke is None:
            return
        operators = [_operator(step) for step in moved(drawn(d), at)]
        dashes = style.get("stroke-dasharray", "")
        self.out += ["q", f"/A{_hundredths(style.get('fill-opacity', '1'))} gs"]
        self.out += [f"{_rgb(fill)} rg"] if fill else []
        self.out += [f"{_rgb(stroke)} RG {style.get('stroke-width', '1')} w"] if stroke else []
        self.out += [f"[{dashes}] 0 d"] if dashes else []
        paint = {(True, True): "B", (True, False): "f", (False, True): "S"}
        self.out += [*operators, paint[fill is not None, stroke is not None], "Q"]

    def _text(self, element: ElementTree.Element, at: Point) -> None:
        style = self._style(element, "text")
        bold = style.get("font-weight") == "600"
        size = float(style.get("font-size", f"{_SIZE}px").removesuffix("px"))
        runs = list(_runs(element.text or "", bold))
        width = size * sum(run.width for run in runs)
        anchor = {"middle": width / 2, "end": width}.get(element.get("text-anchor", ""), 0.0)
        x = at[0] + float(element.get("x", "0")) - anchor
        y = at[1] + float(element.get("y", "0"))
        self.out += ["q BT", f"{_rgb(style.get('fill', '#000000'))} rg"]
        self.out.append(f"1 0 0 -1 {_number(x)} {_number(y)} Tm")
        for run in runs:
            self.out.append(
                f"/{run.font} {_number(size * run.scale)} Tf {_number(size * run.rise)} Ts "
                f"<{run.codes.hex()}> Tj"
            )
        self.out.append("ET Q")


@dataclass(frozen=True)
class _Run:
    """Characters of one font and size; widths and rises are in units of the font's size."""

    font: str
    codes: bytes
    width: float
    scale: float = 1.0
    rise: float = 0.0


def _runs(text: str, bold: bool) -> Iterator[_Run]:
    """The text, character by character; what the fonts have not is written as Python does."""
    plain = "F2" if bold else "F1"
    for c in text:
        if c in _SYMBOL:
            yield _Run("F3", bytes([_SYMBOL[c]]), 0.55)
        elif c in _SHIFTED:
            digit, rise = _SHIFTED[c]
            yield _Run(plain, digit.encode(), _SMALL * _width(digit), _SMALL, rise)
        else:
            for known in c if _encodes(c) else ascii(c)[1:-1]:
                yield _Run(plain, known.encode("cp1252"), _width(known))


def _encodes(character: str) -> bool:
    try:
        character.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def _width(character: str) -> float:
    place = ord(character) - 32
    return (_HELVETICA[place] if 0 <= place < len(_HELVETICA) else 556) / 1000


def _colour(style: Style, value: str) -> str | None:
    found = style.get("color", "#000000") if value == "currentColor" else value
    return None if found == "none" else found


def _rgb(colour: str) -> str:
    """The colour `#rrggbb` or `#rgb` as three numbers."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    return " ".join(_number(int(digits[i : i + 2], 16) / 255) for i in (0, 2, 4))


def _operator(step: tuple[str, tuple[float, ...]]) -> str:
    letter, numbers = step
    return " ".join([*map(_number, numbers), letter])


def _number(value: float) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _hundredths(value: str) -> int:
    return round(100 * float(value))


def _file(content: str, width: float, height: float, title: str) -> bytes:
    """The objects of the file, and where each begins."""
    packed = zlib.compress(content.encode("ascii"), 9)
    fonts = ("Helvetica", "Helvetica-Bold", "Symbol")
    alphas = sorted({int(n) for n in re.findall(r"^/A(\d+) gs$", content, re.MULTILINE)} | {100})
    states = " ".join(f"/A{a} << /ca {_number(a / 100)} >>" for a in alphas)
    named = " ".join(f"/F{i} {4 + i} 0 R" for i in range(1, len(fonts) + 1))
    box = f"[0 0 {_number(width)} {_number(height)}]"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Contents 4 0 R "
            f"/Resources << /Font << {named} >> /ExtGState << {states} >> >> >>"
        ).encode("ascii"),
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(packed), packed),
        *(_font(name) for name in fonts),
        b"<< /Title <%b> /Producer (nnw-onnx) >>"
        % ("\ufeff" + title).encode("utf-16-be").hex().encode(),
    ]
    out, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count, start = len(objects) + 1, len(out)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\n" % (count, count - 1)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % count
    return out + head + table + trailer + b"startxref\n%d\n%%%%EOF\n" % start


def _font(name: str) -> bytes:
    encoding = "" if name == "Symbol" else " /Encoding /WinAnsiEncoding"
    return f"<< /Type /Font /Subtype /Type1 /BaseFont /{name}{encoding} >>".encode("ascii")
