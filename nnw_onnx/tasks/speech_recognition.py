"""Task `speech-recognition`: what is said."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.meters import answers_to, chosen_output
from nnw_onnx.kit.sources import FileSource
from nnw_onnx.math.edits import edit_distance
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Measure, Meter, Quality, Samples, Targets, Task, Values

ENGLISH = "abcdefghijklmnopqrstuvwxyz'"

_KEPT = "'"
_PIECE = "\u2581"  # stands for a space in front of a piece, as sentencepiece writes it
_SILENT = ("<pad>", "<blk>", "<blank>", "[PAD]", "<s>", "</s>", "<unk>", "[UNK]")


@dataclass(frozen=True)
class SpeechRecognition(Task):
    """Word, character and sentence error rates of what a network hears.

    The network answers scores of labels for each time (connectionist temporal classification,
    Graves et al. 2006): the best label of each time, repetitions taken once, blanks left out. An
    output of integers holds labels itself. The rates are insertions, deletions and substitutions of
    all sounds over the words or characters that were said, so they may be above 1. Texts are
    compared in small letters, without punctuation but apostrophes, unless `plain` is off. Guessing
    is to say nothing, which makes every word an error.
    """

    name: ClassVar[str] = "speech-recognition"
    summary: ClassVar[str] = "word, character and sentence error rates, read by greedy CTC"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("word error rate", "%", better="lower", low=0, chance=1.0),
        Measure("character error rate", "%", better="lower", low=0),
        Measure("sentence error rate", "%", better="lower", low=0, high=1),
    )

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the labels")
    lengths: Annotated[int, Ge(0)] | None = option(
        None, help="index of the output that says how many times of each sound count"
    )
    labels: tuple[str, ...] = option(
        (), help="what each label stands for, blank included; without them, blank, space, a to z, '"
    )
    vocabulary: Path | None = option(
        None, help="file of the labels instead: a line each, or vocab.json as label = number"
    )
    blank: Annotated[int, Ge(0)] = option(0, help="number of the label that stands for nothing")
    space: str = option("|", help="label that stands for a space")
    decoding: Literal["ctc", "labels"] = option(
        "ctc", help="labels: every label counts, as where the network has decoded already"
    )
    plain: bool = option(True, help="compare small letters without punctuation")

    def reads(self) -> tuple[int, ...]:
        """The labels, and the lengths where there are some."""
        return (self.output,) if self.lengths is None else (self.output, self.lengths)

    def meter(self, samples: Samples) -> Meter:
        """A new meter; raises `ConfigurationError` where the labels cannot be read."""
        labels = tuple(_spoken(label, self.space) for label in self._labels())
        if self.blank >= len(labels):
            raise ConfigurationError(
                f"{self.name}: expected a blank below {len(labels)}, the number of labels, got "
                f"{self.blank}; correct the option blank, or add its label"
            )
        return _SpeechMeter(self, labels)

    def _labels(self) -> tuple[str, ...]:
        if self.vocabulary is not None:
            return _labels_of(self.vocabulary)
        return self.labels or ("", " ", *ENGLISH)


@dataclass
class _SpeechMeter:
    """Gathers errors and lengths of each sound, in words and in characters."""

    task: SpeechRecognition
    labels: tuple[str, ...]
    words: list[tuple[int, int]] = field(default_factory=list)
    characters: list[tuple[int, int]] = field(default_factory=list)

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take answers to sounds whose targets are the code points of what is said."""
        name = self.task.name
        answers = answers_to(name, outputs, self.task.output, targets)
        lengths = self._lengths(outputs, len(targets))
        for answer, target, length in zip(answers, targets, lengths, strict=True):
            said = self._compared(_text(name, target))
            heard = self._compared(self._heard(answer, length))
            self.words.append((edit_distance(heard.split(), said.split()), len(said.split())))
            self.characters.append((edit_distance(heard, said), len(said)))

    def result(self) -> Quality:
        """Word error rate first, with errors and words of each sound."""
        words, characters = (
            np.array(found, np.float64).reshape(-1, 2) for found in (self.words, self.characters)
        )
        if not words[:, 1].sum():
            raise InferenceError(
                f"{self.task.name}: expected at least one word that is said, got none; add data"
            )
        rates = (
            words[:, 0].sum() / words[:, 1].sum(),
            characters[:, 0].sum() / characters[:, 1].sum(),
            np.mean(words[:, 0] > 0),
        )
        values = {m.name: float(r) for m, r in zip(self.task.measures, rates, strict=True)}
        return Quality(values, words[:, 0], words[:, 1], chance=1.0)

    def _compared(self, text: str) -> str:
        if self.task.plain:
            text = "".join(c if _counts(c) else " " for c in text.lower())
        return " ".join(text.split())

    def _heard(self, answer: Array, length: int | None) -> str:
        best = self._best(answer)[:length]
        if self.task.decoding == "ctc":
            changes = np.concatenate([[True], best[1:] != best[:-1]])
            best = best[changes[: len(best)]]
        return "".join(self.labels[i] for i in best if 0 <= i < len(self.labels))

    def _best(self, answer: Array) -> NDArray[np.int64]:
        """The label of each time; -1 for a blank, and where a score is no number."""
        if answer.dtype.kind in "iu":
            best = answer.reshape(-1).astype(np.int64)
        else:
            scores = self._times_first(answer)
            best = np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(axis=1))
        return np.where(best == self.task.blank, -1, best)

    def _times_first(self, answer: Array) -> Array:
        """Scores (times, labels) of one answer, whose axes may be the other way round."""
        flat = answer.reshape([size for size in answer.shape if size != 1])
        if flat.ndim == 2 and answer.dtype.kind == "f":
            for scores in (flat, flat.T):
                if scores.shape[1] == len(self.labels):
                    return scores
        raise ConfigurationError(
            f"{self.task.name}: expected scores (n, times, {len(self.labels)}) of the labels, or "
            f"labels (n, times) as integers, got {answer.dtype} {answer.shape} for a sound; set "
            "the options output, and labels or vocabulary"
        )

    def _lengths(self, outputs: Values, count: int) -> list[int | None]:
        if self.task.lengths is None:
            return [None] * count
        found = chosen_output(self.task.name, outputs, self.task.lengths)
        if found.size != count or found.dtype.kind not in "iu":
            raise ConfigurationError(
                f"{self.task.name}: expected lengths ({count},) as integers, got {found.dtype} "
                f"{found.shape}; correct the option lengths"
            )
        return [max(0, int(length)) for length in found.reshape(-1)]


