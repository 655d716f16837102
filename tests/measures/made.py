"""Records made by hand, a few at a time; whole evaluations with invented numbers in `invented`."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from scipy.stats import binom

from nnw_onnx.records import (
    CostRecord,
    DatasetRecord,
    Environment,
    InjectionRecord,
    MeasureRecord,
    NetworkRecord,
    NewMark,
    NullRecord,
    ParameterRecord,
    Plan,
    PluginRecord,
    Scores,
    SettingRecord,
    StepRecord,
    TechnologyRecord,
    TrialRecord,
    VerdictRecord,
)

LEVEL = 1e-6
ACCURACY = MeasureRecord(
    name="top-1 accuracy",
    unit="%",
    low=0,
    high=1,
    negligible=0.005,
    usable_loss=0.05,
)
RECALL = MeasureRecord(
    name="macro recall",
    unit="%",
    low=0,
    high=1,
    negligible=0.005,
    usable_loss=0.1,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make_technology(index=0, method="uchida", bits=64, **fields) -> TechnologyRecord:
    given = {
        "label": f"{method}, {bits} bits" if bits else method,
        "method": PluginRecord(
            name=method, options=fields.pop("options", {}), package="nnw-onnx", version="0.2.0"
        ),
        "payload_size": bits,
        "alphabet": 2 if bits else 0,
        "decodes": bits > 0,
    }
    return TechnologyRecord(index=index, **given | fields)


def make_setting(index=0, name="gaussian-noise", intensities=(0.1, 0.2), **fields) -> SettingRecord:
    """A setting of one step; `family`, `number`, `aim` and `summary` are the step's."""
    step = {k: fields.pop(k) for k in ("family", "number", "aim", "summary") if k in fields}
    parameter = ParameterRecord(letter="S", meaning="strength", unit=fields.pop("unit", ""))
    stronger = fields.pop("stronger", "up")
    given = {
        "label": name,
        "steps": (StepRecord(modification=PluginRecord(name=name), **step),),
        "swept": 0 if intensities else None,
        "parameter": parameter.model_copy(update={"stronger": stronger}) if intensities else None,
        "intensities": intensities,
    }
    return SettingRecord(index=index, **given | fields)


def make_plan(networks=1, payloads=2, technologies=None, settings=(), **fields) -> Plan:
    given = {
        "package_version": "0.2.0",
        "evaluation": {},
        "evaluation_sha256": "00",
        "title": "by hand",
        "seed": 0,
        "task": PluginRecord(name="image-classification"),
        "measures": (ACCURACY,),
        "dataset": make_dataset(),
        "false_positive_rate": LEVEL,
        "repetitions": 1,
        "session": {},
    }
    return Plan(
        networks=tuple(
            NetworkRecord(index=i, name=f"{i}.onnx", sha256="00", weights=1000, parameters=1010)
            for i in range(networks)
        ),
        payloads=payloads,
        technologies=tuple(technologies or (make_technology(),)),
        settings=tuple(settings),
        **given | fields,
    )


def make_dataset(entries=100, shape=(1, 8, 8)) -> DatasetRecord:
    return DatasetRecord(
        plugin=PluginRecord(name="digits"),
        split="test",
        entries=entries,
        shapes={"input": shape},
        digest="00",
    )


def make_injection(network=0, payload=0, technology=0, **fields) -> InjectionRecord:
    given = {
        "identity": f"i-{technology}-{network}-{payload}",
        "status": "done",
        "layers": ("conv1",),
        "change": 0.1,
        "changed_weights": 100,
        "commitment": "c0",
        "symbols": 64,
        "errors": 0,
    }
    return InjectionRecord(
        network=network, technology=technology, payload_index=payload, **given | fields
    )


def make_twin(network=0, technology=0, **fields) -> InjectionRecord:
    given = {"identity": f"twin-{technology}-{network}", "twin": True, "layers": ()}
    return make_injection(
        network, 0, technology, **given | {"change": None, "symbols": None, "errors": None} | fields
    )


