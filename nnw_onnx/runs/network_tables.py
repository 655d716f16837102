"""`[[networks]]`: networks by their files, and those that are marked already, with their keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Name = Annotated[str, Field(min_length=1, max_length=4096)]


class NetworkTable(BaseModel):
    """A table of `[[networks]]`.

    Several may have the same file: each is then another watermarked version of that network.

    Attributes:
        file: the unwatermarked network: one file, or `nnw:` for a shipped one.
        marked: a watermarked version of it, which is evaluated without injecting.
        key: the key file of its mark.
        reference: a public network that `file` was made from: layers that it gives away carry no
            watermark that is put in without training.
        payload: what it carries, where the key file does not tell: as many digits 0 and 1 as it has
            bits, hexadecimal digits after 0x, or a text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    file: Name
    marked: Name | None = None
    key: Name | None = None
    payload: Name | None = None
    reference: Name | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.marked is None) != (self.key is None):
            there, lost = ("marked", "key") if self.key is None else ("key", "marked")
            raise ValueError(f"expected {lost} beside {there}; add it")
        if self.payload is not None and self.key is None:
            raise ValueError("expected marked and key beside payload; add them")
        if self.reference is not None and self.marked is not None:
            raise ValueError(
                "expected no reference beside marked, where nothing is put in; remove it"
            )
        return self


def _kind(entry: object) -> str:
    return "[name]" if isinstance(entry, str) else "[table]"


# The names of the two kinds have brackets, by which `evaluation` leaves them out of a place.
NetworkEntry: TypeAlias = Annotated[
    Annotated[Name, Tag("[name]")] | Annotated[NetworkTable, Tag("[table]")],
    Discriminator(_kind),
]


def file_names(entries: Sequence[str | NetworkTable]) -> list[str]:
    """The names of the unwatermarked networks: that of several tables once."""
    tables = dict.fromkeys(e.file for e in entries if isinstance(e, NetworkTable))
    found: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            found.append(entry)
        elif tables.pop(entry.file, 0) is None:
            found.append(entry.file)
    return found


def lost_files(entries: Sequence[str | NetworkTable]) -> list[str]:
    """A line for each marked network or key that is not there."""
    tables = [(i, e) for i, e in enumerate(entries) if isinstance(e, NetworkTable)]
    return [
        f"networks.{index}.{name}: expected a file, got none for {path!r}; correct the path"
        for index, table in tables
        for name, path in (("marked", table.marked), ("key", table.key))
        if path is not None and not Path(path).is_file()
    ]
