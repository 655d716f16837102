"""What a class answers: one function for each question, in the process of its own."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from nnw_onnx.errors import PluginError, shortened
from nnw_onnx.graph import open_network
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Array, Job, Json, Recipe
from nnw_onnx_torch.graph.module import OnnxModule
from nnw_onnx_torch.reference import classes, kept
from nnw_onnx_torch.reference.model import NamedModel, scores
from nnw_onnx_torch.reference.training import CostFunction, TrainingSet
from nnw_onnx_torch.training import jobs, optimizers, surroundings
from nnw_onnx_torch.training.batches import Feed, Place
from nnw_onnx_torch.training.losses import answers as answers_of

Told: TypeAlias = tuple[dict[str, Json], dict[str, Array]]
Tell: TypeAlias = Callable[[Told], None]

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_STATE, _FINGERPRINT, _TARGETS = "kept", "fingerprint", "targets"
OWNER = "owner"
"""The identity of the fingerprint that a key stores."""


class WrongAnswerError(PluginError):
    """An answer of a class that its contract does not have; who asked says whose."""


@dataclass
class Question:
    """One question, and what is needed to answer it.

    Attributes:
        head: as it came.
        arrays: likewise.
        path: the file of the class.
        member: the function of the class that is called now, for errors.
        spent: seconds and bytes of that call.
    """

    head: Mapping[str, Any]
    arrays: Mapping[str, Array]
    path: Path
    member: str = "class"
    spent: dict[str, Json] = field(default_factory=dict)

    def instance(self) -> object:
        """A fresh object of the class, with what it kept in itself before."""
        kind = classes.loaded(self.path, self.head["sha256"], self.head["class"])
        made: object = kind()
        vars(made).update(self._kept.get("object", {}))
        return made

    def dictionary(self) -> dict[str, Any]:
        """The dictionary: of the configuration, what was kept, and what is always there."""
        given = {"seed": self.head["seed"], "device": "cpu", "work_dir": self.head["work_dir"]}
        found = {**given, **self.head["dictionary"], **self._kept.get("dictionary", {})}
        return {**found, "payload_size": self.head["size"]}

    def model(self) -> NamedModel:
        """The network as a module, in evaluation mode."""
        return NamedModel(OnnxModule(open_network(Path(self.head["network"]))).eval())

    def call(self, instance: object, name: str, *arguments: object) -> Any:
        """What a member answers; raises `WrongAnswerError` where the class has none."""
        member = classes.member_of(instance, name)
        self.member = name
        if member is None:
            raise WrongAnswerError(f"expected a class with {name}, got one without; add it")
        with self._measured():
            return member(*arguments)

    @property
    def _kept(self) -> dict[str, dict[str, Any]]:
        data = self.arrays.get(_STATE)
        return {} if data is None else kept.opened(data)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Seconds and peak memory of what is inside, in `spent`."""
        baseline = _resident("VmRSS") if _reset_peak() else None
        start = time.perf_counter()
        yield
        self.spent["seconds"] = time.perf_counter() - start
        peak = _resident("VmHWM")
        if baseline is not None and peak is not None:
            self.spent |= {"baseline_bytes": baseline, "peak_bytes": max(0, peak - baseline)}


def answered(question: Question, tell: Tell) -> Told:
    """The answer to a question; `tell` is called with what is to be known before.

    Raises:
        Exception: whatever the class raises.
    """
    seed = int(question.head["seed"])
    os.chdir(question.head["work_dir"])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that code of others uses
    torch.manual_seed(seed)
    device = torch.device("cpu")
    with surroundings.set_for_training(device, 1, deterministic=True):
        torch.manual_seed(seed)
        return _ANSWERS[question.head["what"]](question, tell)


def _members(question: Question, tell: Tell) -> Told:
    return {"members": dict(classes.members(question.instance()))}, {}


def _embed(question: Question, tell: Tell) -> Told:
    instance, model, dictionary = question.instance(), question.model(), question.dictionary()
    before = model.stored()
    dictionary[question.head["payload_name"]] = list(question.head["payload"])
    returned = question.call(instance, "Embedder", model, dictionary)
    return _embedded(question, instance, dictionary, _returned(returned, model), before)


