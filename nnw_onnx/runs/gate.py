"""The configuration of a gate: what a marked network must meet before it goes out.

Tables that an evaluation has too ([dataset], [task], [training], [session], [[modifications]]) mean
the same here. Relative paths are seen from the configuration's folder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nnw_onnx.errors import ConfigurationError, shortened
from nnw_onnx.records import LEAST
from nnw_onnx.runs import calls, mistakes, toml
from nnw_onnx.runs.checks import (
    Faults,
    check_modification,
    check_surroundings,
    intensities_of,
    made_step,
)
from nnw_onnx.runs.places import missing_networks, network_paths, place_of
from nnw_onnx.runs.recipes import PluginTable, TrainingTable
from nnw_onnx.runs.tables import (
    DEFAULT_TASK,
    DatasetTable,
    Evaluation,
    ModificationTable,
    SessionTable,
    Table,
    mapped,
    mapped_modification,
    seen_from,
)
from nnw_onnx.vocabulary import InputModification, PlugIn

CONFIDENCE = 0.95
"""Of the one-sided limit of a share."""
Limit = Literal["conservative", "mean"]
_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,12})?)\s*%\s*")
WITH_DATA = frozenset({"data", "scale", "trainer", "transfer", "initial_epochs"})


def _share(given: object) -> object:
    """A share as a number from 0 to 1, also where it is written with a percent sign."""
    if isinstance(given, str):
        found = _PERCENT.fullmatch(given)
        if found is None:
            raise ValueError('expected a share such as "95%" or 0.95')
        return float(found[1]) / 100
    return given


Share = Annotated[float, BeforeValidator(_share), Field(gt=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=4096)]
Hash = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PayloadNeed(_Table):
    """`[payload]`: what must be read from the network.

    Attributes:
        bits: at least so many must be carried.
        wrong: of them, at most so many may be read wrongly, after the code.
    """

    bits: Annotated[int, Field(ge=1, le=1 << 20)]
    wrong: Annotated[int, Field(ge=0)] = 0


class FalsePositives(_Table):
    """`[false_positives]`: what must not be taken for the mark.

    Attributes:
        wrong_keys: random keys that are tried on the network.
        networks: that do not carry the mark: files, wildcards, or `nnw:` for shipped ones.
        most: how many of all these may be found.
    """

    wrong_keys: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    networks: tuple[Name, ...] = ()
    most: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.wrong_keys and not self.networks:
            raise ValueError("expected wrong_keys or networks, got neither; add one")
        return self


class SealNeed(_Table):
    """`[seal]`: the network must be what was sealed.

    Attributes:
        file: the seal.
        root: that was published; without it the seal must be that of the key, where there is one.
    """

    file: Name
    root: Hash | None = None


class QualityNeed(_Table):
    """`[quality]`: what the mark may cost, beside the reference.

    Attributes:
        loss: at most so much of the headline measure: points where that is in %, else in its unit.
        limit: "conservative" compares the upper end of the 90 % limits over samples, "mean" what
            was measured.
    """

    loss: Annotated[float, Field(ge=0)]
    limit: Limit = "conservative"


class SurviveTable(ModificationTable):
    """`[[modifications]]`: what the mark must survive; see `ModificationTable`.

    Attributes:
        repetitions: how often it is drawn anew, at each Intensity.
        found: share of them in which the mark must be found; all of them if left out.
        limit: of the share: "conservative" compares its lower one-sided 95 % limit, "mean" what was
            counted.
    """

    repetitions: Annotated[int, Field(ge=1, le=10_000)] = 1
    found: Share | None = None
    limit: Limit = "conservative"

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        if self.found is None or self.limit == "mean":
            return self
        least = least_repetitions(self.found)
        if least is None or self.repetitions < least:
            wanted = "found below 1" if least is None else f"repetitions of at least {least}"
            raise ValueError(
                f"expected {wanted}, because no fewer can show a share of {self.found:g} by its "
                f"lower limit, got {self.repetitions}; or leave found out (every repetition), or "
                'set limit = "mean"'
            )
        return self


class Gate(_Table):
    """What a marked network must meet.

    Attributes:
        title: what the checks are called.
        network: the marked network, where it is not named beside the configuration.
        key: key file of the mark.
        reference: the network before the mark.
        false_positive_rate: of the Detector.
        resynchronise: whether channels are put back in the order of the reference first.
        commitment: the hash that was published; it must bind key and reference.
        modifications: what the mark must survive.
        dataset: samples that quality is measured on, and that Modifications have.
        training: how networks are trained, where a Modification trains.
    """

    title: Annotated[str, Field(min_length=1, max_length=200)] = "nnw gate"
    network: Name | None = None
    key: Name | None = None
    reference: Name | None = None
    false_positive_rate: Annotated[float, Field(ge=LEAST, lt=1)] = 1e-6
    resynchronise: bool = False
    commitment: Hash | None = None
    payload: PayloadNeed | None = None
    false_positives: FalsePositives | None = None
    seal: SealNeed | None = None
    quality: QualityNeed | None = None
    modifications: tuple[SurviveTable, ...] = ()
    dataset: DatasetTable | None = None
    task: PluginTable = DEFAULT_TASK
    training: TrainingTable | None = None
    session: SessionTable = SessionTable()

    @property
    def evaluation(self) -> Evaluation | None:
        """Data, task, training and session as an evaluation has them; None without data."""
        if self.dataset is None:
            return None
        return Evaluation(
            networks=(self.reference or "model.onnx",),
            dataset=self.dataset,
            task=self.task,
            session=self.session,
            training=self.training,
        )


def least_repetitions(share: float) -> int | None:
    """How many repetitions, all of them found, show that so many are; None where none do."""
    return None if share >= 1 else math.ceil(math.log(1 - CONFIDENCE) / math.log(share) - 1e-9)


def read_gate(path: Path, network: Path | None = None, key: Path | None = None) -> Gate:
    """The gate of a TOML file.

    Args:
        path: the file.
        network: the marked network, instead of the one in the configuration.
        key: key file, likewise.

    Raises:
        ConfigurationError: the file is missing, too large, not TOML, or asks for what cannot be
            checked: all of it at once.
    """
    document = toml.parsed(path, "gate file")
    try:
        gate = Gate.model_validate(document)
    except ValidationError as error:
        lines = [mistakes.one_line(Gate, f) for f in mistakes.deepest(error.errors())]
        raise ConfigurationError(*(f"{path.name}: {line}" for line in lines)) from error
    gate = _anchored(gate, path.resolve().parent)
    for name, given in (("network", network), ("key", key)):
        if given is not None:
            gate = gate.model_copy(update={name: str(given)})
    found = Faults()
    found.lines += _lacking(gate)
    if not found.lines:
        _check_tables(gate, found)
    if found.lines:
        raise ConfigurationError(*(f"{path.name}: {line}" for line in dict.fromkeys(found.lines)))
    return gate


def reference_of(gate: Gate) -> Path | None:
    """The file of the network before the mark."""
    return None if gate.reference is None else network_paths([gate.reference])[0]


def _anchored(gate: Gate, folder: Path) -> Gate:
    """Relative paths made relative to the configuration's folder."""

    def move(kind: type[PlugIn], table: Table) -> Table:
        return seen_from(folder, kind, table)

    moved: dict[str, object] = {
        "modifications": tuple(mapped_modification(t, move) for t in gate.modifications)
    }
    if (evaluation := gate.evaluation) is not None:
        found = mapped(evaluation, move)
        moved |= {"dataset": found.dataset, "task": found.task, "training": found.training}
    for name, place in (("network", gate.network), ("key", gate.key)):
        if place is not None:
            moved[name] = str(folder / place)
    if gate.reference is not None:
        moved["reference"] = place_of(gate.reference, folder)
    if gate.seal is not None:
        moved["seal"] = gate.seal.model_copy(update={"file": str(folder / gate.seal.file)})
    if (others := gate.false_positives) is not None:
        names = tuple(place_of(name, folder) for name in others.networks)
        moved["false_positives"] = others.model_copy(update={"networks": names})
    return gate.model_copy(update=moved)


