"""A folder of copies with the list of who got which: nothing in it is secret, the key is elsewhere.

The list is what `trace` needs beside the key, because who is accused depends on how many could be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nnw_onnx.errors import ConfigurationError, RunError, expected
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.runs import folders
from nnw_onnx.runs.recipients import LONGEST, MOST, check_names, copies
from nnw_onnx.runs.store import write_atomically
from nnw_onnx.vocabulary import Key

LIST = "recipients.json"
"""Name of the list in a folder of copies."""
_LARGEST = 64 << 20

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Recipient(BaseModel):
    """Who got a copy, and which.

    Attributes:
        name: as the owner writes it; the codeword follows from it.
        file: name of the copy in the folder.
        sha256: of that file (hex).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    file: Annotated[str, Field(max_length=LONGEST)]
    sha256: _Digest


class Recipients(BaseModel):
    """Everybody who got a copy under one key.

    Attributes:
        commitment: of the key, SHA-256 (hex); to publish with a date before the copies go out.
        margin: median confidence of the bits of an unmodified copy, which scales soft values.
        recipients: in the order in which they were added, no name twice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["nnw-onnx recipients"] = "nnw-onnx recipients"
    version: Literal[1] = 1
    commitment: _Digest
    margin: Annotated[float, Field(ge=0, strict=True)]
    recipients: Annotated[tuple[Recipient, ...], Field(max_length=MOST)]

    @model_validator(mode="after")
    def _names_differ(self) -> Recipients:
        try:
            check_names(self.names)
        except ConfigurationError as error:
            raise ValueError(str(error).partition(": ")[2].partition(";")[0]) from error
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(one.name for one in self.recipients)


def names_of(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line; empty lines are left out.

    Raises:
        ConfigurationError: the file cannot be read, or a name is unfit or there twice.
    """
    try:
        lines = _content(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"{path}: expected a text file with a name on each line, got: {got}; give one"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    check_names(names)
    return names


def load(path: Path) -> Recipients:
    """The list of a file, which is distrusted.

    Raises:
        ConfigurationError: it cannot be read, or is no such list.
    """
    try:
        return Recipients.model_validate_json(_content(path))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: expected the list that 'nnw recipients inject' wrote, got: "
            f"{error.strerror}; name it with --recipients"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "list"
        raise ConfigurationError(
            f"{path}: {where}: {expected(first['msg'])}; give the list that 'nnw recipients "
            "inject' wrote"
        ) from error


def known(folder: Path, key: Key) -> Recipients | None:
    """The list that a folder holds already; None where it holds none.

    Raises:
        ConfigurationError: it is no such list, or one of another key.
    """
    path = folder / LIST
    if not path.exists():
        return None
    found = load(path)
    check_key(found, key)
    return found


def check_key(recipients: Recipients, key: Key) -> None:
    """Raise `ConfigurationError` where a list is not that of a key."""
    if recipients.commitment != key.commitment:
        raise ConfigurationError(
            "recipients: expected the list of this key, got one with another commitment; give the "
            "list and the key that were made together"
        )


def give_out(
    network: OnnxNetwork,
    key: Key,
    names: Sequence[str],
    folder: Path,
    before: Recipients | None,
    tell: Callable[[str], None],
) -> Recipients:
    """Write a copy for each new name, then the list of all.

    Args:
        network: the one that the key was made for.
        key: of all copies.
        names: who gets one now.
        folder: it exists; files of its own names are written over.
        before: who got one before, or None.
        tell: is called with each file that was written.

    Raises:
        ConfigurationError, InjectionError: see `recipients.copies`; a name that got one before.
        ModelFileError: a copy cannot be written.
    """
    old = before.recipients if before else ()
    check_names([*(one.name for one in old), *names])
    found, margin = list(old), before.margin if before else None
    for number, copy in enumerate(copies(network, key, names), start=len(old) + 1):
        path = folder / _file_name(number, copy.name)
        copy.network.save(path)
        sha256 = open_network(path).sha256
        found.append(Recipient(name=copy.name, file=path.name, sha256=sha256))
        margin = copy.margin if margin is None else margin
        tell(path.name)
    made = Recipients(commitment=key.commitment, margin=margin or 0.0, recipients=tuple(found))
    write_atomically(folder / LIST, made.model_dump_json(indent=2).encode() + b"\n")
    return made


def _file_name(number: int, name: str) -> str:
    """A number, and what of the recipient's name is plain letters."""
    plain = re.sub("[^A-Za-z0-9]+", "-", name)[:40].strip("-").lower()
    return f"{number:04d}-{plain}.onnx" if plain else f"{number:04d}.onnx"


def _content(path: Path) -> bytes:
    try:
        return folders.content(path, _LARGEST)
    except RunError as error:
        raise ConfigurationError(
            f"{path}: expected a plain file of at most {_LARGEST >> 20} MiB, got another; copy it"
        ) from error