def _train(question: Question, tell: Tell) -> Told:
    instance, dictionary = question.instance(), question.dictionary()
    job, network = _job(question), open_network(Path(question.head["network"]))
    mode = jobs.statistics_mode(network, job)
    module = OnnxModule(network, batch_norm=mode)
    model = NamedModel(module, lambda m, x: answers_of(m, x, job.loss, job.output))
    before = model.stored()
    dictionary[question.head["payload_name"]] = list(question.head["payload"])
    optimizer = optimizers.make_optimizer(job.recipe, network.layers, module.tensors)
    place = Place(torch.device("cpu"), torch.contiguous_format)
    statistics = mode == "update" and jobs.has_batch_norm(network)
    feed = Feed(job, network.inputs, place, batch_statistics=statistics)
    training_set, cost = (
        TrainingSet(feed, job, optimizer),
        CostFunction(job.loss, job.recipe.label_smoothing),
    )
    for number in range(1, training_set.epochs + 1):
        training_set.begin(number)
        cost.begin()
        model.train()
        told = question.call(
            instance, "Embedder_one_step", model, training_set, optimizer, cost, dictionary
        )
        epoch: dict[str, Json] = {"kind": "epoch", "number": number, "batches": training_set.given}
        epoch |= {**_losses(told, cost), **question.spent}
        if classes.member_of(instance, "Decoder") is not None and question.head["size"]:
            model.eval()
            with torch.no_grad():
                epoch["bits"] = _bits(question, instance, model, dict(dictionary))
        tell((epoch, {}))
        question.spent.clear()  # every epoch has told its own
    return _embedded(question, instance, dictionary, model, before)


def _decode(question: Question, tell: Tell) -> Told:
    model = question.model()
    bits = _bits(question, question.instance(), model, question.dictionary())
    _check_access(question, model)
    return {"bits": bits}, {}


def _detect(question: Question, tell: Tell) -> Told:
    instance, model, dictionary = question.instance(), question.model(), question.dictionary()
    if _FINGERPRINT in question.arrays:
        stored = {OWNER: question.arrays[_FINGERPRINT].copy()}
        dictionary["fingerprints"] = stored
    told = question.call(instance, "Detector", model, dictionary)
    _check_access(question, model)
    return dict(_decision(told, fingerprint=_FINGERPRINT in question.arrays)), {}


def _extract(question: Question, tell: Tell) -> Told:
    instance, model = question.instance(), question.model()
    arguments = (model, question.dictionary())
    member = classes.member_of(instance, "Extractor")
    if member is not None and not classes.takes(member, 2):
        arguments = arguments[:1]  # type: ignore[assignment]  # the contract does not say which
    told = question.call(instance, "Extractor", *arguments)
    _check_access(question, model)
    return {}, {_FINGERPRINT: _vector(told)}


_ANSWERS: Mapping[str, Callable[[Question, Tell], Told]] = {
    "members": _members,
    "embed": _embed,
    "train": _train,
    "decode": _decode,
    "detect": _detect,
    "extract": _extract,
}


def _embedded(
    question: Question,
    instance: object,
    dictionary: dict[str, Any],
    model: NamedModel,
    before: Mapping[str, Array],
) -> Told:
    """Weights that are others now, and what the class keeps for its Decoder."""
    after = model.stored()
    changed = {
        f"weights/{name}": values
        for name, values in after.items()
        if values.shape != before[name].shape or values.tobytes() != before[name].tobytes()
    }
    own = {"seed", "device", "work_dir", "payload_size", question.head["payload_name"]}
    given = question.head["dictionary"]
    tables: dict[str, dict[str, object]] = {
        "dictionary": {
            name: value
            for name, value in dictionary.items()
            if name not in own and not _same(value, given.get(name, _NOTHING))
        },
        "object": {},
    }
    left = []
    for name, value in vars(instance).items():
        try:
            kept.packed({"object": {name: value}})
        except kept.NotKeptError:
            left.append(name)
        else:
            tables["object"][name] = value
    plain = {n: v.astype(np.float32) if v.dtype.kind == "V" else v for n, v in changed.items()}
    return {"left": left}, {**plain, _STATE: kept.packed(tables)}


_NOTHING = object()


def _same(value: object, given: object) -> bool:
    """Whether a value is the one of the configuration, which is there without being kept."""
    plain = isinstance(value, bool | int | float | str | list | dict)
    return plain and type(value) is type(given) and repr(value) == repr(given)


def _returned(returned: object, model: NamedModel) -> NamedModel:
    """The network that an Embedder answers, where it answers another than it was given."""
    inside = returned if isinstance(returned, list | tuple) else (returned,)
    return next((found for found in inside if isinstance(found, NamedModel)), model)


