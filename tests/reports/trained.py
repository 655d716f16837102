"""A run that never was, of watermarks put in by training and of Modifications that train.

Technology 0 is static; 1 and 2 are put in by the same training and share their twins; 2 is read
from what the network says.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np

from nnw_onnx.records import (
    CostRecord,
    DecodingRecord,
    EpochRecord,
    Group,
    InjectionRecord,
    NewMark,
    PluginSpec,
    TrainingRecord,
    TrialRecord,
)
from nnw_onnx.vocabulary import Parameter

from .synthetic import Run, costs_of, decoding, environment, plan_of, quality_of

RECIPE = {
    "start": "trained",
    "epochs": 6.0,
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "schedule": "linear",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.0005,
    "augmentation": "none",
}
PARAMETERS = {
    "fine-tuning": Parameter("E", "epochs / epochs of the initial training", "ratio", 0.0, 0.5),
    "distillation": Parameter("E", "epochs of the student", "epochs", 1, 100),
    "overwriting": Parameter("W", "further watermarks", "watermarks", 2, 4),
}
METHODS = ("block-spread", "uchida", "adi")
TRAINED = (1, 2)
SYMBOLS = 64
NETWORKS, PAYLOADS, SAMPLES = 3, 2, 4000
# Quality of the original, what the training alone costs, and what the watermark costs.
ORIGINAL, TRAINING, MARK = 0.90, 0.02, 0.001
FINE_TUNING = {0.001: (0.0, 0.0), 0.01: (0.0, 0.02), 0.1: (0.05, 0.3)}
"""Learning rate -> share of wrong Symbols at the two Intensities."""
NEVER_IN = (2, 1)
"""Network and Payload of the watermark of technology 2 that is not in at the end."""


def make_trained_run(*, twins: bool = True, workflows: tuple[str, ...] | None = None) -> Run:
    """All records; without twins, or with fewer workflows, where that is asked for."""
    rng = np.random.default_rng(11)
    groups = tuple(_group(i) for i in range(len(METHODS)))
    plan = plan_of(NETWORKS, PAYLOADS, 1, SAMPLES, groups, "cnn-{}.onnx", "Trained run")
    if workflows is not None:
        plan = plan.model_copy(update={"workflows": workflows})
    injections = tuple(_injections(groups, twins))
    marks = [i for i in injections if not i.twin]
    trials = [t for m in range(NETWORKS) for t in _unmodified(m, injections, rng)]
    trials += [t for cell in _cells() for m in range(NETWORKS) for t in _modified(m, marks, *cell)]
    costs = tuple(c for i in marks for c in _costs(i, rng))
    return Run(plan, injections, tuple(trials), costs, environment())


def _group(index: int) -> Group:
    trained = index in TRAINED
    return Group(
        index=index,
        method=PluginSpec(name=METHODS[index]),
        payload_size=SYMBOLS,
        label=f"{METHODS[index]}, {SYMBOLS} bits{', by training' if trained else ''}",
        imperceptibility="NNW-WTI" if trained else "NNW-NTI",
        robustness="NNW-WIR" if index == 2 else "NNW-NIR",
        training=RECIPE if trained else None,
    )


def _injections(groups: tuple[Group, ...], twins: bool) -> Iterator[InjectionRecord]:
    for m in range(NETWORKS if twins else 0):
        yield InjectionRecord(
            identity=f"twin-{m}",
            status="done",
            network=m,
            group=1,
            payload_index=0,
            twin=True,
            training=_training(m, None, easier=0.1),
        )
    for g in groups:
        for m in range(NETWORKS):
            for d in range(PAYLOADS):
                never = g.index == 2 and (m, d) == NEVER_IN
                yield InjectionRecord(
                    identity=f"i-{g.index}-{m}-{d}",
                    status="done",
                    network=m,
                    group=g.index,
                    payload_index=d,
                    layers=(f"conv{g.index}.weight",),
                    change=0.05 + 0.01 * m,
                    changed_weights=4608,
                    errors=(2 if never else 0) if g.training else None,
                    training=_training(m, None if never else 2 + m + d) if g.training else None,
                )


def _training(m: int, needed: int | None, epochs: int = 6, easier: float = 0.0) -> TrainingRecord:
    """Errors halve from epoch to epoch and are gone after `needed`."""
    return TrainingRecord(
        epochs=tuple(
            EpochRecord(
                number=e,
                loss=0.5 + 1.0 / e + 0.05 * m - easier,
                penalty=None if needed is None else 0.5 / e,
                quality=min(0.99, 0.7 + 0.05 * e - 0.01 * m),
                symbol_error_rate=None
                if needed is None
                else 0.0
                if e >= needed
                else round(0.5 ** (e + 1) * SYMBOLS) / SYMBOLS,
            )
            for e in range(1, epochs + 1)
        ),
        batches=epochs * 391,
        epochs_to_inject=needed,
        device="NVIDIA H100",
    )


def _unmodified(m: int, injections: tuple[InjectionRecord, ...], rng) -> Iterator[TrialRecord]:
    own = [i for i in injections if i.network == m]
    right = rng.random(SAMPLES) < ORIGINAL - 0.002 * m
    trained = _changed(right, TRAINING, rng)
    keys = [i for i in own if not i.twin]
    yield _plain(m, None, right, [_read(i, 0.5, rng) for i in keys])
    for i in own:
        base = trained if i.twin or i.group in TRAINED else right
        answers = base if i.twin else _changed(base, MARK, rng)
        wrong = 2 / SYMBOLS if i.errors else 0.0
        yield _plain(m, i.identity, answers, [] if i.twin else [_read(i, wrong, None)])


def _changed(right: np.ndarray, share: float, rng) -> np.ndarray:
    """So many fewer right answers, with as many again exchanged."""
    out = right.copy()
    count = round(share * SAMPLES)
    out[rng.choice(np.flatnonzero(right), 2 * count, replace=False)] = False
    out[rng.choice(np.flatnonzero(~right), count, replace=False)] = True
    return out


def _plain(m, injection, answers, decodings) -> TrialRecord:
    return TrialRecord(
        identity=f"t-none-{m}-{injection or 'u'}",
        status="done",
        network=m,
        injection=injection,
        quality=quality_of(answers),
        headline="top1_accuracy",
        chance=0.1,
        correct=base64.b64encode(np.packbits(answers).tobytes()).decode(),
        decodings=tuple(decodings),
    )


def _read(key: InjectionRecord, wrong: float, rng) -> DecodingRecord:
    """So many Symbols wrong, on average where there is a generator."""
    errors = round(wrong * SYMBOLS) if rng is None else int(rng.binomial(SYMBOLS, wrong))
    return decoding(key.identity, SYMBOLS, errors)


def _gone(key: InjectionRecord) -> DecodingRecord:
    return DecodingRecord(
        injection=key.identity,
        status="not-applicable",
        reason="the carrier layer is not in this network",
        symbols=SYMBOLS,
    )


def _cells() -> Iterator[tuple[str, dict, float, float, int]]:
    """Modification, options, Intensity, share of wrong Symbols, position in its sweep."""
    for rate, shares in FINE_TUNING.items():
        for position, intensity in enumerate((0.1, 0.5)):
            yield "fine-tuning", {"learning_rate": rate}, intensity, shares[position], position
    yield "fine-tuning", {"reinitialise": True, "transfer": True}, 0.5, 0.01, 0
    yield "distillation", {"student": "nnw:fast"}, 5.0, 0.5, 0
    yield "distillation", {"student": "nnw:fast"}, 20.0, 0.5, 1
    for position, count in enumerate((2, 3, 4)):
        yield "overwriting", {"learning_rate": 0.01}, float(count), 0.01 * position, position


def _modified(
    m: int,
    marks: list[InjectionRecord],
    name: str,
    options: dict,
    intensity: float,
    wrong: float,
    position: int,
) -> Iterator[TrialRecord]:
    rng = np.random.default_rng([m, position, len(name)])
    own = [i for i in marks if i.network == m]
    apart = [[i for i in own if i.group == g] for g in range(len(METHODS))]
    controls = apart if name == "overwriting" else [own]
    subjects = [(None, keys) for keys in controls] + [(i, [i]) for i in own]
    for injection, keys in subjects:
        group = keys[0].group if name == "overwriting" else None
        marked = "u" if injection is None else injection.identity
        yield TrialRecord(
            identity=f"t-{name}-{sorted(options.items())}-{intensity}-{m}-{marked}-{group}".replace(
                " ", ""
            ).translate(str.maketrans("'()[],:", "_______"))[:64],
            status="done",
            network=m,
            injection=injection and injection.identity,
            modification=PluginSpec(name=name, options={**options, "intensity": intensity}),
            aim="all",
            layers=("conv0", "conv1", "fc"),
            quality=quality_of(0.88 - 0.002 * m - 0.01 * position),
            headline="top1_accuracy",
            chance=0.1,
            change=None if name == "distillation" else 0.2 + 0.01 * m,
            decodings=tuple(
                _gone(k)
                if name == "distillation" and k.group < 2
                else _read(k, 0.5, rng)
                if injection is None
                else _read(k, wrong, None)
                for k in keys
            ),
            new_marks=_new_marks(injection, m, int(intensity)) if name == "overwriting" else (),
            facts={"epochs": 10 * intensity, "last loss": 0.3 + 0.02 * m, "schedule": "linear"},
            quality_of="cifar100" if options.get("transfer") else None,
            group=group,
        )


def _new_marks(injection: InjectionRecord | None, m: int, count: int) -> tuple[NewMark, ...]:
    """Of technology 1 a quarter of the new Symbols is wrong from three watermarks on."""
    void = injection is not None and injection.group == 1 and count > 2
    return tuple(NewMark(symbols=SYMBOLS, errors=14 + m if void else 0) for _ in range(count))


def _costs(injection: InjectionRecord, rng) -> list[CostRecord]:
    found = costs_of(injection, rng)
    if injection.group not in TRAINED:
        return found
    plain = 0.02 * (1 + 0.05 * rng.random())
    ratio = 1.1 + 0.02 * rng.random()
    changes = {
        "seconds": plain * ratio,
        "minimum": plain,
        "baseline_seconds": plain,
        "ratio": ratio,
        "batch": 128,
        "device": "NVIDIA H100",
        "device_peak_bytes": 900_000_000 + 1_000_000 * injection.network,
        "peak_bytes": 1_200_000_000,
    }
    return [found[0].model_copy(update=changes), *found[1:]]