def _text(task: str, target: Any) -> str:
    points = np.asarray(target)
    if points.ndim != 1 or points.dtype.kind not in "iu":
        raise ConfigurationError(
            f"{task}: expected data whose targets are texts, got {points.dtype} {points.shape}; "
            "choose the data set speech-folder"
        )
    return "".join(chr(point) for point in points)


def _counts(char: str) -> bool:
    """Whether a character is compared: a letter, digit or mark, or an apostrophe."""
    return char == _KEPT or unicodedata.category(char)[0] in "LNM"


def _spoken(label: str, space: str) -> str:
    """What a label adds to a text."""
    if label in _SILENT:
        return ""
    return " " if label == space else label.replace(_PIECE, " ")


def _labels_of(path: Path) -> tuple[str, ...]:
    """The labels of a file, in the order of their numbers."""
    source = FileSource(path)
    content = dict(source.read(source.names))[source.title]
    try:
        text = content.decode("utf-8-sig")
        found = json.loads(text) if path.suffix == ".json" else None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{source.title}: expected labels in UTF-8, as lines or as JSON, got: "
            f"{' '.join(str(error).split())[:200]}; give the vocabulary of the network"
        ) from error
    if found is None:
        # The label of a space may be a line of one space; only line feeds end a label.
        return tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    if not isinstance(found, dict) or sorted(found.values(), key=str) != sorted(
        range(len(found)), key=str
    ):
        raise ConfigurationError(
            f"{source.title}: expected each label with its number from 0 on, got others; give the "
            "file vocab.json of the network"
        )
    return tuple(sorted(found, key=lambda label: int(found[label])))
