"""TOML as untrusted input: bounded before it is parsed.

The parser of the standard library takes time and memory that grow with the square of the parts of
a dotted key: 80 kB of "a.a.a ... = 1" take 9 GB.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import reading
from nnw_onnx.vocabulary import Json

MAX_BYTES = 1 << 18
MOST_PARTS = 16
"""Of a dotted key."""

# What may hold dots without being a key. An unclosed one ends with the text, so that nothing is
# looked at twice.
_TEXTS = re.compile(
    r'"""(?:[^\\"]|\\.|"(?!""))*+(?:"""|\\?\Z)'
    r"|'''(?:[^']|'(?!''))*+(?:'''|\Z)"
    r'|"(?:[^"\\\n]|\\.)*+(?:"|\n|\\?\Z)'
    r"|'[^'\n]*+(?:'|\n|\Z)"
    r"|\#[^\n]*+",
    re.DOTALL,
)
_LONG_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MOST_PARTS}}}")


EVALUATION = "evaluation file"
_SHOWN = {EVALUATION: "'nnw list evaluations' shows the ones that come with nnw"}


def parsed(path: Path, what: str = EVALUATION) -> dict[str, Json]:
    """The document of a TOML file.

    Args:
        path: the file.
        what: it is, for messages.

    Raises:
        ConfigurationError: it is no regular file of at most 256 KiB, has a key of more than
            `MOST_PARTS` parts or an integer of more than 64 bits, or is no TOML.
    """
    try:
        content, _ = reading.content(path, MAX_BYTES)
        text = content.decode().replace("\r\n", "\n")
        _expect_short_keys(text, path.name)
        document = tomllib.loads(text)
        _expect_integers(document)
        return document
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"{path}: expected a readable {what}, got: {reason}; "
            f"{_SHOWN.get(what, 'correct its name')}"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = str(error).split(";")[0]
        raise ConfigurationError(
            f"{path.name}: expected TOML, got: {reason}; correct it"
        ) from error


def _expect_integers(document: object) -> None:
    """Raise `ValueError` for an integer that TOML does not have but Python reads."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("an integer of more than 64 bits")


def _expect_short_keys(text: str, name: str) -> None:
    plain = _TEXTS.sub(lambda found: "s" + "\n" * found[0].count("\n"), text)
    if long := _LONG_KEY.search(plain):
        line = plain.count("\n", 0, long.start()) + 1
        raise ConfigurationError(
            f"{name}: expected keys of at most {MOST_PARTS} parts, got more in line {line}; "
            "correct it"
        )
