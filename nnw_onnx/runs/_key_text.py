"""The text member of a key file: JSON of a fixed form, checked field by field.

Version 3 is a claim. Versions 1 and 2 were keys: there `method` is a name alone, and `options` hold
facts of the key beside options of the method.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, NoReturn, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from nnw_onnx import plugins
from nnw_onnx.errors import KeyFileError, PluginError, expected
from nnw_onnx.vocabulary import Claim, Json, Method, Spec

_FORMAT = "nnw-onnx key"
MOST_ARRAYS = 64
ARRAY_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_LONGEST = 10_000


def _without_surrogates(text: str) -> str:
    # Such a text could not be written again.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("expected whole characters")
    return text


_Text = Annotated[str, Field(max_length=_LONGEST), AfterValidator(_without_surrogates)]
_Name = Annotated[
    str, Field(min_length=1, max_length=_LONGEST), AfterValidator(_without_surrogates)
]
_Texts = Annotated[tuple[_Text, ...], Field(max_length=_LONGEST)]
_Size = Annotated[int, Field(ge=0, le=8 << 20)]
_Shape = Annotated[tuple[Annotated[int, Field(ge=0, le=1 << 40)], ...], Field(max_length=32)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{0,128}$")]
_ArrayName = Annotated[str, Field(pattern=f"^{ARRAY_NAME}$")]


class _Form(BaseModel):
    """What all versions have in common."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )

    format: Literal["nnw-onnx key"]
    layers: _Texts
    shapes: Annotated[tuple[_Shape, ...], Field(max_length=_LONGEST)]
    alphabet: Annotated[int, Field(ge=2, le=1 << 40)]
    commitment: _Digest
    notes: _Texts
    arrays: Annotated[tuple[_ArrayName, ...], Field(max_length=MOST_ARRAYS)] = ()

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        if len(self.layers) != len(self.shapes):
            raise ValueError(
                f"expected a shape for each layer, got {len(self.shapes)} for {len(self.layers)}"
            )
        if len(set(self.arrays)) != len(self.arrays):
            raise ValueError("expected every array once, got one twice")
        return self


class _PlugIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )

    name: _Name
    options: dict[str, JsonValue]

    @property
    def spec(self) -> Spec:
        return Spec(self.name, self.options)


class KeyText(_Form):
    """Everything of a claim but its secret, its Symbols and its arrays; see `Key` and `Claim`."""

    version: Literal[3]
    method: _PlugIn
    size: _Size
    code: _PlugIn | None
    carries: _Size
    facts: dict[str, JsonValue]
    of: _Text
    opening: _Digest = ""


class _OldText(_Form):
    version: Literal[1, 2]
    method: _Name
    payload_size: Annotated[int, Field(ge=1, le=8 << 20)]
    options: dict[str, JsonValue]

    def now(self) -> KeyText:
        """The same in the form of today."""
        options, facts = _split(self.method, self.options)
        return KeyText(
            **self.model_dump(include=set(_Form.model_fields)),
            version=3,
            method=_PlugIn(name=self.method, options=options),
            size=self.payload_size,
            code=None,
            carries=self.payload_size,
            facts=facts,
            of="owner",
        )


def key_text(claim: Claim) -> bytes:
    """JSON of everything in a claim but its secret, its Symbols and its arrays.

    Raises:
        KeyFileError: a value of the key is not a JSON value or breaks the form.
    """
    key = claim.key
    fields = {
        "format": _FORMAT,
        "version": 3,
        "method": _plain(key.method),
        "size": key.size,
        "code": None if key.code is None else _plain(key.code),
        "carries": key.carries,
        "layers": list(key.layers),
        "shapes": [list(shape) for shape in key.shapes],
        "facts": dict(key.facts),
        "commitment": key.commitment,
        "opening": key.opening,
        "notes": list(key.notes),
        "alphabet": 2 if claim.payload is None else claim.payload.alphabet,
        "arrays": sorted(key.arrays),
        "of": claim.of,
    }
    try:
        text = json.dumps(fields, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise KeyFileError(
            f"key: expected options and facts of JSON values, got: {error}; change the method"
        ) from error
    parsed(text)
    return text


def parsed(data: bytes) -> KeyText:
    """The text of a key file of any version, in the form of today.

    Raises:
        KeyFileError: it is not JSON, of another version, or a field is missing or wrong.
    """
    try:
        found = json.loads(data.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise KeyFileError(
            "expected JSON in member text.npy, got something else; restore it from a copy"
        ) from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise KeyFileError(f"expected format {_FORMAT!r}, got another; give a key file of nnw-onnx")
    version = found.get("version")
    try:
        if version in (1, 2) and not isinstance(version, bool):
            return _OldText.model_validate_json(data).now()
        if version == 3:
            return KeyText.model_validate_json(data)
    except ValidationError as error:
        raise _wrong(error) from error
    raise KeyFileError(
        f"expected version 1, 2 or 3 of the key file, got {str(version)[:20]}; use the nnw-onnx "
        "that wrote it, or a newer one"
    )


def _split(
    method: str, options: dict[str, JsonValue]
) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """Options of the method, and the others, which are facts of the key."""
    try:
        known = {option.name for option in plugins.options(plugins.load(Method, method))}
    except PluginError:
        known = set(options)  # whoever uses the key learns that the method is not there
    return (
        {name: value for name, value in options.items() if name in known},
        {name: value for name, value in options.items() if name not in known},
    )


def _plain(spec: Spec) -> dict[str, Json]:
    return {"name": spec.name, "options": dict(spec.options)}


def _wrong(error: ValidationError) -> KeyFileError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "text"
    message = expected(first["msg"])
    got = f"; got {first['input']!r}"[:80] if first["loc"] else ""
    return KeyFileError(f"{where}: {message}{got}; restore it from a copy")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result