def _lacking(gate: Gate) -> Iterator[str]:
    """A line for each thing that is asked for and cannot be told without another one."""
    if gate.network is None:
        yield "network: expected the marked network, got none; add network, or name it beside"
    if gate.key is None and gate.seal is None and gate.quality is None:
        yield "key: expected a key, a seal or quality to check, got none; add one"
    with_key: dict[str, object] = {
        "commitment": gate.commitment, "payload": gate.payload,
        "false_positives": gate.false_positives, "modifications": gate.modifications,
    }  # fmt: skip
    for name, given in with_key.items():
        if given and gate.key is None:
            yield f"{name}: expected the key that it is about, got none; add key, or give --key"
    with_reference: dict[str, object] = {
        "commitment": gate.commitment, "quality": gate.quality, "resynchronise": gate.resynchronise
    }  # fmt: skip
    for name, given in with_reference.items():
        if given and gate.reference is None:
            yield f"{name}: expected the network before the mark, got none; add reference"
    if gate.quality and gate.dataset is None:
        yield "quality: expected samples to measure it on, got none; add a table [dataset]"
    for name, file in (("key", gate.key), ("seal.file", gate.seal and gate.seal.file)):
        if file and not Path(file).is_file():
            yield f"{name}: expected a file, got none for {shortened(file)}; correct the path"
    yield from missing_networks([gate.reference] if gate.reference else [])
    yield from missing_networks(gate.false_positives.networks if gate.false_positives else ())


def _check_tables(gate: Gate, found: Faults) -> None:
    evaluation = gate.evaluation
    if evaluation is not None:
        check_surroundings(evaluation, found)
    for index, table in enumerate(gate.modifications):
        before = len(found.lines)
        check_modification(f"modifications.{index}", table, found, evaluation)
        if len(found.lines) == before:
            with found.at(f"modifications.{index}"):
                _check_alone(table, with_data=evaluation is not None)


def _check_alone(table: SurviveTable, *, with_data: bool) -> None:
    """What a gate, which has one network and maybe no data, cannot do."""
    if table.copies > 1:
        raise ConfigurationError(
            f"copies: expected 1 in a gate, which has one network, got {table.copies}; rehearse "
            "them with 'nnw recipients rehearse'"
        )
    for step in table.stack:
        made = made_step(step, intensities_of(table)[0])
        if isinstance(made, InputModification):
            raise ConfigurationError(
                f"expected a Modification of the network, got {made.name}, which changes what it "
                "is fed; measure it with 'nnw evaluate --require'"
            )
        if not with_data and set(calls.needs(made)) & WITH_DATA:
            raise ConfigurationError(
                f"expected data for {made.name}, got none; add a table [dataset]"
            )