def make_null(symbols=64, chance=0.5) -> NullRecord:
    least = symbols * math.log10(chance)
    name = f"Bin({symbols}, {chance:.3g})"
    return NullRecord(name=name, symbols=symbols, chance=chance, log10_least=least)


@cache
def log10_p_of(errors, symbols, chance) -> float:
    """Of so few errors by chance."""
    return min(0.0, float(binom.logsf(symbols - errors - 1, symbols, chance)) / math.log(10))


def make_verdict(
    injection, errors=0, symbols=64, chance=0.5, reads=True, **fields
) -> VerdictRecord:
    """What a Detector of matches says; `status` alone makes one that could not answer."""
    if fields.get("status", "done") != "done":
        return VerdictRecord(injection=injection.identity, **fields)
    log10_p = log10_p_of(errors, symbols, chance)
    given = {
        "status": "done",
        "symbols": symbols if reads else None,
        "errors": errors if reads else None,
        "statistic": symbols - errors,
        "log10_p": log10_p,
        "null": make_null(symbols, chance),
        "detected": log10_p <= math.log10(LEVEL),
    }
    return VerdictRecord(injection=injection.identity, **given | fields)


def make_trial(network=0, injection=None, *verdicts, right=None, **fields) -> TrialRecord:
    """A trial with verdicts; `right` are the answers (n,) bool, from which quality follows."""
    own = injection.identity if injection is not None else None
    place = [fields.get(k, "") for k in ("setting", "intensity", "repetition", "technology")]
    given = {"identity": f"t-{network}-{own}-" + "-".join(map(str, place)), "status": "done"}
    if right is not None:
        given["quality"] = {ACCURACY.name: float(np.mean(right))}
        given["chance"] = 0.1
        given["scores"] = packed(right)
    return TrialRecord(network=network, injection=own, verdicts=verdicts, **given | fields)


def packed(right) -> Scores:
    bits = np.asarray(right, dtype=bool)
    data = base64.b64encode(np.packbits(bits).tobytes()).decode()
    return Scores(form="bits", n=bits.size, data=data)


def floats(values, weights=None) -> Scores:
    def text(numbers):
        return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()

    some = None if weights is None else text(weights)
    return Scores(form="float32", n=len(values), data=text(values), weights=some)


def answers(n=100, wrong=0, first=0) -> np.ndarray:
    """(n,) right answers but `wrong` of them from `first` on."""
    right = np.ones(n, dtype=bool)
    right[first : first + wrong] = False
    return right


@dataclass(frozen=True)
class Made:
    """The records of a whole run."""

    plan: Plan
    injections: tuple[InjectionRecord, ...]
    trials: tuple[TrialRecord, ...]
    costs: tuple[CostRecord, ...] = ()
    environment: Environment | None = None

    @property
    def parts(self):
        """What `build_report` takes."""
        return self.plan, self.injections, self.trials, self.costs, self.environment

    def but(self, **fields) -> Made:
        """The same with other records."""
        return replace(self, **fields)


