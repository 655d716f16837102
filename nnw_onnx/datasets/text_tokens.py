"""Data set `text-tokens`: texts with a class each, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Len

from nnw_onnx.datasets._folders import SPLIT_FOLDERS
from nnw_onnx.datasets._samples import LIMIT_HELP, LINKS_HELP, check_classes
from nnw_onnx.datasets._splits import SPLITS, check_split
from nnw_onnx.datasets._texts import TABLES, columns_of, decoded, table_of
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.samples import evenly
from nnw_onnx.kit.sources import FileSource, Source, open_source
from nnw_onnx.kit.tokens import MAX_VOCABULARY, ByteTokens, TextSamples, Tokenizer, WordPiece
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

Row = tuple[bytes, str]
"""A text and its label."""


@dataclass(frozen=True)
class TextTokens(Dataset):
    """A table of texts and labels, or folders of text files, as ids of bytes or of WordPiece.

    The path is a table, or a folder or archive that holds `train.tsv` and `test.tsv` (or `dev`,
    `val`, `validation`; or .csv), or `train/<class>/<file>` and `test/<class>/<file>`. A .tsv
    file has no quotes. Networks are fed ids, a mask of the tokens that are of the text, and types
    of 0, (n, length) each: those that they have inputs for, by name or by place.
    """

    name: ClassVar[str] = "text-tokens"
    summary: ClassVar[str] = "texts and labels of a .tsv, .csv or folders, as bytes or WordPiece"

    path: Path = option(help="table, folder, .tar, .tar.gz, .tgz or .zip file")
    text: str = option("0", help="column of texts: its number, or its name where there is a header")
    label: str = option("1", help="column of labels, likewise")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of a single table; without it, it serves for each"
    )
    classes: tuple[str, ...] = option((), help="labels in the order of the network; else sorted")
    tokenizer: Literal["bytes", "wordpiece"] = option("bytes", help="what a token is")
    vocabulary: Path | None = option(None, help="for wordpiece: the file vocab.txt of the network")
    lowercase: bool = option(True, help="for wordpiece: small letters without accents (uncased)")
    byte_offset: Annotated[int, Ge(0), Le(1 << 30)] = option(0, help="for bytes: id of byte 0")
    pad: Annotated[int, Ge(0), Le(1 << 30)] = option(
        0, help="for bytes: id that fills up a shorter text"
    )
    keep: Literal["head", "ends"] = option(
        "head",
        help="for bytes: the beginning; or ends: a half each from the beginning and the end",
    )
    length: Annotated[int, Ge(1), Le(1 << 20)] = option(
        128, help="tokens of a text, where the network takes any number"
    )
    inputs: Annotated[tuple[str, ...], Len(1, 3)] = option(
        ("input_ids", "attention_mask", "token_type_ids"),
        help="names of the inputs for ids, mask and types",
    )
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", in the order of the table, or of class and file name.

        Raises:
            DatasetError: a file is missing or broken, a row is too short, a label is no class, or
                another split.
        """
        check_split(self.name, split)
        source = self._source()
        every = {s: self._rows(source, s) for s in SPLITS}
        rows = every[split]
        if not rows:
            raise DatasetError(
                f"{source.place}: expected texts of the split {split!r} ({split}.tsv, {split}.csv "
                f"or {split}/<class>/<file>), got none; correct the options path and only_split"
            )
        classes = self._classes(source.title, [label for r in every.values() for _, label in r])
        index = {name: i for i, name in enumerate(classes)}
        rows = [rows[i] for i in evenly(len(rows), self.limit)]
        unknown = [label for _, label in rows if label not in index]
        if unknown:
            raise DatasetError(
                f"{source.title}: expected labels among {', '.join(classes)[:200]}, got "
                f"{unknown[0][:80]!r}; correct the options classes and label"
            )
        labels = np.array([index[label] for _, label in rows], np.int64)
        return TextSamples(
            [text for text, _ in rows],
            labels,
            self._tokenizer(),
            {"classes": classes},
            length=self.length,
            names=self.inputs,
        )

    def _source(self) -> Source:
        if self._is_table():
            return FileSource(self.path)
        return open_source(self.path, follow_links=self.follow_links)

    def _is_table(self) -> bool:
        return self.path.name.endswith(TABLES) and self.path.is_file()

    def _rows(self, source: Source, split: str) -> list[Row]:
        table = table_of(source.names, split)
        if self._is_table():
            table = self.path.name if self.only_split in (None, split) else ""
        if table:
            content = dict(source.read([table]))[table]
            rows = columns_of(
                f"{source.title}: {table}", content, {"text": self.text, "label": self.label}
            )
            return [(text.encode(), label.strip()) for text, label in rows]
        return _files(source, split)

    def _classes(self, title: str, labels: Sequence[str]) -> list[str]:
        if self.classes:
            return list(self.classes)
        found = sorted(set(labels))
        check_classes(title, len(found))
        return sorted(found, key=int) if all(c.isdecimal() for c in found) else found

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer == "bytes":
            return ByteTokens(self.byte_offset, self.pad, self.keep)
        if self.vocabulary is None:
            raise DatasetError(
                f"{self.name}: expected a vocabulary for the tokenizer 'wordpiece', got none; set "
                "the option vocabulary to the file vocab.txt of the network"
            )
        source = FileSource(self.vocabulary)
        title = source.title
        # Only line feeds end a token: vocabularies hold other signs that Unicode ends lines at.
        text = decoded(title, dict(source.read(source.names))[title])
        lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
        if len(lines) > MAX_VOCABULARY:
            raise DatasetError(
                f"{title}: expected at most {MAX_VOCABULARY} tokens, got {len(lines)}; give the "
                "file vocab.txt of the network"
            )
        return WordPiece(lines, lowercase=self.lowercase, title=title)


def _files(source: Source, split: str) -> list[Row]:
    """Texts of class folders, by class and name."""
    for folder in SPLIT_FOLDERS[split]:
        parts = {n: n.split("/") for n in source.names}
        found = [n for n, p in parts.items() if len(p) > 2 and p[-3] == folder]
        if found:
            contents = dict(source.read(found))
            found.sort(key=lambda n: (n.split("/")[-2], n))
            return [(contents[n], n.split("/")[-2]) for n in found]
    return []
