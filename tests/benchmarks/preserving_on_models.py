"""What the function-preserving Modifications do to each model in a folder, as a table.

    python tests/benchmarks/preserving_on_models.py FOLDER

For each Modification: the largest change of an answer over the largest answer on inputs of the
right shapes, without optimisation by the runtime, "!" where a prediction changed, and "-" where the
graph proves nothing. "rounding" is what inputs that differ in their last bits change. Counts come
last.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from nnw_onnx import plugins
from nnw_onnx.errors import InferenceError, ModelFileError, NotApplicableError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session, SessionSettings
from nnw_onnx.runs.modify import difference
from nnw_onnx.testing.array_bench import ArrayBench
from nnw_onnx.vocabulary import Array, Modification, Spec

STEPS: Mapping[str, Spec] = {
    "permutation": Spec("permutation"),
    "scaling": Spec("scaling"),
    "sign-flips": Spec("sign-flips"),
    "mixed-bases": Spec("mixed-bases"),
    "zero": Spec("dummy-neurons", {"kind": "zero"}),
    "clique": Spec("dummy-neurons", {"kind": "clique"}),
    "split": Spec("dummy-neurons", {"kind": "split"}),
}
HEADER = """\
What attacks that leave every answer change of the answers: the largest change over the largest
answer, "!" where a prediction changed, "-" where the graph proves no such attack. rounding: what
inputs that differ in their last bits change. Made by

    python tests/benchmarks/preserving_on_models.py FOLDER_OF_SHARED_DATA/models"""
COLUMNS = ("model", "axes", "resizable", "rounding", *STEPS)
FREE = {"oww_melspectrogram.onnx": 1280, "silero_vad_16k_op15.onnx": 576}
"""Models of which an input of one sample says nothing."""
TEXT = ("ch_PP-OCRv2_det_infer.onnx", "ch_ppocr_mobile_v2.0_det_prune_infer.onnx")
"""Models that find text, and answer anything else with numbers that rounding decides."""
LARGEST = 100
"""Megabytes of a model that is still tried."""
_LAST_BITS = 1 + 2.0**-22
_PLAIN = SessionSettings(optimization="disable")


def feeds(network: OnnxNetwork, name: str = "") -> dict[str, Array]:
    """Inputs of the right shapes: numbers in [0, 1), and indices 0 and 1."""
    rng = np.random.Generator(np.random.PCG64(0))
    found: dict[str, Array] = {}
    for info in network.inputs:
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in info.shape]
        if shape and shape[-1] == 1 and name in FREE and len(shape) > 1:
            shape[-1] = FREE[name]
        dtype = np.dtype(info.dtype)
        values = rng.random(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        found[info.name] = values.astype(dtype)
    return found


def written(network: OnnxNetwork) -> dict[str, Array]:
    """A picture with a word on it, normalised as usual."""
    (port,) = network.inputs
    page = Image.new("L", (160, 64), 255)
    ImageDraw.Draw(page).text((10, 10), "Hello 42", fill=0, font_size=36)
    values = (np.asarray(page, np.float32) / 255 - 0.485) / 0.229
    return {port.name: np.repeat(values[None, None], 3, axis=1)}


def rounding(network: OnnxNetwork, given: Mapping[str, Array]) -> float:
    """What inputs that differ in their last bits change of the answers, as of an attack."""
    other = {
        name: (values * _LAST_BITS).astype(values.dtype) if values.dtype.kind == "f" else values
        for name, values in given.items()
    }
    return difference(answers(network, given), answers(network, other))


def answers(network: OnnxNetwork, given: Mapping[str, Array]) -> list[Array]:
    """What it answers, floating-point outputs only."""
    found = Session(network.runnable(), _PLAIN).run(given)
    return [np.asarray(value) for value in found if np.asarray(value).dtype.kind == "f"]


def predictions(outputs: Sequence[Array]) -> list[Array]:
    """The largest along the last axis of each output."""
    return [np.argmax(value, axis=-1) for value in outputs if value.ndim and value.size]


@dataclass(frozen=True)
class Cell:
    """What one Modification changed of the answers, or why nothing is known of that.

    Attributes:
        change: largest change over the largest answer; None where nothing was changed.
        same: whether all predictions stayed.
        reason: why nothing was changed.
    """

    change: float | None = None
    same: bool = True
    reason: str = "-"

    def __str__(self) -> str:
        if self.change is None:
            return self.reason
        return f"{self.change:.1e}{'' if self.same else '!'}"


@dataclass(frozen=True)
class Row:
    """What became of one model; no cells where it does not run."""

    model: str
    axes: int = 0
    resizable: int = 0
    rounding: float | None = None
    cells: tuple[Cell, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.model.ljust(58)} {self.reason}"
        floor = "-" if self.rounding is None else f"{self.rounding:.1e}"
        return _line(self.model, str(self.axes), str(self.resizable), floor, *map(str, self.cells))


def _line(model: str, *cells: str) -> str:
    return f"{model.ljust(58)} {'  '.join(value.ljust(11) for value in cells)}".rstrip()


_CELL = r"(?:-|\d\.\de[+-]\d\d!?)"
_KNOWN = re.compile(rf"(\S+) +(\d+) +(\d+) +({_CELL})((?: +{_CELL}){{{len(STEPS)}}})")


def known(text: str) -> dict[str, Row]:
    """Rows that an earlier run printed, by model; those with words are tried again."""
    found = (_KNOWN.fullmatch(line) for line in text.splitlines())
    return {match[1]: _of_words(*match.groups()) for match in found if match}


def _of_words(model: str, axes: str, resizable: str, floor: str, cells: str) -> Row:
    made = tuple(Cell(_number(word), "!" not in word) for word in cells.split())
    return Row(model, int(axes), int(resizable), _number(floor), made)


def _number(word: str) -> float | None:
    return None if word == "-" else float(word.rstrip("!"))


def cell(network: OnnxNetwork, step: Spec, given: Mapping[str, Array]) -> Cell:
    """What one Modification changes of the answers."""
    modification = plugins.create(Modification, step)
    rng = np.random.Generator(np.random.PCG64(1))
    try:
        done = modification.modify(network, ArrayBench(), rng).network
    except NotApplicableError:
        return Cell()
    except ModelFileError as error:
        return Cell(reason=str(error)[:60])
    assert isinstance(done, OnnxNetwork)
    before, after = answers(network, given), answers(done, given)
    pairs = zip(predictions(before), predictions(after), strict=True)
    same = all(np.array_equal(a, b) for a, b in pairs)
    return Cell(difference(before, after), same)


def rows(folder: Path, done: Mapping[str, Row]) -> Iterator[Row]:
    """One row for each model; those that are done are taken over."""
    for path in sorted(folder.rglob("*.onnx")):
        name = str(path.relative_to(folder))
        if name in done:
            yield done[name]
            continue
        if path.stat().st_size > LARGEST * 1_000_000:
            yield Row(name, reason=f"more than {LARGEST} MB")
            continue
        try:
            yield _row(name, open_network(path))
        except (ModelFileError, InferenceError, TypeError) as error:
            yield Row(name, reason=" ".join(str(error).split())[:60])


def _row(name: str, network: OnnxNetwork) -> Row:
    axes, base = network.hidden_axes, Path(name).name
    if not axes:
        return Row(name, cells=(Cell(),) * len(STEPS))
    given = written(network) if base in TEXT else feeds(network, base)
    floor = rounding(network, given)
    done = tuple(cell(network, step, given) for step in STEPS.values())
    return Row(name, len(axes), sum(axis.resizable for axis in axes), floor, done)


def counts(found: Sequence[Row]) -> Iterator[str]:
    """How many graphs each Modification changed, and by how much at most."""
    hidden = [row for row in found if row.axes]
    yield (
        f"{len(found)} models: {len(hidden)} with hidden axes, "
        f"{sum(not row.axes and not row.reason for row in found)} of which the graph proves none, "
        f"{sum(bool(row.reason) for row in found)} that do not open or run here"
    )
    floors = [row.rounding for row in hidden if row.rounding is not None]
    yield f"{'rounding':13}largest change {max(floors, default=0):.1e}"
    for place, step in enumerate(STEPS):
        done = [row for row in hidden if row.cells[place].change is not None]
        worst = max(done, key=lambda row: row.cells[place].change or 0, default=None)
        same = sum(row.cells[place].same for row in done)
        largest = "" if worst is None else f", largest change {worst.cells[place]} ({worst.model})"
        yield f"{step:13}{len(done)} models, all predictions the same in {same}{largest}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--known", type=Path, help="what an interrupted run printed")
    options = parser.parse_args()
    done = known(options.known.read_text(encoding="utf-8")) if options.known else {}
    found = []
    print(HEADER, "", _line(*COLUMNS), sep="\n")
    for row in rows(options.folder, done):
        print(row, flush=True)
        found.append(row)
    print("", *counts(found), sep="\n")


if __name__ == "__main__":
    main()