# What is invented: method, bits, access, by training, strength, and how much each family hurts.
_INVENTED = (
    ("block-spread", 64, "weights", False, 1.4, (0.3, 0.1, 3.0, 0.4, 1.0)),
    ("uchida", 64, "weights", False, 1.0, (0.6, 0.4, 3.0, 1.2, 1.4)),
    ("adi", 100, "answers", True, 1.1, (0.9, 0.5, 0.0, 0.5, 1.0)),
    ("deepsigns", 64, "activations", True, 0.9, (1.0, 1.0, 0.4, 0.9, 1.2)),
    ("uchida", 16, "weights", False, 1.3, (0.4, 0.3, 3.0, 0.8, 1.2)),
    ("block-spread", 256, "weights", False, 1.3, (0.4, 0.2, 3.0, 0.5, 1.0)),
    ("presence", 0, "weights", False, 1.0, (0.6, 0.4, 2.0, 0.7, 1.1)),
)
# Label, name, family, number of the standard, unit, stronger, (intensity, damage, loss) each.
_SETTINGS = (
    ("Gaussian noise", "gaussian-noise", "standard", 0, "σ", "up",
     ((0.1, 0.2, 0.002), (0.2, 0.4, 0.008), (0.3, 0.7, 0.018), (0.5, 1.2, 0.09), (1.0, 2.0, 0.6))),
    ("L1 pruning", "l1-pruning", "standard", 1, "%", "up",
     ((10.0, 0.1, 0.0), (50.0, 0.4, 0.004), (70.0, 0.8, 0.019), (90.0, 1.6, 0.31))),
    ("Random pruning", "random-pruning", "standard", 2, "%", "up",
     ((1.0, 0.1, 0.001), (5.0, 0.3, 0.008), (10.0, 0.6, 0.034), (25.0, 1.2, 0.26))),
    ("Quantizing", "quantizing", "standard", 3, "bits", "down",
     ((8.0, 0.05, 0.0), (4.0, 0.5, 0.006), (3.0, 1.0, 0.037), (2.0, 2.0, 0.62))),
    ("Fine-tuning", "fine-tuning", "standard", 4, "E/E₀", "up",
     ((0.1, 0.6, -0.002), (0.25, 1.0, -0.001), (0.5, 1.4, 0.001))),
    ("Distillation", "distillation", "standard", 5, "epochs", "up",
     ((1.0, 9.0, 0.12), (10.0, 9.0, 0.014))),
    ("Overwriting", "overwriting", "standard", 6, "marks", "up",
     ((2.0, 0.9, 0.002), (3.0, 1.3, 0.003), (4.0, 1.8, 0.006))),
    ("fp16 weights", "float16", "deployment", None, "", "up", ((None, 0.1, 0.0),)),
    ("int8, QDQ", "int8", "deployment", None, "", "up", ((None, 0.5, 0.002),)),
    ("Permutation", "permutation", "preserving", None, "", "up", ((None, 1.0, 0.0),)),
    ("Scaling", "scaling", "preserving", None, "std", "up", ((0.25, 0.7, 0.0), (0.5, 1.1, 0.0))),
    ("Same carrier written over", "carrier-overwriting", "adaptive", None, "marks", "up",
     ((1.0, 0.6, 0.002), (4.0, 1.1, 0.011), (16.0, 1.9, 0.044))),
    ("Fine-pruning", "fine-pruning", "removal", None, "% of channels", "up",
     ((50.0, 0.9, 0.007), (80.0, 1.5, 0.029), (96.0, 2.2, 0.095))),
)  # fmt: skip
_FAMILY = ("standard", "deployment", "preserving", "adaptive", "removal")


@dataclass(frozen=True)
class _Inventor:
    """Invents the records of an evaluation; every number comes from the seed."""

    plan: Plan
    samples: int
    rng: np.random.Generator
    right: dict[int, np.ndarray] = field(default_factory=dict)

    def network(self, network, loss) -> np.ndarray:
        """The answers of a network that lost so much; None is the one before anything."""
        if network not in self.right:
            self.right[network] = self.rng.random(self.samples) < 0.94 - 0.003 * network
        base = self.right[network]
        if loss is None:
            return base
        lost = base & (self.rng.random(self.samples) < max(0.0, loss) / 0.94 + 0.001)
        gained = ~base & (self.rng.random(self.samples) < 0.015 + max(0.0, -10 * loss))
        return (base & ~lost) | gained

    def verdict(self, injection, record, damage) -> VerdictRecord:
        chance = 0.1 if record.method.name == "adi" else 0.5
        symbols = record.payload_size or 64
        rate = (1 - chance) / (1 + math.exp(-5.0 * (damage - 1.75)))
        errors = int(self.rng.binomial(symbols, min(1.0, rate if damage > 0.3 else 0.0)))
        return make_verdict(injection, errors, symbols, chance, record.decodes)

    def foreign(self, injection, record) -> VerdictRecord:
        chance = 0.1 if record.method.name == "adi" else 0.5
        symbols = record.payload_size or 64
        errors = int(self.rng.binomial(symbols, 1 - chance))
        return make_verdict(injection, errors, symbols, chance, record.decodes)


