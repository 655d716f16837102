"""Tables for papers: LaTeX with booktabs, split where they are wider or longer than a page.

Nothing is scaled down: a reader of a scaled table reads another size in every table. What is wider
than the text is split by columns, the leading ones standing before every part; what is longer than
a page is a longtable. Needs the packages booktabs, array and longtable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnw_onnx.reports.forms import Item, Table, written
from nnw_onnx.text import one_line

TEXT_WIDTH = 345.0
"""Points of a line of LaTeX's article class at 10 pt, on letter paper as on A4."""
LONGEST = 38
r"""Rows of a table in \footnotesize that a page has room for with its caption."""
PACKAGES = "% Needs \\usepackage{booktabs,array,longtable}.\n"
_GAP = 6.0
r"""Points between two columns: twice \tabcolsep."""
_WIDEST = 76.0
"""Points from which on the words of a column are set in a paragraph of this width."""
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "–": "--",
    "→": r"$\to$",
    "−": r"$-$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "µ": r"$\mu$",
    "†": r"$\dagger$",
    "κ": r"$\kappa$",
    "σ": r"$\sigma$",
    **{c: f"$_{i}$" for i, c in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    **{c: f"$^{i}$" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    "⁻": "$^-$",
}
# Points of Computer Modern at 8 pt, rounded up; what is not here counts as a wide letter.
_WIDTHS = {
    **dict.fromkeys("iljt.,:;'|![]()/ fIr", 3.4),
    **dict.fromkeys("abcdeghknopqsuvxyz0123456789*-–", 4.8),
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ+=<>−×≥&§%", 6.9),
}
_WIDE = 9.0
_UNBROKEN = 8
"""Characters between places at which a word that is too long may be broken."""


@dataclass(frozen=True)
class _Column:
    """A column as it is set.

    Attributes:
        place: in the table.
        head: lines of the heading.
        width: points.
        form: column type of a tabular.
        wrapped: whether its words are set in a paragraph.
    """

    place: int
    head: tuple[str, ...]
    width: float
    form: str
    wrapped: bool


def as_latex(made: Table) -> str:
    """A table for readers, in as many parts as it takes."""
    brief = made.brief()
    parts = list(_parts(brief))
    texts = [
        _part(brief, columns, f", part {i} of {len(parts)}" if len(parts) > 1 else "")
        for i, columns in enumerate(parts, 1)
    ]
    return PACKAGES + "\n".join(texts)


def escaped(word: str) -> str:
    """Text in which LaTeX finds nothing to obey."""
    return "".join(_ESCAPES.get(c, c) for c in one_line(word))


def width_of(text: str) -> float:
    r"""Points of a text on one line in \footnotesize, rather too many than too few."""
    return sum(_WIDTHS.get(c, _WIDE) for c in one_line(text))


def _parts(made: Table) -> Iterator[list[_Column]]:
    """Columns of each part; the leading ones are in all of them."""
    columns = [_column(made, place) for place in range(len(made.heads))]
    leads = [c for c in columns if made.heads[c.place].lead][1 if _grouped(made) else 0 :]
    rest = [c for c in columns if not made.heads[c.place].lead]
    taken: list[_Column] = []
    for column in rest:
        if taken and _total([*leads, *taken, column]) > TEXT_WIDTH:
            yield leads + taken
            taken = []
        taken.append(column)
    if taken or not rest:
        yield leads + taken


def _grouped(made: Table) -> bool:
    """Whether the first of several leading columns is told in rows of its own."""
    return sum(head.lead for head in made.heads) > 2


def _total(columns: Sequence[_Column]) -> float:
    return sum(c.width + _GAP for c in columns)


def _column(made: Table, place: int) -> _Column:
    head = made.heads[place]
    widest = max((width_of(written(row[place])) for row in made.rows), default=0.0)
    room = 2 * _WIDEST if head.roomy else _WIDEST
    wrapped = not head.numeric and widest > room
    least = max(width_of(word) for word in head.text.split() or [""])
    width = max(room if wrapped else widest, least)
    form = "r" if head.numeric else "l"
    if wrapped:
        form = rf">{{\raggedright\arraybackslash}}p{{{width:.0f}pt}}"
    return _Column(place, tuple(_lines(head.text, width)), width, form, wrapped)


def _lines(text: str, width: float) -> Iterator[str]:
    """Words of a heading on lines of a width."""
    line = ""
    for word in text.split():
        if line and width_of(f"{line} {word}") > width:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def _part(made: Table, columns: Sequence[_Column], which: str) -> str:
    forms = "".join(c.form for c in columns)
    head = "\n".join([r"\toprule", *_heading(columns), r"\midrule"])
    rows = "\n".join(_body(made, columns))
    caption = rf"\caption{{{escaped(made.caption + which)}}}"
    small = r"\footnotesize\setlength{\tabcolsep}{3pt}"
    below = "".join(f"\n\n\\smallskip {escaped(text)}" for text in made.below)
    if len(made.rows) > LONGEST:
        opening = rf"\begin{{longtable}}{{@{{}}{forms}@{{}}}}"
        repeated = head + "\n" + r"\endhead"
        inside = f"{opening}\n{caption}\\\\\n{repeated}\n{rows}\n\\bottomrule\n\\end{{longtable}}"
        return f"{{{small}\n{inside}{below}}}\n"
    return (
        f"\\begin{{table}}\n\\centering{small}\n{caption}\n"
        f"\\begin{{tabular}}{{@{{}}{forms}@{{}}}}\n{head}\n{rows}\n\\bottomrule\n"
        f"\\end{{tabular}}{below}\n\\end{{table}}\n"
    )


def _body(made: Table, columns: Sequence[_Column]) -> Iterator[str]:
    group, repeats = "", columns[0] if _grouped(made) else None
    above = ""
    for row in made.rows:
        if repeats is not None and row[0].text != group:
            group, above = row[0].text, ""
            yield rf"\multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}{{\emph{{{escaped(group)}}}}} \\"
        cells = [_cell(row[c.place], c) for c in columns]
        if repeats is not None:
            cells[0], above = ("" if cells[0] == above else cells[0]), cells[0]
        yield _row(cells)


def _heading(columns: Sequence[_Column]) -> Iterator[str]:
    """Lines of the heading, all ending at the rule below."""
    high = max(len(c.head) for c in columns)
    padded = [("",) * (high - len(c.head)) + c.head for c in columns]
    for line in zip(*padded, strict=True):
        yield _row([escaped(word) for word in line])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(item: Item, column: _Column) -> str:
    text = written(item)
    if not column.wrapped:
        return escaped(text)
    return " ".join(_fitted(word, column.width) for word in one_line(text).split())


def _fitted(word: str, width: float) -> str:
    """A word of a narrow paragraph: a long name of a layer or file may be broken inside."""
    if width_of(word) <= width:
        return escaped(word)
    pieces = [word[i : i + _UNBROKEN] for i in range(0, len(word), _UNBROKEN)]
    return r"\allowbreak{}".join(map(escaped, pieces))
