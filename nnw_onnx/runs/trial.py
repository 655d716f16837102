"""One trial of a run: modify, measure the quality, verify the claims, try wrong keys, record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import ValidationError

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, NnwError, NotApplicableError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.records import NewMark, TrialRecord
from nnw_onnx.runs import mishaps
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.blocks import changed_blocks
from nnw_onnx.runs.composed import asking
from nnw_onnx.runs.context import (
    Context,
    claim_of,
    injected_network,
    load_samples,
    network_of,
    samples_for,
)
from nnw_onnx.runs.control import controls_of
from nnw_onnx.runs.inject import symbol_errors
from nnw_onnx.runs.modify import ALL, CARRIER, NO_CARRIER, Stacked, differ_on, modify
from nnw_onnx.runs.plan import step_fields
from nnw_onnx.runs.quality import adds_classes, measure, task_for
from nnw_onnx.runs.recording import facts_of, scores_of, unrecordable, verdict_record
from nnw_onnx.runs.rehearing import Before, heard_again
from nnw_onnx.runs.seeds import generator, identity
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.runs.verify import SuspectOf, verify
from nnw_onnx.vocabulary import Claim, Modification, Quality, Step, Trial


def run_trial(context: Context, trial: Trial) -> TrialRecord:
    """Carry a trial out.

    Whatever a plug-in does wrong is a record that failed, with the reason.

    Raises:
        UnavailableError: what the run needs is gone, which is no fault of this trial.
    """
    try:
        claims = _claims(context, trial)
        carrier = next(iter(claims.values())).key.layers if claims else ()
        if not carrier and any(CARRIER in step.layers for step in trial.steps):
            return _not_done(trial, "skipped", NO_CARRIER)
        try:
            stacked = _modified(context, trial, carrier)
        except CarrierNotFoundError as lost:
            return _not_done(trial, "skipped", str(lost))
        record = _examined(context, trial, stacked, claims)
    except NotApplicableError as refused:
        return _not_done(trial, "not-applicable", str(refused))
    except NnwError as error:
        mishaps.expect_available(context, error)
        return failed(trial, str(error))
    except ValidationError as error:
        return failed(trial, unrecordable(error))
    for name in stacked.checkpoints:
        context.store.checkpoint(name).discard()
    return record


def failed(trial: Trial, reason: str) -> TrialRecord:
    """The record of a trial that came to nothing."""
    return _not_done(trial, "failed", reason)


def draw_of(context: Context, trial: Trial, index: int) -> str:
    """What a step of a trial draws from: the same for every method and every configuration.

    It knows the unwatermarked networks, the payload by its number, the steps so far and the
    repetition. An unwatermarked network draws as the one with the first payload does.
    """
    return identity(
        purpose="step",
        seed=context.seed,
        networks=[context.sha256[trial.network]] * trial.copies,
        payload=trial.payload,
        steps=[step_fields(step, context.sources) for step in trial.steps[: index + 1]],
        repetition=trial.repetition,
    )


def outside_standard_range(steps: Sequence[Step], layers: Sequence[Sequence[str]]) -> bool:
    """Whether an Intensity of a stack is outside the standard's table.

    Args:
        steps: the stack.
        layers: for each step, the layers that it was aimed at; empty where that is not known.
    """
    return any(
        _is_outside(step, layers[index] if index < len(layers) else ())
        for index, step in enumerate(steps)
    )


def _is_outside(step: Step, layers: Sequence[str]) -> bool:
    made = plugins.create(Modification, step.modification)
    if made.parameter is None or made.number is None:
        return False
    intensity = step.modification.options.get(made.parameter.option)
    single = ALL not in step.layers and len(layers) == 1
    return isinstance(intensity, int | float) and made.parameter.outside_standard_range(
        intensity, single_layer=single
    )


def _known(trial: Trial) -> dict[str, object]:
    """The fields of a trial's record that are known before it runs."""
    return {
        "identity": trial.identity,
        "network": trial.network,
        "injection": trial.parents[0] if trial.parents else None,
        "copies": trial.parents[1:],
        "setting": trial.setting,
        "intensity": trial.intensity,
        "repetition": trial.repetition,
        "technology": trial.technology,
    }


def _not_done(
    trial: Trial, status: Literal["failed", "skipped", "not-applicable"], reason: str
) -> TrialRecord:
    return TrialRecord.model_validate(
        {
            **_known(trial),
            "status": status,
            "reason": reason,
            "outside_standard_range": outside_standard_range(trial.steps, ()),
        }
    )