def invented(
    technologies=2,
    settings=7,
    networks=3,
    payloads=3,
    samples=1000,
    seed=0,
    attacked=True,
    **fields,
) -> Made:
    """A whole evaluation with invented numbers in which most kinds of cells occur.

    Nothing but the seed decides. `invented(20, 30, 5, 3)` is the large one. The last setting is
    what all methods name as the attack of somebody who knows them, or none is (`attacked`).
    """
    kinds = [_INVENTED[i % len(_INVENTED)] for i in range(technologies)]
    rows = [_SETTINGS[i % len(_SETTINGS)] for i in range(settings)]
    plan = make_plan(
        networks,
        payloads,
        [_technology(i, kind) for i, kind in enumerate(kinds)],
        [
            _setting(i, row).model_copy(
                update={"adaptive": tuple(range(technologies * (attacked and i == settings - 1)))}
            )
            for i, row in enumerate(rows)
        ],
        title="Invented numbers",
        dataset=make_dataset(samples),
        **fields,
    )
    inventor = _Inventor(plan, samples, generator(seed))
    injections = [
        *(
            make_injection(n, d, t.index, symbols=t.payload_size or None, training=_training(t))
            for t in plan.technologies
            for n in range(networks)
            for d in range(payloads)
        ),
        *(
            make_twin(n, t.index, training=_training(t, twin=True))
            for t in plan.technologies
            if t.training
            for n in range(networks)
        ),
    ]
    trials = [*_unmodified(inventor, injections)]
    for setting, row in zip(plan.settings, rows, strict=True):
        for intensity, damage, loss in row[-1]:
            trials += _modified(inventor, injections, kinds, setting, intensity, damage, loss)
    return Made(plan, tuple(injections), tuple(trials), tuple(_costs(inventor)), ENVIRONMENT)


def _technology(index, kind) -> TechnologyRecord:
    method, bits, access, trained, strength, _ = kind
    options = {"margin": strength} if index < len(_INVENTED) else {"margin": index}
    label = f"{method}, {bits} bits" if bits else method
    return make_technology(
        index,
        method,
        bits,
        label=label if index < len(_INVENTED) else f"{label}, margin {index}",
        options=options,
        access=access,
        training={"method": method, "epochs": 4} if trained else None,
        imperceptibility="NNW-WTI" if trained else "NNW-NTI",
        robustness="NNW-NIR" if access == "weights" else "NNW-WIR",
    )


def _setting(index, row) -> SettingRecord:
    label, name, family, number, unit, stronger, levels = row
    again = index // len(_SETTINGS)
    return make_setting(
        index,
        name,
        tuple(i for i, _, _ in levels if i is not None),
        label=f"{label}, form {again + 1}" if again else label,
        family=family,
        number=number,
        unit=unit,
        stronger=stronger,
        summary=f"{label}, with invented numbers",
    )


def _training(technology, twin=False):
    if technology.training is None:
        return None
    epochs = tuple(
        {
            "number": k + 1,
            "loss": 0.5 / (k + 1),
            "penalty": None if twin else 0.2 / (k + 1),
            "symbol_error_rate": None if twin else max(0.0, 0.4 - 0.2 * k),
        }
        for k in range(4)
    )
    return {"epochs": epochs, "batches": 400, "epochs_to_inject": None if twin else 3}


def _unmodified(inventor, injections):
    for n in range(len(inventor.plan.networks)):
        own = [i for i in injections if i.network == n]
        foreign = _foreign(inventor, own)
        controls = tuple(
            {
                "technology": t.index,
                "keys": 1000,
                "detected": 0,
                "below": tuple(
                    int(inventor.rng.binomial(1000, p)) for p in (0.09, 0.009, 9e-4, 9e-5)
                ),
                "log10_least": -3.2,
                "errors": 32000 + int(inventor.rng.integers(-90, 90)),
                "symbols": 64000,
            }
            for t in inventor.plan.technologies
            if t.access == "weights"
        )
        right = inventor.network(n, None)
        yield make_trial(n, None, *foreign, right=right, controls=controls)
        for i in own:
            record = inventor.plan.technologies[i.technology]
            said = () if i.twin else (inventor.verdict(i, record, 0.0),)
            yield make_trial(n, i, *said, right=inventor.network(n, 0.0005))


