"""Modifications as the reference software numbers and letters them, in the words of this package.

`M_ID = 1` with `P = [50, 90]` is the table `name = "l1-pruning"` with `intensities = [50, 90]`. The
numbers are the rows of the standard's list of Modifications (MPAI-NNT V1.1), the letters those of
its Parameters. Of the reference software itself only 0 with S and 4 with E are known; the others
follow from the order of the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NUMBER = "M_ID"
NAMES: Mapping[int, tuple[str, str]] = {
    0: ("gaussian-noise", "S"),
    1: ("l1-pruning", "P"),
    2: ("random-pruning", "R"),
    3: ("quantizing", "B"),
    4: ("fine-tuning", "E"),
    5: ("distillation", "E"),
    6: ("overwriting", "W"),
}
"""Number -> name of the Modification, and letter of its Parameter."""
_FINE_TUNING, _DISTILLATION = 4, 5
RATIO = "E_ratio"
"""Epochs of a fine-tuning as a ratio of those of the initial training."""


def translated(table: object) -> object:
    """A table of `[[modifications]]`, or of its steps, without number and letters.

    Raises:
        ValueError: a number that the standard has not, no Parameter, or epochs of a fine-tuning
            where nobody knows those of the initial training.
    """
    if not isinstance(table, dict) or NUMBER not in table:
        return table
    number = table[NUMBER]
    if not isinstance(number, int) or isinstance(number, bool) or number not in NAMES:
        raise ValueError(
            f"{NUMBER}: expected a number from 0 to {max(NAMES)}, got {number!r}; 'nnw list "
            "modifications' names the others"
        )
    name, letter = NAMES[number]
    made: dict[str, Any] = {k: v for k, v in table.items() if k != NUMBER}
    aimed = made.pop("name", None)
    if aimed is not None:
        made["layers"] = aimed  # the reference software's word for the layers aimed at
    made["name"] = name
    if number == _DISTILLATION and "D" in made:
        made["samples"] = made.pop("D")
    if number == _FINE_TUNING:
        _expect_ratio(made)
        letter = RATIO
    if others := sorted({letter for _, letter in NAMES.values()} & set(made) - {letter}):
        raise ValueError(f"M_ID {number}: expected {letter}, got {others[0]}; correct it")
    if letter in made:
        given = made.pop(letter)
        made["intensities"] = given if isinstance(given, list | tuple) else [given]
    return made


def with_ratios(data: object) -> object:
    """A configuration whose fine-tunings, given in epochs, are given as ratios of the initial ones.

    The standard's Parameter is that ratio; the reference software's E is a number of epochs.
    """
    if not isinstance(data, dict) or not isinstance(data.get("modifications"), list | tuple):
        return data
    training = data.get("training")
    epochs = training.get("initial_epochs") if isinstance(training, dict) else None
    tables = [_with_ratio(table, epochs) for table in data["modifications"]]
    return {**data, "modifications": tables}


def _with_ratio(table: object, epochs: object) -> object:
    if not isinstance(table, dict):
        return table
    steps = table.get("steps")
    if isinstance(steps, list | tuple):
        return {**table, "steps": [_with_ratio(step, epochs) for step in steps]}
    known = isinstance(epochs, int | float) and not isinstance(epochs, bool) and epochs > 0
    if table.get(NUMBER) != _FINE_TUNING or "E" not in table or not known:
        return table
    given = table["E"] if isinstance(table["E"], list | tuple) else [table["E"]]
    if not all(isinstance(e, int | float) and not isinstance(e, bool) for e in given):
        return table
    rest = {name: value for name, value in table.items() if name != "E"}
    return {**rest, RATIO: [e / epochs for e in given]}


def _expect_ratio(table: Mapping[str, object]) -> None:
    if "E" in table:
        raise ValueError(
            f"E: expected numbers of epochs with training.initial_epochs, of which they are a "
            f"share, got them without; add it, or give {RATIO}"
        )
