"""The text member of a key file: JSON of a fixed form, checked field by field.

Version 1 is a key of a secret alone; version 2 has arrays beside it, whose names it lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from nnw_onnx.errors import KeyFileError
from nnw_onnx.vocabulary import Key

_FORMAT = "nnw-onnx key"
_VERSIONS = (1, 2)
_LONGEST = 10_000
ARRAY_NAME = re.compile("[a-z_]{1,32}")
MOST_ARRAYS = 16
_HEX_DIGITS = frozenset("0123456789abcdef")


def key_text(key: Key) -> str:
    """JSON of everything in a key but its secret and its Symbols.

    Raises:
        KeyFileError: a value of the key is not a JSON value or breaks the form.
    """
    fields = {
        "format": _FORMAT,
        "version": 2 if key.arrays else 1,
        "method": key.method,
        "layers": list(key.layers),
        "shapes": [list(shape) for shape in key.shapes],
        "payload_size": key.payload_size,
        "alphabet": key.payload.alphabet if key.payload else 2,
        "options": dict(key.options),
        "commitment": key.commitment,
        "notes": list(key.notes),
    } | ({"arrays": sorted(key.arrays)} if key.arrays else {})
    try:
        text = json.dumps(fields, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise KeyFileError(
            f"key: expected options of JSON values, got: {error}; change the method's options"
        ) from error
    key_fields(text.encode())
    return text


def key_fields(data: bytes) -> dict[str, Any]:
    """Fields of `Key` (and `alphabet`) of the JSON in a key file; of arrays only the names.

    Raises:
        KeyFileError: it is not JSON, of another version, or a field is missing or wrong.
    """
    try:
        found = json.loads(data.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise KeyFileError(
            "expected JSON in member text.npy, got something else; restore it from a copy"
        ) from error
    _check(found)
    found["layers"] = tuple(found["layers"])
    found["shapes"] = tuple(map(tuple, found["shapes"]))
    found["notes"] = tuple(found["notes"])
    return {name: found[name] for name in _FIELDS} | {"arrays": tuple(found.get("arrays", ()))}


def _check(found: Any) -> None:
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise KeyFileError(f"expected format {_FORMAT!r}, got another; give a key file of nnw-onnx")
    version = found.get("version")
    if version not in _VERSIONS or isinstance(version, bool):
        raise KeyFileError(
            f"expected version 1 or 2 of the key file, got {str(version)[:20]}; "
            "use the nnw-onnx that wrote it, or a newer one"
        )
    fields = _FIELDS | (_FIELDS_OF_2 if version == 2 else {})
    odd = sorted(set(found) ^ {"format", "version", *fields})
    if odd:
        raise KeyFileError(
            f"expected the fields {', '.join(fields)}; missing or unknown: "
            f"{', '.join(odd)[:200]}; restore it from a copy"
        )
    for name, (words, valid) in fields.items():
        if not valid(found[name]):
            raise KeyFileError(
                f"expected {name} to be {words}, got {str(found[name])[:60]!r}; "
                "restore it from a copy"
            )
    if len(found["layers"]) != len(found["shapes"]):
        raise KeyFileError(
            f"expected a shape for each layer, got {len(found['shapes'])} for "
            f"{len(found['layers'])}; restore it from a copy"
        )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > _LONGEST:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_list_of(value: Any, valid: Callable[[Any], object]) -> bool:
    return isinstance(value, list) and len(value) <= _LONGEST and all(map(valid, value))


def _is_list_of_arrays(value: Any) -> bool:
    if not _is_list_of(value, lambda v: isinstance(v, str) and ARRAY_NAME.fullmatch(v)):
        return False
    return 0 < len(value) <= MOST_ARRAYS and len(set(value)) == len(value)


def _is_shape(value: Any) -> bool:
    return _is_list_of(value, lambda n: _is_integer(n, 0, 1 << 40)) and len(value) <= 32


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "method": ("a name", lambda v: _is_text(v) and bool(v)),
    "layers": ("a list of names", lambda v: _is_list_of(v, _is_text)),
    "shapes": ("a list of shapes", lambda v: _is_list_of(v, _is_shape)),
    "payload_size": ("a number of symbols", lambda v: _is_integer(v, 1, 8 << 20)),
    "alphabet": ("a number of symbols from 2", lambda v: _is_integer(v, 2, 1 << 40)),
    "options": ("an object", lambda v: isinstance(v, dict)),
    "commitment": ("hexadecimal digits", lambda v: _is_text(v) and set(v) <= _HEX_DIGITS),
    "notes": ("a list of texts", lambda v: _is_list_of(v, _is_text)),
}
_FIELDS_OF_2 = {"arrays": ("names of small letters and _", _is_list_of_arrays)}