def _examined(
    context: Context, trial: Trial, stacked: Stacked, claims: Mapping[str, Claim]
) -> TrialRecord:
    """Everything that is asked of the network at the end of the stack, with one session."""
    base = network_of(context, trial.network)
    run = Running(stacked.network, context.settings, context.batch_size, base)
    own = claims.values() if trial.parents else ()
    quality = _quality(context, trial, stacked, run, (*own, *stacked.marks))
    suspect_of = suspects(stacked.network, run, stacked.around)
    heard = verify(suspect_of, claims.values(), context.false_positive_rate)
    verdicts = [
        verdict_record(i, verdict, changed_blocks(context, trial, i, verdict, stacked.network))
        for i, verdict in zip(claims, heard, strict=True)
    ]
    controls = controls_of(context, trial, suspect_of)
    return TrialRecord.model_validate(
        {
            **_known(trial),
            "status": "done",
            "layers": stacked.layers,
            "outside_standard_range": outside_standard_range(trial.steps, stacked.layers),
            "quality": dict(quality.values),
            "chance": quality.chance,
            "scores": scores_of(quality),
            "quality_of": _other_data(context, stacked),
            "change": stacked.change if trial.steps else None,
            "difference": stacked.difference,
            "verdicts": verdicts,
            "controls": controls,
            **heard_again(context, trial, stacked, run, claims, Before(verdicts, controls)),
            "new_marks": _new_marks(stacked, suspect_of),
            "facts": facts_of({**stacked.facts, **run.facts}),
        }
    )


def _claims(context: Context, trial: Trial) -> dict[str, Claim]:
    """Injection -> its claim, in the order of the trial."""
    return {
        injection: _claim(context, injection)
        for heard in trial.claims
        for injection in heard.injections
    }


# The claims on an unwatermarked network are the same for every setting.
@lru_cache(maxsize=64)
def _claim(context: Context, injection: str) -> Claim:
    return claim_of(context, injection)


def _modified(context: Context, trial: Trial, carrier: tuple[str, ...]) -> Stacked:
    parents = [injected_network(context, trial.network, i) for i in trial.parents]
    copies = parents or [network_of(context, trial.network)] * trial.copies
    return modified(context, trial, copies, carrier)


def modified(
    context: Context, trial: Trial, copies: Sequence[OnnxNetwork], carrier: tuple[str, ...]
) -> Stacked:
    """The first of some copies after the steps of a trial; see `modify`.

    Args:
        context: of the run.
        trial: the steps, and what they draw from.
        copies: those that go in.
        carrier: names of the carrier layers.
    """
    original = network_of(context, trial.network)
    names = " then ".join(step.modification.name for step in trial.steps)

    def bench_for(index: int, network: OnnxNetwork, layers: tuple[str, ...]) -> RunBench:
        place = Place(
            name=f"{trial.identity}-{index}",
            title=f"{names} of {original.path.name}",
            draw=draw_of(context, trial, index),
            technology=None if trial.technology is None else context.technologies[trial.technology],
            layers=layers,
            original=original,
            copies=(network, *copies[1:]) if trial.copies > 1 else (),
        )
        return RunBench(context, network, place)

    def rng_for(index: int) -> np.random.Generator:
        return generator(purpose="modification", draw=draw_of(context, trial, index))

    differ = differ_on(load_samples(context.data), context.settings, context.batch_size)
    return modify(copies[0], trial.steps, bench_for, rng_for, differ, carrier)


def _quality(
    context: Context, trial: Trial, stacked: Stacked, run: Running, marks: Iterable[Claim]
) -> Quality:
    """The quality of the network, which has these marks; of no measure where none is asked for."""
    if not context.quality:
        return Quality({})
    samples = samples_for(context, stacked.network, stacked.samples_of or "task")
    task = task_for(context.task, network_of(context, trial.network), context.after)
    ask = asking(run, task, context.after, stacked.around)
    more = adds_classes(claim.key.method for claim in marks)
    return measure(ask, task, samples, context.batch_size, more_classes=more)


def _other_data(context: Context, stacked: Stacked) -> str | None:
    """Name of the data set that the network answers now, where it is another one."""
    if stacked.samples_of is None or context.transfer is None:
        return None
    return context.transfer.dataset.name


def _new_marks(stacked: Stacked, suspect_of: SuspectOf) -> list[NewMark]:
    """Watermarks put on top, as they are read at the end of the stack."""
    found = []
    for claim in stacked.marks:
        try:
            errors = symbol_errors(claim, suspect_of)
        except CarrierNotFoundError:
            errors = claim.key.size  # what cannot be found cannot be read
        if errors is not None:
            found.append(NewMark(symbols=claim.key.size, errors=errors))
    return found