def _bits(
    question: Question, instance: object, model: NamedModel, dictionary: dict[str, Any]
) -> list[int]:
    """The Symbols that a Decoder answers."""
    told = question.call(instance, "Decoder", model, dictionary)
    if isinstance(told, tuple) and told and np.ndim(_plain(told[0])) > 0:
        told = told[0]  # with an error rate of its own beside it
    size = int(question.head["size"])
    found = [int(c) for c in told] if isinstance(told, str) and set(told) <= {"0", "1"} else told
    values = _numbers(found, f"{size} bits")
    if values.shape != (size,) or not np.isin(values, (0.0, 1.0)).all():
        raise WrongAnswerError(f"expected {size} Symbols 0 or 1, got {_shown(values)}")
    return [int(v) for v in values]


def _decision(told: Any, *, fingerprint: bool) -> Iterator[tuple[str, Json]]:
    """Whether a Detector says yes, and with what statistic."""
    pair = isinstance(told, tuple | list) and len(told) == 2
    answer, statistic = told if pair else (told, None)
    if fingerprint and (answer is None or isinstance(answer, str)):
        says = answer == OWNER
    else:
        value = _numbers(answer, "yes or no").reshape(-1)
        if value.shape != (1,) or value[0] not in (0.0, 1.0):
            raise WrongAnswerError(f"expected yes or no, got {_shown(value)}")
        says = bool(value[0])
    yield "says", says
    if statistic is None:
        yield "statistic", float(says)
        return
    number = _numbers(statistic, "a statistic").reshape(-1)
    if number.shape != (1,) or not math.isfinite(number[0]):
        raise WrongAnswerError(f"expected a finite statistic, got {_shown(number)}")
    yield "statistic", float(number[0])


def _vector(told: object) -> Array:
    """A fingerprint (n,): numbers as float64, bytes as uint8."""
    if isinstance(told, bytes):
        found: Array = np.frombuffer(told, np.uint8)
    else:
        found = _numbers(told, "a fingerprint").reshape(-1)
    if not found.size or not np.isfinite(found).all():
        raise WrongAnswerError(f"expected a fingerprint of finite numbers, got {_shown(found)}")
    return found


def _numbers(told: object, wanted: str) -> Array:
    """An answer as float64; raises `WrongAnswerError` where it is not of numbers."""
    try:
        return np.asarray(_plain(told), np.float64)
    except (TypeError, ValueError) as error:
        raise WrongAnswerError(f"expected {wanted}, got {shortened(told, 60)}") from error


def _plain(told: object) -> Any:
    if isinstance(told, torch.Tensor):
        return told.detach().cpu().double().numpy()
    if isinstance(told, list | tuple):
        return [_plain(one) for one in told]
    return told


def _shown(values: Array) -> str:
    few = ", ".join(f"{v:g}" for v in values.reshape(-1)[:4])
    return f"{values.size} numbers of shape {values.shape} ({few}{', ...' * (values.size > 4)})"


def _losses(told: object, cost: CostFunction) -> dict[str, Json]:
    """Loss of the task and of the watermark, of what an epoch returned: (loss, task, watermark)."""
    try:
        values = np.asarray(_plain(() if told is None else told), np.float64).reshape(-1)
    except (TypeError, ValueError):
        values = np.zeros(0)
    known = values if np.isfinite(values).all() else np.zeros(0)
    if len(known) >= 3:
        return {"loss": float(known[1]), "penalty": float(known[2])}
    if cost.mean is not None:
        return {"loss": cost.mean}
    return {"loss": float(known[0]) if len(known) else 0.0}


def _check_access(question: Question, model: NamedModel) -> None:
    """Refuse a Decoder that runs the network where it was said to read its weights alone."""
    if question.head["access"] == "weights" and model.forwards:
        raise WrongAnswerError(
            "expected a function that reads weights, got one that runs the network; set access = "
            "'answers'"
        )


def _job(question: Question) -> Job:
    told = question.head["job"]
    folder = Path(told["samples"])
    feeds = {name: _mapped(folder / f"{i}.npy") for i, name in enumerate(told["feeds"])}
    samples = ArraySamples(feeds, _mapped(folder / f"{_TARGETS}.npy"), digest=told["digest"])
    known = {f.name for f in dataclasses.fields(Recipe)}
    recipe = Recipe(**{name: value for name, value in told["recipe"].items() if name in known})
    return Job(samples, recipe, told["loss"], told["seed"], output=told["output"])


def _mapped(path: Path) -> Array:
    found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _reset_peak() -> bool:
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _resident(name: str) -> int | None:
    """Bytes of a line of /proc/self/status; None where there is none."""
    try:
        lines: Sequence[str] = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{name}:")), None)
    return None if found is None else int(found.split()[1]) * 1024


__all__ = ["OWNER", "Question", "Told", "WrongAnswerError", "answered", "scores"]
