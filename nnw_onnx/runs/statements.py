"""Statements: which files a network is, and what it consists of, in the form that signers take.

An in-toto Statement (v1) names subjects by digest and says something of them: here every file of
the network, with its external data, and as predicate the root of its seal and the commitment of a
mark in it. It holds nothing secret, and nothing but a signature over it binds it to anybody; that
is for a tool that does nothing else.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import reading
from nnw_onnx.kit.writing import replacing
from nnw_onnx.runs.seals import LARGEST_BLOCK, LEAST_BLOCK, Hex, Name, read_network, seal
from nnw_onnx.runs.sources import digest_of
from nnw_onnx.text import harmless, one_line
from nnw_onnx.version import __version__
from nnw_onnx.vocabulary import Key

STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE: Literal["urn:nnw-onnx:network:1"] = "urn:nnw-onnx:network:1"
"""Type of the predicate; what its fields mean is said in `Predicate`."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
LARGEST_FILE = 1 << 24
"""Bytes of a statement that are read."""
MOST_FILES = 10_000
"""Files of a network that a statement names at most."""
_ADVICE = "give the file that 'nnw integrity statement' wrote, or the envelope of its signature"


class _Model(BaseModel):
    # What others have added is left alone, as in-toto asks of whoever reads a statement.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="ignore", frozen=True, strict=True, populate_by_name=True
    )


class Digest(_Model):
    """Digests of a file; others than this one are not looked at."""

    sha256: Hex


class Subject(_Model):
    """A file of the network.

    Attributes:
        name: as seen from the folder of the network; a hint, since files are known by digest.
        digest: of all its bytes.
    """

    name: Name
    digest: Digest


class Root(_Model):
    """What the network consists of, however its files are written; see `runs.seals`.

    Attributes:
        root: of the seal, SHA-256 (hex).
        block: weights of a block, which the root depends on.
        everything: whether names of nodes, texts and metadata count too.
    """

    root: Hex
    block: Annotated[int, Field(ge=LEAST_BLOCK, le=LARGEST_BLOCK)]
    everything: bool


class Tool(_Model):
    """What made the statement."""

    name: Name
    version: Name


class Predicate(_Model):
    """What is said of the files.

    Attributes:
        tool: that says it.
        seal: what they are as a network.
        commitment: hash that binds key, payload and unmarked network of a mark that is in it, to
            be opened with `nnw verify-commitment`; None where nothing is said of a mark.
    """

    tool: Tool
    seal: Root
    commitment: Hex | None = None


class Statement(_Model):
    """An in-toto Statement (v1) over a network; see the module."""

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=MOST_FILES)]
    predicate_type: Annotated[Literal["urn:nnw-onnx:network:1"], Field(alias="predicateType")] = (
        PREDICATE
    )
    predicate: Predicate

    def to_json(self) -> str:
        """The statement as it is written and signed: sorted keys, the same bytes every time."""
        told = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(told, sort_keys=True, indent=1, ensure_ascii=True) + "\n"

    def save(self, path: str | Path) -> None:
        """Write it to a file, all of it or nothing.

        Raises:
            ConfigurationError: it cannot be written.
        """
        try:
            with replacing(Path(path)) as file:
                file.write(self.to_json().encode())
        except OSError as error:
            raise ConfigurationError(
                f"{path}: expected a path where a statement can be written, got: "
                f"{error.strerror}; choose another path"
            ) from error


@dataclass(frozen=True)
class Stated:
    """What became of holding a network against a statement; as `bool` whether it is what it says.

    Attributes:
        reasons: why it is not, a line each.
        files: files of the network.
        enveloped: whether the statement came in an envelope, whose signature was not looked at.
    """

    reasons: tuple[str, ...]
    files: int
    enveloped: bool = False

    def __bool__(self) -> bool:
        return not self.reasons


