"""Seals: what a network consists of, as hashes in a file beside it.

A seal is JSON that anybody can read: the hash of every part of the graph and of every stored
tensor, the first eight bytes of the hash of each of their blocks, and the root of a Merkle tree
over all of them. What a network was is decided by the root, which is over whole hashes; those of
blocks only say where it is another one.

Whoever can change a network can make another seal. So a seal is worth what it is bound by: an
owner's key (a code over all of it, which only that key can make or check), a signature over its
file by a tool for that, or the root, published.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.graph.inventory import Held
from nnw_onnx.kit import merkle, reading
from nnw_onnx.kit.derivation import hkdf
from nnw_onnx.kit.writing import replacing
from nnw_onnx.text import one_line

FORM: Literal["nnw-onnx seal 1"] = "nnw-onnx seal 1"
SHORT = 8
"""Bytes of the hash of a block that a seal keeps."""
LEAST_BLOCK, DEFAULT_BLOCK, LARGEST_BLOCK = 64, 1024, 1 << 24
_MOST_BLOCKS = 1 << 20
"""Blocks from which on they are made larger, where nobody asks for a size."""
LARGEST_FILE = 1 << 26
"""Bytes of a seal that are read."""
_MOST_PIECES = 300_000
_MOST_VALUES = 1 << 22
"""Values of a seal that are read: a file of brackets and commas takes many times its size."""
_KEYS = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+:')
"""Keys of objects in a text that is JSON; without a step back, so that it takes linear time."""
_ADVICE = "give the file that 'nnw integrity seal' wrote"

Name = Annotated[str, Field(max_length=1000)]
Hex = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _SealModel(BaseModel):
    # Fields that are too many are seen in the text: here each of a million would be a mistake.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", frozen=True, strict=True)


class SealedPart(_SealModel):
    """A piece of the graph; see `graph.inventory.Part`."""

    name: Name
    operator: Name
    sha256: Hex


class SealedTensor(_SealModel):
    """A stored tensor; see `graph.inventory.Held`.

    Attributes:
        sha256: of its type, its shape and the root of its blocks, not of its name.
        blocks: of each block the first eight bytes of its hash.
    """

    name: Name
    place: Name
    dtype: Annotated[str, Field(max_length=32)]
    shape: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...], Field(max_length=64, fail_fast=True)
    ]
    sha256: Hex
    blocks: Annotated[str, Field(pattern="^([0-9a-f]{16})*$")]

    def block(self, number: int) -> str:
        """What is kept of the hash of a block; empty where there is none of this number."""
        return self.blocks[2 * SHORT * number : 2 * SHORT * (number + 1)]


class Seal(_SealModel):
    """What a network consists of.

    Attributes:
        form: of this file.
        block: weights of a block, the finest place of a change that is told.
        everything: whether names of nodes, texts and metadata count too.
        root: SHA-256 over all parts and tensors, in hexadecimal digits.
        parts: of the graph, in its order.
        tensors: sorted by name.
        code: HMAC-SHA-256 of all else under a key of the owner; None where none was given.
    """

    form: Literal["nnw-onnx seal 1"] = FORM
    block: Annotated[int, Field(ge=LEAST_BLOCK, le=LARGEST_BLOCK)]
    everything: bool
    root: Hex
    parts: Annotated[tuple[SealedPart, ...], Field(max_length=_MOST_PIECES, fail_fast=True)]
    tensors: Annotated[tuple[SealedTensor, ...], Field(max_length=_MOST_PIECES, fail_fast=True)]
    code: Hex | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Seal:
        if self.root != root_of(self.parts, self.tensors):
            raise ValueError("expected the root of its parts and tensors, got another")
        for names in ([p.name for p in self.parts], [t.name for t in self.tensors]):
            if len(set(names)) < len(names):
                raise ValueError("expected every name once, got one twice")
        return self

    @property
    def blocks(self) -> int:
        """Number of blocks of all tensors."""
        return sum(len(tensor.blocks) for tensor in self.tensors) // (2 * SHORT)

    def save(self, path: str | Path) -> None:
        """Write it to a file; see `save_seal`."""
        save_seal(self, path)


@dataclass(frozen=True)
class Reading:
    """A network as it is read for a seal: parts and tensors, and the root over them."""

    parts: tuple[SealedPart, ...]
    tensors: tuple[SealedTensor, ...]

    @property
    def root(self) -> str:
        """SHA-256 over all of them, in hexadecimal digits."""
        return root_of(self.parts, self.tensors)


_FIELDS = {n.encode() for kind in (Seal, SealedPart, SealedTensor) for n in kind.model_fields}
"""Names of all fields of a seal and of its pieces, as a file has them."""


def read_network(network: OnnxNetwork, block: int, *, everything: bool) -> Reading:
    """Every part and tensor of a network, hashed block by block."""
    found = network.inventory(everything=everything)
    parts = [
        SealedPart(name=p.name, operator=p.operator, sha256=p.digest.hex()) for p in found.parts
    ]
    return Reading(tuple(parts), tuple(_sealed(held, block) for held in found.tensors))


def seal(
    network: OnnxNetwork,
    *,
    secret: bytes | None = None,
    everything: bool = False,
    block: int | None = None,
) -> Seal:
    """The seal of a network.

    Args:
        network: as it is now.
        secret: of the owner; a code over the seal is made with it.
        everything: whether names of nodes, texts and metadata count too.
        block: weights of a block, a multiple of 8 from 64 to 2^24; None for 1024, or more where
            there would be more than 2^20 blocks.

    Raises:
        ConfigurationError: a block of another size.
    """
    size = _default(network) if block is None else block
    if not LEAST_BLOCK <= size <= LARGEST_BLOCK or size % 8:
        raise ConfigurationError(
            f"block: expected a multiple of 8 from {LEAST_BLOCK} to {LARGEST_BLOCK} weights, got "
            f"{size}; give for example {DEFAULT_BLOCK}"
        )
    read = read_network(network, size, everything=everything)
    made = Seal(
        block=size, everything=everything, root=read.root, parts=read.parts, tensors=read.tensors
    )
    if secret is not None:
        made = made.model_copy(update={"code": code_of(made, secret)})
    return made


def code_of(sealed: Seal, secret: bytes) -> str:
    """HMAC-SHA-256 (hex) of all of a seal but its code, with a key of its own from the secret."""
    told = sealed.model_dump(mode="json", exclude={"code"})
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    key = hkdf(secret, FORM.encode(), b"code of a seal", 32)
    return hmac.digest(key, text.encode(), "sha256").hex()


def check_code(sealed: Seal, secret: bytes | None) -> None:
    """Raise `ConfigurationError` unless a seal is that of the key, or has none where none is given.

    A seal without a code is refused where there is a key: anybody could have made it in the place
    of the owner's.
    """
    if secret is None and sealed.code is None:
        return
    if secret is None:
        raise ConfigurationError(
            "seal: expected the key that it was made with, got none; give it with --key, or ask "
            "its owner for a seal without a key, and its signature"
        )
    if sealed.code is None:
        raise ConfigurationError(
            "seal: expected one that was made with this key, got one without a key, which anybody "
            "can make; give the owner's, or leave out --key and check its signature"
        )
    if not hmac.compare_digest(sealed.code, code_of(sealed, secret)):
        raise ConfigurationError(
            "seal: expected one that was made with this key, got one of another key, or one that "
            "was changed since; give the owner's seal and key"
        )


def save_seal(sealed: Seal, path: str | Path) -> None:
    """Write a seal, all of it or nothing; it holds nothing secret.

    Raises:
        ConfigurationError: it cannot be written, or is larger than what is read.
    """
    content = f"{sealed.model_dump_json(indent=1)}\n".encode()
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(
            f"seal: expected at most {LARGEST_FILE >> 20} MiB, got {len(content) >> 20}; give "
            "larger blocks"
        )
    try:
        with replacing(Path(path)) as file:
            file.write(content)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: expected a path where a seal can be written, got: {error.strerror}; choose "
            "another path"
        ) from error


def load_seal(path: str | Path) -> Seal:
    """The seal of a file, which is not trusted: see `check_code`.

    Raises:
        ConfigurationError: it is absent, too large, or no whole seal.
    """
    content = _content(Path(path))
    if not content.lstrip().startswith(b"{"):
        # A key file that was taken for a seal, say: nothing that it holds is told.
        raise _none(path, "no JSON object")
    keys = 0
    # Before the text is parsed: a million unknown fields would be a million objects.
    for found in _KEYS.finditer(content):
        keys += 1
        if found[1] not in _FIELDS:
            raise _none(path, f"{found[1][:100].decode(errors='replace')}: an unknown field")
    try:
        sealed = Seal.model_validate_json(content)
    except ValidationError as error:
        # From None: what the file holds does not belong into a log.
        raise _none(path, _first(error)) from None
    pieces = (sealed, *sealed.parts, *sealed.tensors)
    if keys != (wanted := sum(len(piece.model_fields_set) for piece in pieces)):
        raise _none(path, f"{wanted} fields that belong there, and {keys} in all")
    return sealed


def _none(path: str | Path, why: str) -> ConfigurationError:
    said = one_line(why)[:200]
    return ConfigurationError(
        f"{path}: expected a whole seal, got one that is none ({said}); {_ADVICE}"
    )


def _first(error: ValidationError) -> str:
    """The first mistake."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}".removeprefix(": ")


