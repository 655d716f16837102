"""The files of the page: what is asked for is made of the runs as they are then.

A run is read again only where the size or the time of one of its files is another one. Of those
that were read the finished files are kept; they are small beside the records.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnw_onnx.errors import NnwError
from nnw_onnx.reports.templating import templates
from nnw_onnx.reports.view.entries import damaged, entry
from nnw_onnx.reports.view.finding import MOST_RUNS, Place, find
from nnw_onnx.reports.view.opening import opened
from nnw_onnx.reports.view.records import records
from nnw_onnx.reports.view.sheets import sheet
from nnw_onnx.text import harmless, one_line
from nnw_onnx.version import __version__
from nnw_onnx.vocabulary import Json

INDEX = "index.html"
LIST = "data/runs.js"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
"""Ending of a file of the page -> what it is."""
_LONGEST = 300
_MOST_KEPT = 512 << 20
"""Bytes of finished files that are kept in memory."""


@dataclass(frozen=True)
class Drawn:
    """A run as it was when it was read: its entry in the list, and its files by path."""

    place: Place
    entry: Mapping[str, Json]
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(map(len, self.files.values()))


class Gallery:
    """The page of a folder.

    Attributes:
        folder: where the runs are.
        live: whether the page may ask for the list again.
    """

    def __init__(self, folder: Path, *, live: bool) -> None:
        self.folder, self.live = folder, live
        self._drawn: dict[str, Drawn] = {}
        self._lock = threading.Lock()

    def refresh(self, told: Callable[[int, int], None] = lambda done, of: None) -> int:
        """Read the runs that are new or changed; those that are gone are forgotten.

        Args:
            told: is called with the number of runs looked at, and of all, after each.

        Returns:
            The number of runs that can be shown.

        Raises:
            RunError: there are no runs.
        """
        with self._lock:
            places = find(self.folder)
            now: dict[str, Drawn] = {}
            for i, place in enumerate(places):
                known = self._drawn.get(place.key)
                if known is None or known.place != place:
                    known = drawn(place) if i < MOST_RUNS else _unread(place)
                now[place.key] = known
                told(i + 1, len(places))
            self._drawn = _lightened(now)
            return sum("reason" not in d.entry for d in self._drawn.values())

    def file(self, path: str) -> bytes | None:
        """A file of the page, or None where there is none; asked for the list, runs are read.

        Raises:
            RunError: there are no runs any more.
        """
        if path in _SHARED:
            return self._shared(path)
        if path == LIST:
            self.refresh()
            return self._list()
        known = self._drawn.get(path.removeprefix("data/").removesuffix(".js").partition("/")[0])
        if known is None or "reason" in known.entry:
            return None
        return (known.files or drawn(known.place).files).get(path)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file of the page, from the runs as they were read last."""
        for path in _SHARED:
            yield path, self._shared(path)
        yield LIST, self._list()
        for known in self._drawn.values():
            yield from (known.files or drawn(known.place).files).items()

    def _shared(self, path: str) -> bytes:
        made = templates().get_template(_SHARED[path])
        return made.render(version=__version__, live=self.live).encode()

    def _list(self) -> bytes:
        return script("runs", [dict(known.entry) for known in self._drawn.values()])


_SHARED = {
    INDEX: "view/index.html.j2",
    "view.css": "view/view.css.j2",
    "view.js": "view/view.js",
}
"""Files that are the same for all runs, and their templates."""


def script(function: str, *arguments: Json) -> bytes:
    """Data as a script that hands them over: JSON is JavaScript, and every text in it harmless.

    A "<" is escaped, so that the script could stand in a page too.
    """
    given = ", ".join(
        json.dumps(_safe(a), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        for a in arguments
    )
    return f"nnwView.{function}({given});\n".replace("<", "\\u003c").encode()


def drawn(place: Place) -> Drawn:
    """A run as it is now; of one that cannot be shown the list has the reason, in one line."""
    try:
        return _drawn(place)
    except OSError as error:
        return _damaged(place, f"expected a run that can be read, got: {error.strerror or error}")
    except NnwError as error:
        return _damaged(place, str(error))
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError):
        # Records of others may each be valid and not fit one another: the list must go on.
        told = "expected records that fit one another, got others; start a new run"
        return _damaged(place, told)


def _drawn(place: Place) -> Drawn:
    found = opened(place)
    key, files = place.key, {}
    files[f"data/{key}.js"] = script("run", key, sheet(found))
    for technology in found.report.technologies:
        made = records(found.report, found.run, technology.index)
        path = f"data/{key}/{technology.index}.js"
        files[path] = script("records", key, technology.index, made)
    return Drawn(place, entry(place, found), files)


def _lightened(runs: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """The runs, without the files of those written first where all are too much to keep."""
    made, left = {}, _MOST_KEPT
    for key, known in runs.items():
        left -= known.size
        made[key] = known if left >= 0 else Drawn(known.place, known.entry)
    return made


def _damaged(place: Place, reason: str) -> Drawn:
    """The reason without the path of the folder, which says nothing to who sees the page."""
    told = one_line(reason).replace(f"{place.folder}: ", "").replace(str(place.folder), place.name)
    return Drawn(place, damaged(place, told[:_LONGEST]))


def _unread(place: Place) -> Drawn:
    told = f"not read: more than {MOST_RUNS:,} runs; look at a folder with fewer"
    return Drawn(place, damaged(place, told))


def _safe(value: Json) -> Json:
    """A value of JSON with every text in it harmless."""
    match value:
        case str():
            return harmless(value)
        case dict():
            return {harmless(key): _safe(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_safe(inner) for inner in value]
    return value
