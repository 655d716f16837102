"""Data set `running-text`: texts whose next tokens are told, for language models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Len
from numpy.typing import NDArray

from nnw_onnx.datasets._folders import in_split
from nnw_onnx.datasets._samples import LINKS_HELP
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.datasets._texts import STEMS, TABLES, columns_of, decoded
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.sources import FileSource, Source, is_archive, open_source
from nnw_onnx.kit.windows import TokenWindows
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

Ids = NDArray[Any]
MAX_ID = 1 << 30


@dataclass(frozen=True)
class RunningText(Dataset):
    """Files of text, or rows of a table, cut into windows of tokens that are their own targets.

    The path is one file, or a folder or archive that holds `train.<any>` and `test.<any>` (or
    `dev`, `val`, `validation`), or files in folders `train` and `test`. Each file is a document,
    and each row of a .tsv or .csv file; documents do not flow into one another. Tokens are bytes,
    pieces by the file `tokenizer.json` of a network, or ids that somebody has written already,
    16 or 32 bits each, the lowest byte first.
    """

    name: ClassVar[str] = "running-text"
    summary: ClassVar[str] = (
        "texts of files or a table, or token ids, as windows for language models"
    )

    path: Path = option(help="file, folder, .tar, .tar.gz, .tgz or .zip file")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of a single file, or of files that no folder or name gives one"
    )
    text: str = option(
        "0", help="of a table: column of texts, its number, or its name where there is a header"
    )
    tokens: Literal["bytes", "tokenizer", "uint16", "uint32"] = option(
        "bytes", help="what a token is; uint16 and uint32: files are ids already"
    )
    tokenizer: Path | None = option(
        None, help="for tokenizer: the file tokenizer.json of the network"
    )
    byte_offset: Annotated[int, Ge(0), Le(MAX_ID)] = option(0, help="for bytes: id of byte 0")
    begin: Annotated[int, Ge(0), Le(MAX_ID)] | None = option(
        None, help="id that stands before each document, as <|endoftext|> does for GPT-2"
    )
    pad: Annotated[int, Ge(0), Le(MAX_ID)] = option(0, help="id that fills up a shorter window")
    length: Annotated[int, Ge(2), Le(1 << 20)] = option(128, help="tokens of a window")
    overlap: Annotated[int, Ge(1), Le(1 << 20)] = option(
        1, help="tokens that a window sees of the one before, and that are counted there"
    )
    inputs: Annotated[tuple[str, ...], Len(1, 3)] = option(
        ("input_ids", "attention_mask", "position_ids"),
        help="names of the inputs for ids, mask and places",
    )
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(
        None, help="use only this many windows, evenly spaced over the split"
    )

    def load(self, split: str) -> Samples:
        """Windows of "train" or "test", in the order of the files.

        Raises:
            DatasetError: files are missing or broken, no text has two tokens, or another split.
            ConfigurationError: an overlap that is not below the length.
        """
        check_split(self.name, split)
        source = self._source()
        tokens_of = self._tokens_of()
        names = self._names(source, split)
        documents = [
            self._begun(tokens_of(f"{source.title}: {name}", text))
            for name, content in sorted(source.read(names))
            for text in self._texts(f"{source.title}: {name}", content)
        ]
        made = TokenWindows(
            documents,
            length=self.length,
            overlap=self.overlap,
            pad=self.pad,
            names=self.inputs,
            limit=self.limit,
        )
        if not len(made):
            raise DatasetError(
                f"{source.title}: expected a text of at least two tokens, got none in {len(names)} "
                "files; correct the options path and text"
            )
        return made

    def _source(self) -> Source:
        if self.path.is_file() and not is_archive(self.path):
            return FileSource(self.path)
        return open_source(self.path, follow_links=self.follow_links)

    def _names(self, source: Source, split: str) -> list[str]:
        """The files of a split: by name nearest to the top, else by folder."""
        if isinstance(source, FileSource) and self.only_split in (None, split):
            return source.names
        for stem in STEMS[split] if self.only_split is None else ():
            found = [n for n in source.names if n.rpartition("/")[2].partition(".")[0] == stem]
            if found:
                return [min(found, key=lambda n: (n.count("/"), n))]
        return in_split(str(source.place), source.names, split, self.only_split)

    def _texts(self, title: str, content: bytes) -> Iterator[bytes]:
        if title.endswith(TABLES):
            rows = columns_of(title, content, {"text": self.text})
            yield from (text.encode() for (text,) in rows)
        else:
            yield content

    def _begun(self, tokens: Ids) -> Ids:
        if self.begin is None:
            return tokens
        return np.concatenate([[self.begin], tokens]).astype(np.int64)

    def _tokens_of(self) -> Callable[[str, bytes], Ids]:
        """What makes token ids of a text; its first argument is a title for messages."""
        if self.tokens == "tokenizer":
            return self._pieces()
        if self.tokens == "bytes":
            # Bytes stay bytes where they can: a text may be large.
            shift = self.byte_offset
            return lambda _, text: _bytes(text).astype(np.int64) + shift if shift else _bytes(text)
        return lambda title, text: _numbers(
            title, text, "<u2" if self.tokens == "uint16" else "<u4"
        )

    def _pieces(self) -> Callable[[str, bytes], Ids]:
        if self.tokenizer is None:
            raise DatasetError(
                f"{self.name}: expected a file for the tokens 'tokenizer', got none; set the "
                "option tokenizer to the file tokenizer.json of the network"
            )
        made = _tokenizer(self.tokenizer)

        def pieces(title: str, text: bytes) -> Ids:
            found = made.encode(decoded(title, text), add_special_tokens=False)
            return np.array(found.ids, np.int32)

        return pieces


def _bytes(text: bytes) -> Ids:
    return np.frombuffer(text, np.uint8)


def _numbers(title: str, content: bytes, dtype: str) -> Ids:
    size = np.dtype(dtype).itemsize
    if len(content) % size:
        raise DatasetError(
            f"{title}: expected ids of {size} bytes each, got {len(content)} bytes; correct the "
            "option tokens"
        )
    return np.frombuffer(content, dtype)


def _tokenizer(path: Path) -> Any:
    """The tokenizer of a file; raises `DatasetError` where it is none."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise DatasetError(
            "tokens: expected the package tokenizers for 'tokenizer', got none; pip install "
            "'nnw-onnx[tokenizers]', or write the ids to files of uint16 or uint32"
        ) from error
    source = FileSource(path)
    content = dict(source.read(source.names))[source.title]
    text = decoded(source.title, content)
    try:
        made = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise DatasetError(
            f"{source.title}: expected a tokenizer as the package tokenizers saves it, got: "
            f"{' '.join(str(error).split())[:200]}; give the file tokenizer.json of the network"
        ) from error
    # What a file asks to be cut or filled up is for batches; windows do that here.
    made.no_truncation()
    made.no_padding()
    return made
