"""What planning a large run costs, and resuming one of which every trial has its record.

    python tests/benchmarks/ratios.py planning

Planning is all that comes before the first injection: the configuration is checked, networks and
data are opened, and every trial is planned. Resuming is a whole run of which nothing is left to do:
plan and records are read and checked, and what is left is looked for. The records are made up here,
as large as those of handwritten digits with two methods.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ratios import Ratio, busy

from nnw_onnx.records import InjectionRecord, TrialRecord
from nnw_onnx.runs import evaluate
from nnw_onnx.runs.evaluation import Evaluation
from nnw_onnx.runs.plan import plan_injections
from nnw_onnx.runs.prepare import Prepared, prepare
from nnw_onnx.vocabulary import Trial

TRIALS = 100_000
SECONDS = 10.0
"""That issues allow for either."""
_INTENSITIES, _PAYLOADS, _SAMPLES = 25, 10, 360


def configuration(trials: int) -> Evaluation:
    """An evaluation of one network with this many trials or a few more."""
    marks = 2 * _PAYLOADS + 1
    count = min(_INTENSITIES, max(1, trials // (3 * marks)))
    settings = [
        {"name": "gaussian-noise", "intensities": [0.02 * (k + 1) for k in range(count)]},
        {"name": "l1-pruning", "intensities": [3.5 * (k + 1) for k in range(count)]},
        {
            "steps": [
                {"name": "random-pruning", "intensities": [2.0 * (k + 1) for k in range(count)]},
                {"name": "quantizing", "intensity": 8},
            ]
        },
    ]
    return Evaluation.model_validate(
        {
            "title": f"{trials} trials",
            "networks": ["nnw:digits/cnn-1.onnx"],
            "dataset": {"name": "digits", "preprocessing": {"scale": 0.0625}},
            "methods": [{"name": "uchida"}, {"name": "block-spread"}],
            "payloads": _PAYLOADS,
            "payload_sizes": [64],
            "repetitions": max(1, -(-trials // (3 * count * marks))),
            "modifications": settings,
            "preview": {"samples": 0},
            "cost": {"cells": 0},
        }
    )


def planned(evaluation: Evaluation, folder: Path) -> tuple[Prepared, Sequence[Trial]]:
    """The trials of an evaluation, with a mark of each injection in one layer."""
    prepared = prepare(evaluation, folder)
    return prepared, prepared.planner.trials(injected(prepared))


def injected(prepared: Prepared) -> list[InjectionRecord]:
    """The records that its injections would have."""
    context = prepared.context
    tasks = plan_injections(
        context.seed, prepared.evaluation.payloads, context.technologies, context.sha256,
        context.sources,
    )  # fmt: skip
    return [
        InjectionRecord(
            identity=task.identity, status="done", network=task.network, layers=("conv3.weight",),
            technology=task.technology, payload_index=task.payload_index,
        )
        for task in tasks
    ]  # fmt: skip


def recorded(trial: Trial) -> TrialRecord:
    """A record as large as that of a trial that was done."""
    scores = np.packbits(np.arange(_SAMPLES) % 19 != 0).tobytes()
    verdicts = [
        {
            "injection": name, "status": "done", "symbols": 64, "errors": 31, "statistic": 33.0,
            "log10_p": -0.21, "log10_inverted": -0.33, "needed": 52, "attained": 2.8e-7, "ties": 0,
            "null": {"name": "binomial", "symbols": 64, "chance": 0.5}, "detected": False,
            "min_confidence": 0.013, "mean_confidence": 0.87,
        }
        for claims in trial.claims
        for name in claims.injections
    ]  # fmt: skip
    return TrialRecord.model_validate(
        {
            "identity": trial.identity, "status": "done", "network": trial.network,
            "injection": trial.parents[0] if trial.parents else None, "setting": trial.setting,
            "intensity": trial.intensity, "repetition": trial.repetition, "change": 0.1,
            "quality": {"top-1 accuracy": 0.95, "macro recall": 0.94}, "chance": 0.1,
            "scores": {"form": "bits", "n": _SAMPLES, "data": base64.b64encode(scores).decode()},
            "verdicts": verdicts,
        }
    )  # fmt: skip


def finished(prepared: Prepared, trials: Sequence[Trial]) -> Path:
    """Write the run folder of a run that was cut off when its last trial was done."""
    store = prepared.context.store
    store.create()
    store.write(prepared.plan)
    for record in injected(prepared):
        store.append(record)
    with (store.folder / "records.jsonl").open("wb") as file:
        file.writelines(recorded(t).model_dump_json().encode() + b"\n" for t in trials)
    return store.folder / "records.jsonl"


def resumed(evaluation: Evaluation, folder: Path) -> None:
    """Go on with a run of which nothing is left."""
    evaluate.run(prepare(evaluation, folder), progress=False, tell=lambda words: None)


def costs(trials: int, folder: Path) -> tuple[int, float, float, float, float]:
    """Trials, and seconds: planning, hashing the same, resuming, reading the same."""
    evaluation, kept = configuration(trials), []
    planning = busy(lambda: kept.extend(planned(evaluation, folder)))
    prepared, plan = kept
    values = [asdict(trial) for trial in plan]
    hashing = busy(lambda: [hashlib.sha256(json.dumps(v).encode()).digest() for v in values])
    lines = finished(prepared, plan)
    resuming = busy(lambda: resumed(evaluation, folder))
    reading = busy(lambda: [json.loads(line) for line in lines.open("rb")])
    return len(plan), planning, hashing, resuming, reading


def ratios(trials: int = TRIALS) -> Iterator[Ratio]:
    """Both against what is asked, and against the same values as plain JSON."""
    with tempfile.TemporaryDirectory() as place:
        costs(100, Path(place) / "warm")  # what is imported and opened once costs nobody here
        count, planning, hashing, resuming, reading = costs(trials, Path(place) / "run")
    yield Ratio(f"planning {count:,} trials", planning, "what is asked", SECONDS, asked=1)
    yield Ratio(f"planning {count:,} trials", planning, "hashing them as plain JSON", hashing)
    yield Ratio(f"resuming {count:,} trials", resuming, "what is asked", SECONDS, asked=1)
    yield Ratio(f"resuming {count:,} trials", resuming, "json.loads of the records", reading)