def state(network: OnnxNetwork, key: Key | None = None, *, everything: bool = False) -> Statement:
    """The statement of a network as it is in its files.

    Args:
        network: in files; one in memory has none.
        key: of a mark in it, of which the commitment is told and nothing else.
        everything: see `seals.seal`.

    Raises:
        ConfigurationError: it is in memory or in too many files, has other weights than its file,
            or the key has no commitment.
    """
    _expect_files(network)
    subjects = tuple(
        Subject(name=name, digest=Digest(sha256=digest)) for name, digest in _files(network)
    )
    sealed = seal(network, everything=everything)
    root = Root(root=sealed.root, block=sealed.block, everything=everything)
    commitment = None if key is None else _commitment(key)
    tool = Tool(name="nnw-onnx", version=__version__)
    return Statement(
        subject=subjects, predicate=Predicate(tool=tool, seal=root, commitment=commitment)
    )


def verify_statement(network: OnnxNetwork, given: Statement, key: Key | None = None) -> Stated:
    """Whether a network is what a statement says.

    Args:
        network: in files.
        given: the statement, which is not trusted: only a signature says who made it.
        key: of a mark in the network, whose commitment it must name.

    Raises:
        ConfigurationError: the network is in memory, or the key has no commitment.
    """
    _expect_files(network)
    files = list(_files(network))
    reasons = [*_other_files(files, given.subject), *_other_network(network, given.predicate.seal)]
    told = given.predicate.commitment
    if key is not None and told != _commitment(key):
        said = "another one" if told else "none"
        reasons.append(f"commitment: expected that of the key, got {said}")
    return Stated(tuple(reasons), len(files))


def load_statement(path: str | Path) -> tuple[Statement, bool]:
    """The statement of a file, and whether it came in an envelope (DSSE).

    The signature of an envelope is not looked at.

    Raises:
        ConfigurationError: the file is absent, too large, or no statement.
    """
    content = _content(Path(path))
    payload = _enveloped(content)
    try:
        return Statement.model_validate_json(content if payload is None else payload), bool(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = one_line(f"{where}: {first['msg']}".removeprefix(": "))[:200]
        raise ConfigurationError(
            f"{path}: expected a statement of a network, got one that is none ({said}); {_ADVICE}"
        ) from None


def _expect_files(network: OnnxNetwork) -> None:
    if not network.sources or network.digest != network.sha256:
        got = "one in memory" if not network.sources else "one whose weights were changed since"
        raise ConfigurationError(
            f"statement: expected a network as it is in its files, got {got}; save it and open it"
        )


def _files(network: OnnxNetwork) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file of a network, the model first."""
    if len(network.sources) > MOST_FILES:
        raise ConfigurationError(
            f"statement: expected a network of at most {MOST_FILES} files, got "
            f"{len(network.sources)}; join its external data"
        )
    folder = network.path.resolve().parent
    for path in network.sources:
        whole = path.parent.resolve() / path.name
        inside = whole.is_relative_to(folder)
        yield (whole.relative_to(folder).as_posix() if inside else path.name), digest_of(path)


def _other_files(files: Sequence[tuple[str, str]], subjects: Sequence[Subject]) -> Iterator[str]:
    """A line for each file that is not stated, and for each that is stated and not there."""
    stated = {subject.digest.sha256 for subject in subjects}
    there = {digest for _, digest in files}
    for name, digest in files:
        if digest not in stated:
            yield f"{name}: expected a stated file, got one that is not (SHA-256 {digest})"
    for subject in subjects:
        if subject.digest.sha256 not in there:
            yield f"{harmless(subject.name)}: expected this file in the network, got none like it"


def _other_network(network: OnnxNetwork, stated: Root) -> Iterator[str]:
    root = read_network(network, stated.block, everything=stated.everything).root
    if root != stated.root:
        yield f"seal: expected the root {stated.root}, got {root}"


def _commitment(key: Key) -> str:
    if len(key.commitment) != 64:
        raise ConfigurationError(
            "key: expected one with a commitment, got one that was made elsewhere; leave --key out"
        )
    return key.commitment.lower()


def _enveloped(content: bytes) -> bytes | None:
    """The payload of an envelope; None where it is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None  # the model says what is wrong with it
    if not isinstance(found, dict) or found.get("payloadType") != PAYLOAD_TYPE:
        return None
    try:
        return base64.b64decode(str(found.get("payload", "")), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _content(path: Path) -> bytes:
    try:
        return reading.content(path, LARGEST_FILE)[0]
    except OSError as error:
        raise ConfigurationError(
            f"{path}: expected a statement, got: {error.strerror}; {_ADVICE}"
        ) from error