def root_of(parts: Iterable[SealedPart], tensors: Iterable[SealedTensor]) -> str:
    """SHA-256 (hex): the root of the Merkle tree over parts and tensors, each with its name."""
    told = [("part", p.name, p.operator, p.sha256) for p in parts]
    told += [("tensor", t.name, t.place, t.sha256) for t in tensors]
    return merkle.root([merkle.leaf(json.dumps(x).encode()) for x in told]).hex()


def _sealed(held: Held, block: int) -> SealedTensor:
    leaves = [merkle.leaf(content) for content in held.blocks(block)]
    text = json.dumps([held.dtype, list(held.shape), block, merkle.root(leaves).hex()])
    return SealedTensor(
        name=held.name,
        place=held.place,
        dtype=held.dtype,
        shape=held.shape,
        sha256=merkle.leaf(text.encode()).hex(),
        blocks="".join(leaf[:SHORT].hex() for leaf in leaves),
    )


def _default(network: OnnxNetwork) -> int:
    """The least power of two from 1024 on by which there are not too many blocks."""
    size = DEFAULT_BLOCK
    while network.parameters > size * _MOST_BLOCKS:
        size *= 2
    return size


def _content(path: Path) -> bytes:
    try:
        content, _ = reading.content(path, LARGEST_FILE)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: expected a seal, got: {error.strerror}; {_ADVICE}"
        ) from error
    if (values := _values(content)) > _MOST_VALUES:
        raise ConfigurationError(
            f"{path}: expected a seal of at most {_MOST_VALUES} values, got {values}; {_ADVICE}"
        )
    return content


def _values(content: bytes) -> int:
    """At least as many values as a text of JSON has."""
    return 1 + sum(map(content.count, (b",", b"[", b"{")))
