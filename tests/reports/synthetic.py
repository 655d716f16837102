"""A run that never was: records of M networks, D payloads, two technologies, made by rule."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from nnw_onnx.records import (
    CostRecord,
    DecodingRecord,
    Environment,
    Group,
    InjectionRecord,
    NetworkRecord,
    Plan,
    PluginSpec,
    TrialRecord,
)
from nnw_onnx.vocabulary import Parameter

FPR = 1e-6
PARAMETERS = {
    "gaussian-noise": Parameter("S", "noise / spread of the layer", "ratio", 0.1, 0.3),
    "l1-pruning": Parameter("P", "share of the smallest Weights", "%", 1, 90, 99.99),
    "quantizing": Parameter("B", "bits for each Weight", "bits", 2, 32, stronger="down"),
}
GRID = {
    ("gaussian-noise", "all"): (0.1, 0.3, 1.0),
    ("l1-pruning", "carrier"): (50.0, 90.0, 99.99),
    ("quantizing", "all"): (8.0, 4.0, 2.0),
}
# How far into its grid a setting hurts: share of wrong Symbols and of lost accuracy by position.
WRONG = {"block-spread": (0.0, 0.02, 0.3), "uchida": (0.0, 0.1, 0.45)}
LOST = (0.001, 0.02, 0.4)


@dataclass(frozen=True)
class Run:
    """All records of a run."""

    plan: Plan
    injections: tuple[InjectionRecord, ...]
    trials: tuple[TrialRecord, ...]
    costs: tuple[CostRecord, ...]
    environment: Environment

    @property
    def parts(self) -> tuple:
        return self.plan, self.injections, self.trials, self.costs, self.environment


def make_run(
    networks: int = 3,
    payloads: int = 2,
    repetitions: int = 1,
    samples: int = 2000,
    seed: int = 7,
    name: str = "cnn-{}.onnx",
    label: str = "{method}, {size} bits",
    title: str = "Synthetic run",
    sizes: tuple[int, ...] = (64, 64),
    grid: dict | None = None,
    troubles: bool = True,
    evaluation: dict | None = None,
) -> Run:
    """One failed and one not-applicable trial are among the records if `troubles`."""
    rng = np.random.default_rng(seed)
    grid = GRID if grid is None else grid
    groups = tuple(
        Group(
            index=i,
            method=PluginSpec(name=method, options={"budget": 0.05}),
            payload_size=size,
            label=label.format(method=method, size=size),
        )
        for i, (method, size) in enumerate(zip(WRONG, sizes, strict=True))
    )
    plan = plan_of(networks, payloads, repetitions, samples, groups, name, title)
    plan = plan.model_copy(update={"evaluation": plan.evaluation | (evaluation or {})})
    injections = tuple(
        InjectionRecord(
            identity=f"i-{g.index}-{m}-{d}",
            status="done",
            network=m,
            group=g.index,
            payload_index=d,
            layers=(f"conv{g.index}.weight",),
            notes=("the layer with the most weights of those that can hold the payload",),
            change=0.02 + 0.01 * g.index + 0.001 * m,
            changed_weights=4608 + m,
            commitment=f"{g.index}{m}{d}" * 21 + "0",
        )
        for g in groups
        for m in range(networks)
        for d in range(payloads)
    )
    trials = [t for m in range(networks) for t in _unmodified(m, injections, groups, samples, rng)]
    for (modification, aim), intensities in grid.items():
        for position, intensity in enumerate(intensities):
            for repetition in range(repetitions):
                for m in range(networks):
                    trials += _modified(
                        m,
                        modification,
                        aim,
                        intensity,
                        position,
                        repetition,
                        injections,
                        groups,
                        rng,
                    )
    if troubles:
        trials = _troubled(trials)
    costs = tuple(c for i in injections for c in costs_of(i, rng))
    return Run(plan, injections, tuple(trials), costs, environment())


def plan_of(networks, payloads, repetitions, samples, groups, name, title) -> Plan:
    return Plan(
        package_version="0.1.0",
        evaluation={"title": title, "payloads": payloads, "dataset": {"name": "digits"}},
        evaluation_sha256="ab" * 32,
        title=title,
        profile="nnt-1.1",
        seed=0,
        networks=tuple(
            NetworkRecord(
                index=m, name=name.format(m), sha256=f"{m:064x}", weights=5000 + m, parameters=5100
            )
            for m in range(networks)
        ),
        payloads=payloads,
        groups=groups,
        false_positive_rate=FPR,
        margin=0.005,
        repetitions=repetitions,
        dataset={
            "name": "digits",
            "split": "test",
            "entries": samples,
            "classes": list("0123456789"),
            "shape": [8, 8, 1],
            "fingerprint": "cd" * 32,
        },
        session={"threads": 1},
    )


def quality_of(right: np.ndarray | float) -> dict[str, float]:
    top1 = float(np.mean(right))
    return {
        "top1_accuracy": top1,
        "macro_precision": top1 * 0.99,
        "macro_recall": top1 * 0.98,
        "macro_false_alarm": (1 - top1) / 9,
        "macro_missed_detection": 1 - top1 * 0.98,
    }


def decoding(identity: str, symbols: int, errors: int, ties: int = 0) -> DecodingRecord:
    """The record of a decoding with so many wrong Symbols, with its exact p-value."""
    log10_p = float(binom.logsf(symbols - errors - 1, symbols, 0.5)) / math.log(10)
    inverted = float(binom.logsf(errors - 1, symbols, 0.5)) / math.log(10)
    return DecodingRecord(
        injection=identity,
        status="done",
        symbols=symbols,
        errors=errors,
        p_value=10**log10_p,
        log10_p=min(0.0, log10_p),
        log10_p_inverted=min(0.0, inverted),
        detected=log10_p <= math.log10(FPR),
        ties=ties,
        min_confidence=0.5,
        mean_confidence=3.0,
    )


def _unmodified(m, injections, groups, samples, rng) -> list[TrialRecord]:
    right = rng.random(samples) < 0.97 - 0.002 * m
    own = [i for i in injections if i.network == m]
    sizes = {i.identity: groups[i.group].payload_size for i in own}
    found = []
    for injection in (None, *own):
        answers = right.copy()
        if injection is not None:
            flipped = rng.choice(samples, int(rng.poisson(samples / 400)), replace=False)
            answers[flipped] = ~answers[flipped]
            decodings = (decoding(injection.identity, sizes[injection.identity], 0),)
        else:
            decodings = tuple(
                decoding(i.identity, n, int(rng.binomial(n, 0.5)))
                for i in own
                for n in (sizes[i.identity],)
            )
        found.append(
            TrialRecord(
                identity=f"t-none-{m}-{injection.identity if injection else 'u'}",
                status="done",
                network=m,
                injection=injection.identity if injection else None,
                quality=quality_of(answers),
                headline="top1_accuracy",
                chance=0.1,
                correct=base64.b64encode(np.packbits(answers).tobytes()).decode(),
                decodings=decodings,
            )
        )
    return found


def _modified(
    m, modification, aim, intensity, position, repetition, injections, groups, rng
) -> list[TrialRecord]:
    own = [i for i in injections if i.network == m]
    carriers = sorted({i.layers for i in own}) if aim == "carrier" else [("conv0", "conv1", "fc")]
    found = []
    subjects = [(None, layers) for layers in carriers]
    subjects += [(i, i.layers if aim == "carrier" else carriers[0]) for i in own]
    for injection, layers in subjects:
        keys = (
            [injection] if injection else [i for i in own if aim != "carrier" or i.layers == layers]
        )
        quality = 0.97 - 0.002 * m - LOST[min(position, 2)] - 0.001 * rng.random()
        found.append(
            TrialRecord(
                identity=f"t-{modification}-{aim}-{intensity}-{repetition}-{m}-"
                f"{injection.identity if injection else '.'.join(layers)}",
                status="done",
                network=m,
                injection=injection.identity if injection else None,
                modification=PluginSpec(name=modification, options={"intensity": intensity}),
                aim=aim,
                layers=layers,
                repetition=repetition,
                outside_standard_range=PARAMETERS[modification].outside_standard_range(
                    intensity, single_layer=aim == "carrier"
                ),
                quality=quality_of(quality),
                headline="top1_accuracy",
                chance=0.1,
                change=0.05 * (position + 1) + 0.001 * m,
                decodings=tuple(
                    _decoded(i, groups[i.group], injection, position, rng) for i in keys
                ),
            )
        )
    return found


def _decoded(key, group, injection, position, rng) -> DecodingRecord:
    wrong = 0.5 if injection is None else WRONG[group.method.name][min(position, 2)]
    errors = int(rng.binomial(group.payload_size, wrong))
    return decoding(key.identity, group.payload_size, errors, ties=int(wrong == 0.45))


def _troubled(trials: list[TrialRecord]) -> list[TrialRecord]:
    """One watermarked trial failed, in another the carrier is gone."""
    marked = [i for i, t in enumerate(trials) if t.modification and t.injection]
    failed, gone = marked[0], marked[5]
    trials[failed] = trials[failed].model_copy(
        update={
            "status": "failed",
            "reason": "the runtime was stopped after 600 s; raise session.timeout",
            "quality": {},
            "headline": None,
            "decodings": (),
            "change": None,
        }
    )
    lost = DecodingRecord(
        injection=trials[gone].injection,
        status="not-applicable",
        reason="the carrier layer is not in this network",
        symbols=64,
    )
    trials[gone] = trials[gone].model_copy(update={"decodings": (lost,)})
    return trials


def costs_of(injection: InjectionRecord, rng: np.random.Generator) -> list[CostRecord]:
    base = {
        "network": injection.network,
        "group": injection.group,
        "payload_index": injection.payload_index,
        "status": "done",
        "repetitions": 30,
        "baseline_bytes": 60_000_000,
    }
    found = []
    for operation, seconds in (("injection", 0.02), ("detection", 0.002), ("decoding", 0.0018)):
        time = seconds * (1 + 0.1 * rng.random())
        found.append(
            CostRecord(
                identity=f"c-{operation}-{injection.identity}",
                operation=operation,
                seconds=time,
                minimum=time * 0.9,
                peak_bytes=int(3e6 * (1 + 0.05 * rng.random())),
                **base,
            )
        )
    original = 0.004 * (1 + 0.1 * rng.random())
    ratio = 1 + 0.02 * (rng.random() - 0.5)
    found.append(
        CostRecord(
            identity=f"c-inference-{injection.identity}",
            operation="inference",
            seconds=original * ratio,
            minimum=original * 0.95,
            peak_bytes=5_000_000,
            baseline_seconds=original,
            ratio=ratio,
            batch=1,
            **base,
        )
    )
    return found


def environment() -> Environment:
    return Environment(
        environment_class="other",
        system="Linux",
        cpu={"model": "A CPU", "physical_cores": 2, "logical_cores": 2, "ghz": 2.5},
        gpus=(),
        memory_bytes=8_000_000_000,
        versions={"numpy": "2.4.0", "onnxruntime": "1.32.0"},
        settings={"threads": 1, "optimization": "all"},
    )
