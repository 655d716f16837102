"""The one sink for text: what is printed or written passes through here.

Names of layers, files, networks and records come from elsewhere. A terminal obeys escape and C1
control characters in them, a page turns its text around at a right-to-left override, and XML
forbids some of them altogether.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

# Letters, marks and blanks that leave no trace, although they are called printable.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


class _Table(dict[int, str | int]):
    """What each character becomes, worked out when it is first met."""

    def __init__(self, escape: Callable[[str], str], kept: str = "") -> None:
        super().__init__((ord(character), character) for character in kept)
        self._escape = escape

    def __missing__(self, code: int) -> str | int:
        character = chr(code)
        self[code] = code if _seen(character) else self._escape(character)
        return self[code]


def _seen(character: str) -> bool:
    if not character.isprintable() or character in _UNSEEN:
        return False
    return "VARIATION SELECTOR" not in unicodedata.name(character, "")


_PYTHON = _Table(lambda character: ascii(character)[1:-1])
_JSON = _Table(lambda character: json.dumps(character)[1:-1], kept="\n")


def harmless(text: str) -> str:
    r"""The text with every character that is not seen written as Python does, such as `\x1b`.

    These are control characters (C0 and C1), line ends, what turns the direction of text, joins or
    hides it, private and unassigned characters, halves of surrogate pairs, and blanks that look
    like nothing. Letters of all scripts and the space stay.
    """
    return text.translate(_PYTHON)


def one_line(text: str) -> str:
    """The text on one line, runs of blanks and line ends as one space, harmless."""
    return harmless(" ".join(text.split()))


def document(content: str) -> str:
    r"""A whole document, whose line ends stay, with all else that is not seen escaped.

    Escapes are those of JSON (`\u202e`), so that a document in JSON stays one and says the same.
    """
    return content.translate(_JSON)
