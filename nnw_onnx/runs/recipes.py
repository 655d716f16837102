"""The tables of a configuration that concern training, and the recipes they come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, expected, shortened
from nnw_onnx.vocabulary import Recipe, Spec

RECIPE = tuple(f.name for f in dataclasses.fields(Recipe))


class PluginTable(BaseModel):
    """A table that names a plug-in; every key that is not declared is an option of it."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)
    name: str

    @property
    def spec(self) -> Spec:
        """Name and options."""
        return Spec(self.name, dict(self.model_extra or {}))


class EngineTable(PluginTable):
    """`[engine]`: who carries out; as a text, its name, or an address such as dask://HOST:PORT."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        """A table or a text."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: object) -> object:
        return engine_options(given) if isinstance(given, str) else given


def engine_options(text: str) -> dict[str, str]:
    """Name and address of an engine: NAME, NAME://PLACE, or NAME+SCHEME://PLACE."""
    before, found, _ = text.partition("://")
    if not found:
        return {"name": text}
    name, other, _ = before.partition("+")
    return {"name": name, "address": text.removeprefix(f"{name}+") if other else text}


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    @property
    def changes(self) -> dict[str, JsonValue]:
        """Keys of a recipe that are given."""
        return dict(self.model_extra or {})


class TransferTable(PluginTable):
    """`[training.transfer]`: the data set of a transfer; every other key is an option of it."""


class TrainerTable(PluginTable):
    """`[training.trainer]`: who trains; every other key is an option of it."""


class TrainingTable(_Recipe):
    """`[training]`: how networks are trained; every other key is one of the recipe.

    Attributes:
        trainer: who trains.
        initial_epochs: epochs of the initial training of the networks, to which the standard
            relates those of a fine tuning.
        split: samples of the data set that are trained on, and that owners and attackers have.
        limit: number of them, evenly spaced; None for all.
        timeout: seconds that one injection or trial with training may take.
        transfer: data set of a transfer.
    """

    trainer: TrainerTable = TrainerTable(name="torch")
    initial_epochs: Annotated[float, Field(gt=0, le=100_000)] | None = None
    split: Literal["train", "test"] = "train"
    limit: Annotated[int, Field(ge=1)] | None = None
    timeout: Annotated[float, Field(gt=0)] = 86_400.0
    transfer: TransferTable | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe; raises `ConfigurationError` for a key or value that is wrong."""
        return recipe_from(Recipe(), self.changes, tuple(type(self).model_fields))


class MethodTraining(_Recipe):
    """`[methods.training]`: the method is put in by training.

    Keys not given are as in `[training]`.

    Attributes:
        start: from the "trained" networks as they are, or from "scratch", fresh weights.
    """

    start: Literal["trained", "scratch"] = "trained"

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe; raises `ConfigurationError` for a key or value that is wrong."""
        return recipe_from(base, self.changes, tuple(type(self).model_fields))


def recipe_from(
    base: Recipe, changes: Mapping[str, object], others: tuple[str, ...] = ()
) -> Recipe:
    """The recipe with some keys changed.

    Args:
        base: what is not changed.
        changes: keys of a recipe with their values.
        others: further keys that the table knows, for the message.

    Raises:
        ConfigurationError: a key is unknown, or a value is wrong.
    """
    known = (*others, *RECIPE)
    faults = [
        f"{key}: expected one of the keys {', '.join(known)}; got an unknown key"
        f"{plugins.closest(key, known)}"
        for key in changes
        if key not in RECIPE
    ]
    given = {key: value for key, value in changes.items() if key in RECIPE}
    try:
        made = TypeAdapter(Recipe).validate_python({**dataclasses.asdict(base), **given})
    except ValidationError as error:
        faults += [
            f"{'.'.join(map(str, fault['loc']))}: {expected(fault['msg'])}; got "
            f"{shortened(fault['input'])}; correct it"
            for fault in error.errors()
        ]
        raise ConfigurationError(*faults) from error
    if faults:
        raise ConfigurationError(*faults)
    return made