def _foreign(inventor, own):
    technologies = inventor.plan.technologies
    return [inventor.foreign(i, technologies[i.technology]) for i in own if not i.twin]


def _modified(inventor, injections, kinds, setting, intensity, damage, loss):
    family = _FAMILY.index(setting.steps[0].family)
    place = {
        "setting": setting.index,
        "intensity": intensity,
        "outside_standard_range": setting.steps[0].number == 1 and (intensity or 0) > 80,
    }
    for n in range(len(inventor.plan.networks)):
        own = [i for i in injections if i.network == n and not i.twin]
        yield make_trial(
            n, None, *_foreign(inventor, own), right=inventor.network(n, loss), **place
        )
        for i in own:
            record, kind = inventor.plan.technologies[i.technology], kinds[i.technology]
            right = inventor.network(n, loss + 0.001)
            if damage > 8 and record.access != "answers":
                said = make_verdict(i, status="not-applicable", reason="no such layer")
            else:
                hurt = 1.6 * min(damage, 3.0) * (0.35 + kind[5][family]) / kind[4]
                said = inventor.verdict(i, record, hurt)
            yield _mishap(make_trial(n, i, said, right=right, change=0.1, **place), setting, i)


def _mishap(trial, setting, injection):
    """The trial, or what became of it where something goes wrong in the invented world."""
    at = (setting.steps[0].modification.name, injection.technology)
    if at[0] == "overwriting":
        errors = 20 if at[1] == 1 else 0
        return trial.model_copy(update={"new_marks": (NewMark(symbols=64, errors=errors),)})
    if at == ("fine-tuning", 0) and injection.network > 0 and trial.intensity == 0.5:
        return _not_done(trial, "skipped", "out of time: training stopped after 600 s")
    if at == ("float16", 3):
        return _not_done(trial, "failed", "the activation that is read was fused away")
    if at == ("fine-pruning", 2):
        return _not_done(trial, "not-applicable", "the Payload is read from answers")
    if at == ("carrier-overwriting", 4):
        return _not_done(trial, "skipped", "out of time: the limit of 6 hours was reached")
    return trial


def _not_done(trial, status, reason):
    nothing = {"quality": {}, "scores": None, "verdicts": (), "change": None, "chance": None}
    return trial.model_copy(update={"status": status, "reason": reason} | nothing)


def _costs(inventor):
    rng = inventor.rng
    for t in inventor.plan.technologies:
        for n in range(len(inventor.plan.networks)):
            for d in range(inventor.plan.payloads):
                scale = (1 + 0.3 * t.index) * (1 + 0.1 * n)
                yield from (
                    CostRecord(
                        identity=f"c-{operation}-{t.index}-{n}-{d}",
                        status="done",
                        operation=operation,
                        network=n,
                        technology=t.index,
                        payload_index=d,
                        seconds=seconds * scale * (1 + 0.02 * rng.random()),
                        minimum=seconds * scale * 0.98,
                        repetitions=30,
                        peak_bytes=None if operation == "inference" else int(4e5 * scale),
                        baseline_bytes=None if operation == "inference" else int(9e7),
                        baseline_seconds=0.018 if paired else None,
                        ratio=1 + 0.02 * rng.standard_normal() if paired else None,
                        batch=32 if paired else None,
                    )
                    for operation, seconds in (
                        ("injection", 0.02),
                        ("detection", 0.0011),
                        ("decoding", 0.001),
                        ("inference", 0.018),
                    )
                    for paired in [
                        operation == "inference" or (operation == "injection" and bool(t.training))
                    ]
                )


ENVIRONMENT = Environment(
    environment_class="other",
    system="Linux",
    cpu={"model": "an invented one", "physical_cores": 2, "logical_cores": 4},
    gpus=(),
    memory_bytes=25_300_000_000,
    versions={"python": "3.11", "nnw-onnx": "0.2.0"},
    settings={"threads": 1},
)
