"""Reports that no run made, value by value: 2 x 7 and 20 x 30, with every kind of cell in them.

No number here was measured. The measures have tests of their own; these reports are for the room
that draws, so that it is tested with what a run seldom has.
"""

# ruff: noqa: E501 - the table of Modifications is read by its columns

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binom

from nnw_onnx.measures import families
from nnw_onnx.measures.matrix import columns
from nnw_onnx.measures.results import (
    BaseQuality,
    Cell,
    Control,
    ControlLevel,
    Cost,
    Detectability,
    EpochMean,
    Imperceptibility,
    InjectionSummary,
    Level,
    PairResult,
    Point,
    QualityRow,
    Setting,
    Share,
    Tally,
    Technology,
    Training,
    Value,
)
from nnw_onnx.measures.resynchronised import Resynchronised
from nnw_onnx.records import (
    DatasetRecord,
    Environment,
    MeasureRecord,
    NetworkRecord,
    ParameterRecord,
    PluginRecord,
    StepRecord,
    TechnologyRecord,
)
from nnw_onnx.reports.model import (
    Completeness,
    MethodNote,
    Notice,
    Report,
    Reproducibility,
    SettingCounts,
)

ALPHA = 1e-6
UNATTACKED = ("few", "emmark", "fingerprint")
"""Methods that name no attack of somebody who knows them."""
ACCURACY = MeasureRecord(
    name="top-1 accuracy", unit="%", low=0, high=1, chance=0.1, negligible=0.005, usable_loss=0.05
)
RECALL = ACCURACY.model_copy(update={"name": "macro recall"})
PSNR = MeasureRecord(name="PSNR", unit="dB", negligible=0.1, usable_loss=1.0)
PERPLEXITY = MeasureRecord(
    name="perplexity", unit="", better="lower", low=1, negligible=0.5, usable_loss=5
)
NOTHING = Value.missing("not measured")
# code, name, family, unit, Intensities, damage and loss of the unwatermarked network (points) by
# Intensity, how many of them are inside the standard's range.
MODIFICATIONS = (
    ("0", "Gaussian noise", "standard", "σ", (0.1, 0.2, 0.3, 0.5, 1), (0.2, 0.4, 0.6, 1, 1.8), (0.1, 0.5, 1.2, 8, 55), 3),
    ("1a", "L1 pruning, all layers", "standard", "%", (10, 50, 70, 90), (0.1, 0.4, 0.7, 1.4), (0, 0.4, 1.9, 31), 4),
    ("1b", "L1 pruning, carrier layer", "standard", "%", (90, 95, 99, 99.9), (0.7, 0.9, 1.5, 2.6), (0.6, 1.4, 4.1, 12), 4),
    ("2", "Random pruning", "standard", "%", (1, 5, 10, 25), (0.1, 0.2, 0.5, 1), (0.1, 0.8, 3.4, 26), 3),
    ("3", "Quantizing", "standard", "bits", (8, 4, 3, 2), (0.05, 0.5, 0.9, 1.9), (0, 0.6, 3.7, 62), 4),
    ("4a", "Fine-tuning, rate 0.01", "standard", "E/E₀", (0.1, 0.25, 0.5), (0.5, 0.8, 1.1), (-0.2, -0.1, 0.1), 3),
    ("4b", "Fine-tuning RTAL, rate 0.1", "standard", "E/E₀", (0.1, 0.5), (1.3, 2), (1.4, 2.2), 2),
    ("4c", "Transfer to other classes", "standard", "E/E₀", (0.1, 0.5), (0.9, 1.5), (None, None), 2),
    ("5", "Distillation, 50,000 samples", "standard", "epochs", (10, 50, 100), (1, 1.2, 1.3), (3.2, 1.6, 1.1), 3),
    ("6", "Overwriting", "standard", "marks", (2, 3, 4), (0.8, 1.2, 1.6), (0.3, 0.5, 0.9), 3),
    ("D1", "float16 weights", "deployment", "", (None,), (0.3,), (0,), 1),
    ("D2", "bfloat16 weights", "deployment", "", (None,), (0.4,), (0,), 1),
    ("D3", "int8, per channel, QDQ", "deployment", "", (None,), (0.7,), (0.2,), 1),
    ("D4", "int4, blocks of 32", "deployment", "", (None,), (0.6,), (1.1,), 1),
    ("D5", "Batch-norm folding", "deployment", "", (None,), (0.9,), (0,), 1),
    ("D6", "Graph optimisation", "deployment", "level", (1, 2, 3), (0.9, 0.9, 0.95), (0, 0, 0), 3),
    ("D7", "JPEG of the inputs", "deployment", "quality", (90, 70, 50, 30), (0, 0.05, 0.1, 0.2), (0.1, 0.6, 1.8, 6), 4),
    ("F1", "Permutation", "preserving", "", (None,), (1,), (0,), 1),
    ("F1r", "Permutation, re-synchronised", "preserving", "", (None,), (0.2,), (0,), 1),
    ("F2", "Scaling, log-normal", "preserving", "std", (0.25, 0.5, 1), (0.7, 1.1, 1.6), (0, 0, 0), 3),
    ("F2r", "Scaling, re-synchronised", "preserving", "std", (0.25, 0.5, 1), (0.2, 0.3, 0.5), (0, 0, 0), 3),
    ("F3", "Sign flips", "preserving", "% of filters", (10, 50), (0.4, 1.2), (0, 0), 2),
    ("F3r", "Sign flips, re-synchronised", "preserving", "% of filters", (10, 50), (0.2, 0.3), (0, 0), 2),
    ("A1", "Same carrier written over", "adaptive", "marks", (1, 4, 16), (0.5, 0.9, 1.5), (0.2, 1.1, 4.4), 3),
    ("A2", "Subspace projected out", "adaptive", "% of energy", (10, 50, 90), (0.6, 1, 1.6), (0.4, 2.7, 38), 3),
    ("A3", "Collusion, average of copies", "adaptive", "copies", (2, 3), (0.4, 0.6), (0, 0), 2),
    ("R1", "Fine-pruning", "removal", "% of channels", (50, 80, 96), (0.8, 1.3, 2), (0.7, 2.9, 9.5), 3),
    ("R2", "Weight shifting, then tuning", "removal", "λ", (1, 1.5), (1.2, 1.7), (1, 1.8), 2),
    ("S1", "Stack: prune 50, tune 0.25", "removal", "", (None,), (1.2,), (0.3,), 1),
    ("S2", "Stack: noise 0.5, int8", "removal", "", (None,), (1,), (9.1,), 1),
)  # fmt: skip
# method, bits, options, by training, what it reads, strength against damage
TECHNOLOGIES = (
    ("block-spread", 256, {}, False, "weights", 1.6),
    ("uchida", 64, {"margin": 2}, False, "weights", 1.0),
    ("block-spread", 64, {}, False, "weights", 1.3),
    ("uchida", 256, {"margin": 2}, False, "weights", 1.0),
    ("block-spread", 1024, {}, False, "weights", 0.8),
    ("uchida", 64, {"margin": 1}, False, "weights", 0.7),
    ("uchida", 64, {"margin": 2}, True, "weights", 1.1),
    ("few", 64, {}, False, "weights", 0.9),
    ("spread-transform", 64, {}, False, "weights", 0.75),
    ("constant-weight-code", 64, {}, False, "weights", 0.6),
    ("greedy-residuals", 64, {}, False, "weights", 0.65),
    ("functional-invariants", 64, {}, False, "weights", 0.7),
    ("mantissa", 128, {}, False, "weights", 0.25),
    ("emmark", 100, {}, False, "weights", 0.45),
    ("deepsigns", 64, {}, True, "activations", 0.8),
    ("tartaglione", 64, {}, True, "weights", 0.9),
    ("adi", 100, {}, True, "answers", 0.9),
    ("entangled", 0, {}, True, "answers", 1.2),
    ("fingerprint", 0, {}, False, "answers", 1.0),
    ("uchida", 16, {"margin": 2}, False, "weights", 1.2),
)
REASONS = {
    "n/a": "The carrier does not exist in a network that starts from fresh weights.",
    "void": "The overwriting is none: the last new watermark has a Symbol Error Rate of 11 %.",
    "failed": "Training of the student stopped: the loss is not a number (network 1).",
    "not run": "Out of time: the limit of 600 s was reached (networks 2 and 3).",
    "undetectable": "16 Symbols reach p = 1.5e-5 at best: no network could be found at 1e-6.",
    "undecided": "13 of 15 watermarked networks were tested: the others could tip the verdict.",
}


@dataclass
class Maker:
    """Makes one report."""

    technologies: tuple = TECHNOLOGIES
    modifications: tuple = MODIFICATIONS
    networks: int = 5
    payloads: int = 3
    measures: tuple = (ACCURACY, RECALL)
    scale: float = 0.01
    title: str = "Image classifiers, 20 technologies"
    seed: int = 7
    rename: str = "{}"
    notes: list = field(default_factory=list)
    again: list = field(default_factory=list)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.n = self.networks * self.payloads
        self.headline = self.measures[0]
        self.base = 0.9341 if self.headline.unit == "%" else 31.4

    def report(self) -> Report:
        settings = tuple(self.setting(i, row) for i, row in enumerate(self.modifications))
        points, cells, technologies = [], [], []
        for t, row in enumerate(self.technologies):
            mine = [self.points(t, row, s) for s in settings]
            # Apart, so that the other numbers stay what they are.
            drawn, self.rng = self.rng, np.random.default_rng(t)
            self.again += self.put_back(row, settings, mine)
            self.rng = drawn
            points += [p for group in mine for p in group]
            cells += [self.cell(t, s, group) for s, group in zip(settings, mine, strict=True)]
            technologies.append(self.technology(t, row, settings, mine))
        usable = sum(level.counts for s in settings for level in s.levels)
        order = columns(
            [technology.tally for technology in technologies],
            [technology.attacked for technology in technologies],
        )
        total = sum(len(s.levels) for s in settings)
        return Report(
            standard="Implements the procedures of NNW-NNT V1.1. No certification, no judgement.",
            title=self.rename.replace("{}", self.title),
            networks=tuple(
                NetworkRecord(
                    index=i,
                    name=f"cnn-{i}.onnx",
                    sha256="ab" * 32,
                    weights=148_000,
                    parameters=148_500,
                )
                for i in range(self.networks)
            ),
            payloads=self.payloads,
            repetitions=1,
            workflows=("NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR"),
            false_positive_rate=ALPHA,
            survival=0.95,
            measures=self.measures,
            guard=self.measures[1].name if len(self.measures) > 1 else None,
            base=tuple(
                BaseQuality(
                    measure=m.name,
                    quality=Value(value=self.base, networks=self.networks),
                    lowest=self.base - 0.23 * self.scale,
                    highest=self.base + 0.25 * self.scale,
                    chance=m.chance,
                )
                for m in self.measures
            ),
            dataset=DatasetRecord(
                plugin=PluginRecord(name="digits"),
                split="test",
                entries=898,
                shapes={"input": (1, 8, 8)},
                digest="cd" * 32,
            ),
            dataset_sizes=(),
            technologies=tuple(technologies),
            order=tuple(order),
            settings=settings,
            rows=tuple(range(len(settings))),
            counts=SettingCounts(
                total=total,
                usable=usable,
                unusable=total - usable,
                undecided=0,
                elsewhere=2,
                outside=3,
            ),
            rankings=(),
            cells=tuple(cells),
            notes=tuple(self.notes),
            points=tuple(points),
            resynchronised=tuple(self.again),
            completeness=Completeness(
                tests_planned=9, tests_found=9, injections_planned=9, injections_done=9, missing=()
            ),
            notices=(
                Notice(
                    code="dataset-size",
                    name="data set too small",
                    text="0.04 samples for each Weight; the standard asks for 10.",
                ),
                Notice(
                    code="outside-standard-range",
                    name="3 settings outside the standard's range",
                    text="They are run and marked †, never refused.",
                    details=("Gaussian noise 0.5", "Gaussian noise 1", "Random pruning 25"),
                ),
            ),
            environment=Environment(
                environment_class="other",
                system="Linux",
                cpu={"model": "x86-64", "physical_cores": 2},
                gpus=(),
                memory_bytes=25_300_000_000,
                versions={"numpy": "2.4.6"},
                settings={"threads": 1},
            ),
            configuration={"title": self.title},
            method=(MethodNote(clause="Robustness", text="On all M (D + 1) networks."),),
            reproducibility=Reproducibility(
                package_version="0.1.0",
                seed=0,
                evaluation_sha256="ef" * 32,
                records_sha256="01" * 32,
                plugins={"methods uchida": "nnw-onnx 0.1.0"},
                sources={},
            ),
        )

    def setting(self, index: int, row: tuple) -> Setting:
        code, name, family, unit, intensities, _, losses, inside = row
        levels = tuple(
            Level(
                intensity=intensity,
                outside=k >= inside,
                usability="elsewhere" if loss is None else "usable" if loss <= 5 else "unusable",
                loss=NOTHING if loss is None else Value(value=loss * self.scale, networks=5),
                quality=Value(value=self.base - (loss or 0) * self.scale, networks=5),
                quality_of="other" if loss is None else None,
            )
            for k, (intensity, loss) in enumerate(zip(intensities, losses, strict=True))
        )
        parameter = (
            None if intensities[0] is None else ParameterRecord(letter="S", meaning=name, unit=unit)
        )
        return Setting(
            index=index,
            code=code,
            label=self.rename.replace("{}", name),
            family=family,
            steps=(StepRecord(modification=PluginRecord(name="x"), family=family),),
            parameter=parameter,
            copies=3 if code == "A3" else 1,
            trains=code[0] in "45",
            levels=levels,
        )

    def missing(self, t: int, row: tuple, setting: Setting) -> str | None:
        """A status without points."""
        method, code = row[0], setting.code
        if code == "5" and row[4] == "weights":
            return "n/a"
        if method in ("constant-weight-code", "greedy-residuals") and code == "6":
            return "void"
        if method == "deepsigns" and code in ("D5", "D6"):
            return "failed"
        return "not run" if method == "tartaglione" and code in ("A1", "A3", "R2") else None

    def points(self, t: int, row: tuple, setting: Setting) -> list[Point]:
        gone = self.missing(t, row, setting)
        damages = self.modifications[setting.index][5]
        made = []
        for k, (level, damage) in enumerate(zip(setting.levels, damages, strict=True)):
            common = {"technology": t, "setting": setting.index, "level": k}
            if gone:
                made.append(self.point(row, status=gone, reason=REASONS[gone], tested=0, **common))
                continue
            x = damage * 1.35 / row[5]
            loss = (
                None
                if level.loss.value is None
                else level.loss.value
                + self.rng.normal(0, (0.1 + 0.04 * abs(level.loss.value / self.scale)) * self.scale)
            )
            made.append(self.point(row, x=x, loss=loss, level_=level, **common))
        return made

    def point(
        self, row, *, x=0.0, loss=None, level_=None, status=None, reason=None, tested=None, **common
    ):
        bits = row[1]
        rate = 0.5 / (1 + math.exp(-5.0 * (x - 1.75))) * self.rng.uniform(0.8, 1.2)
        rate = 0.0 if rate < 0.01 else min(0.55, rate)
        symbols = bits or 64
        log10_p = binom.logsf(symbols - round(rate * symbols) - 1, symbols, 0.5) / math.log(10)
        tested = self.n if tested is None else tested
        if row[0] == "few" and common.get("setting") == 6:
            tested -= 2
        known = row[0] != "fingerprint"
        found = tested if log10_p <= math.log10(ALPHA) else round(tested * max(0, 0.6 - rate))
        if status is None:
            status = "survives" if found >= 0.95 * self.n else "lost"
            if found == tested < self.n:
                status, reason = "undecided", REASONS["undecided"]
            if bits == 16:
                status, reason, found = "undetectable", REASONS["undetectable"], 0
        none = tested == 0

        def value(v, half=0.0):
            if none or v is None:
                return NOTHING
            return Value(
                value=v, low=v - half, high=v + half, confidence=0.9, method="two-way", networks=5
            )

        intensity = level_.intensity if level_ else None
        return Point(
            technology=common["technology"],
            setting=common.get("setting"),
            level=common.get("level"),
            intensity=intensity,
            status=status,
            reason=reason,
            found=found,
            tested=tested,
            expected=self.n,
            found_rate=value(found / max(1, tested)),
            missed_rate=value(1 - found / max(1, tested)),
            false_alarm_rate=value(0.0),
            fn_ratio=Share(events=tested - found, of=20, value=(tested - found) / 20),
            fp_ratio=Share(events=0, of=20, value=0.0),
            ser=value(rate if bits else None),
            ser_unwatermarked=value(0.5 + self.rng.normal(0, 0.03) if bits else None),
            ser_all=NOTHING,
            bit_errors=NOTHING,
            log10_p=value(log10_p if known else None),
            log10_p_unwatermarked=value(-0.4 if known else None),
            loss=value(loss, (0.3 * self.scale) if loss is not None else 0),
            loss_unwatermarked=value(level_.loss.value if level_ else None),
            quality=value(None if loss is None else self.base - loss),
            quality_of="other" if loss is None and not none else None,
            change=NOTHING,
            ser_new_marks=NOTHING,
            ser_last_new_mark=NOTHING,
        )

    def put_back(self, row: tuple, settings: tuple, mine: list) -> Iterator[Resynchronised]:
        """What is found of a method that reads weights once channels are put back in order."""
        if row[4] != "weights":
            return
        for setting, points in zip(settings, mine, strict=True):
            for point in points if setting.family == "preserving" else ():
                common = {"technology": point.technology, "setting": setting.index}
                level = {"level": point.level, "intensity": point.intensity}
                yield Resynchronised(
                    point=self.point(row, x=0.2, loss=0.0, **common, level=point.level),
                    networks=self.n,
                    recovered=self.n,
                    moved=Value(value=0.9, networks=5),
                    lost=Value(value=0.0, networks=5),
                    cosine=Value(value=0.99, networks=5),
                    margin=Value(value=0.5, networks=5),
                    **common,
                    **level,
                )

    def cell(self, t: int, setting: Setting, points: list[Point]) -> Cell:
        mine = {"technology": t, "setting": setting.index}
        first = points[0]
        if first.tested == 0:
            return Cell(status=first.status, note=self.note(first.reason), **mine)
        if first.status == "undetectable":
            note = self.note(REASONS["undetectable"])
            return Cell(status="undetectable", level=len(points) - 1, note=note, **mine)
        usable = [k for k, level in enumerate(setting.levels) if level.counts]
        if not usable:
            return Cell(status="unusable", level=len(points) - 1, **mine)
        kept = [k for k in usable if points[k].status == "survives"]
        bad = next((k for k in usable if points[k].status != "survives"), None)
        if bad is None:
            dead = [k for k in range(len(points)) if k not in usable]
            outlives = dead and all(points[k].status == "survives" for k in dead)
            last = dead[-1] if outlives else usable[-1]
            status = "outlives" if outlives else "survives"
            return Cell(status=status, level=last, survived=usable[-1], **mine)
        survived = max([k for k in kept if k < bad], default=None)
        if points[bad].status == "undecided":
            note = self.note(REASONS["undecided"])
            level = bad if survived is None else survived
            return Cell(status="undecided", level=level, survived=survived, note=note, **mine)
        if survived is None:
            return Cell(status="lost", level=bad, lost_at=bad, **mine)
        return Cell(status="partly", level=survived, survived=survived, lost_at=bad, **mine)

    def note(self, text: str) -> int:
        text = self.rename.replace("{}", text)
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1

    def technology(self, t: int, row: tuple, settings: tuple, mine: list) -> Technology:
        method, bits, options, trained, access, _ = row
        label = f"{method}, {bits} bits" + "".join(f", {k} {v}" for k, v in options.items())
        label += ", by training" if trained else ""
        statuses = [
            p.status
            for s, points in zip(settings, mine, strict=True)
            for level, p in zip(s.levels, points, strict=True)
            if level.counts
        ]
        fingerprint = method == "fingerprint"
        met = list(zip(settings, mine, strict=True))
        put_back = [r.point for r in self.again if r.technology == t]
        return Technology(
            index=t,
            label=self.rename.replace("{}", label),
            record=TechnologyRecord(
                index=t,
                method=PluginRecord(name=method, options=options),
                payload_size=bits,
                label=label,
                kind="fingerprint" if fingerprint else "watermark",
                access=access,
                alphabet=2 if bits else 0,
                decodes=bits > 0,
            ),
            trained=trained,
            detectability=Detectability(
                ever=bits != 16,
                log10_least=None if fingerprint else -(bits or 64) * math.log10(2),
                level=ALPHA,
                null="none" if fingerprint else f"Bin({bits or 64}, 1/2)",
                negatives=40 if fingerprint else None,
                ser_limit=1 - (binom.isf(ALPHA, bits, 0.5) + 1) / bits if bits > 16 else None,
            ),
            tally=Tally(
                usable=len(statuses),
                survived=statuses.count("survives"),
                lost=statuses.count("lost"),
                undecided=statuses.count("undecided"),
                without_result=sum(s not in ("survives", "lost", "undecided") for s in statuses),
            ),
            alarms=None if fingerprint else (2,) if method == "adi" else (),
            injections=InjectionSummary(
                expected=self.n,
                done=self.n,
                not_in=0,
                symbols=bits or None,
                layers=("conv1.weight",),
                notes=(),
                commitments=(),
                twins_expected=0,
                twins_done=0,
                failures=(),
            ),
            unmodified=self.point(row, technology=t, loss=0.0),
            imperceptibility=self.imperceptibility(method, trained),
            cost=self.cost(bits or 64, trained, access),
            training=self.training() if trained else None,
            control=None if fingerprint else self.control(),
            robustness_asked=True,
            imperceptibility_asked=True,
            families=families.families(t, met, families.put_back(met, put_back)),
            whole=families.resistance(met),
            whole_resynchronised=families.resistance(families.put_back(met, put_back)),
            strongest=families.strongest(met),
            attacked=method not in UNATTACKED,
        )

    def imperceptibility(self, method: str, trained: bool) -> Imperceptibility:
        shift = {"entangled": 1.9, "adi": 0.42, "deepsigns": 0.55}.get(method, 0.04)
        mean = (shift + self.rng.normal(0, 0.05)) * self.scale
        half = abs(self.rng.normal(0.3, 0.06)) * self.scale
        margin = self.headline.negligible
        verdict = (
            "negligible"
            if abs(mean) + half < margin
            else "noticeable"
            if mean - half > margin
            else "not shown"
        )
        loss = Value(value=mean, low=mean - half, high=mean + half, confidence=0.9, networks=5)
        before, after = (Value(value=v, networks=5) for v in (self.base, self.base - mean))
        pairs = tuple(
            PairResult(
                network=i,
                payload_index=d,
                before=self.base,
                after=self.base - x,
                loss=x,
            )
            for i in range(self.networks)
            for d in range(self.payloads)
            for x in [mean + self.rng.normal(0, half / 2)]
        )
        return Imperceptibility(
            workflow="NNW-WTI" if trained else "NNW-NTI",
            reference="twin" if trained else "original",
            verdict=verdict,
            scope="the networks tested",
            margin=margin,
            before=before,
            after=after,
            loss=loss,
            measures=(
                QualityRow(measure=self.headline.name, before=before, after=after, loss=loss),
            ),
            pairs=pairs,
            carrier_change=Value(value=0.02, networks=5),
            changed_weights=Value(value=4608, networks=5),
            failures=(),
        )

    def cost(self, bits: int, trained: bool, access: str) -> Cost:
        draw = lambda v: Value(  # noqa: E731
            value=(x := v * (bits / 64) ** 0.6 * self.rng.uniform(0.8, 1.3)),
            low=0.95 * x,
            high=1.05 * x,
            confidence=0.95,
            networks=5,
        )
        ratio = 1 + self.rng.normal(0, 0.008)
        return Cost(
            injection=NOTHING if trained else draw(0.0123),
            batch=draw(0.021) if trained else NOTHING,
            batch_plain=draw(0.0188) if trained else NOTHING,
            batch_ratio=draw(1.1) if trained else NOTHING,
            epochs=Value(value=float(self.rng.integers(3, 13)), networks=5) if trained else NOTHING,
            never_in=0,
            trainings=self.n if trained else 0,
            memory=draw(2_400_000),
            device_memory=NOTHING,
            detection=draw(0.0009 if access == "weights" else 0.008),
            decoding=draw(0.0009 if access == "weights" else 0.008) if bits else NOTHING,
            detection_memory=NOTHING,
            decoding_memory=NOTHING,
            inference=draw(0.004),
            inference_plain=draw(0.004),
            inference_ratio=Value(value=ratio, low=ratio - 0.02, high=ratio + 0.02, networks=5),
            cells=self.n,
            repetitions=(20,),
            batches=(32,),
            devices=("cpu",),
            failures=(),
        )

    def training(self) -> Training:
        epochs = tuple(
            EpochMean(
                number=k, networks=5, loss=1 / k, penalty=0.1 / k, symbol_error_rate=0.5 / k**2
            )
            for k in range(1, 6)
        )
        return Training(recipe={"epochs": 5}, mean=epochs, twins=epochs, runs=())

    def control(self) -> Control:
        return Control(
            keys=105_000,
            detected=0,
            expected=0.105,
            p_value=1.0,
            levels=(ControlLevel(level=0.1, count=10_470, expected=10_500, p_value=0.6),),
            log10_least=-4.9,
            ser=0.5,
            ser_expected=0.5,
        )


def large(**changes) -> Report:
    """20 technologies x 30 Modifications, 5 networks, 3 Payloads."""
    return Maker(**changes).report()


def small(**changes) -> Report:
    """2 technologies x 7 Modifications, 3 networks, 3 Payloads."""
    rows = tuple(m for m in MODIFICATIONS if m[0] in ("0", "1b", "2", "3", "4a", "5", "6"))
    defaults = {
        "technologies": (TECHNOLOGIES[2], ("uchida", 64, {}, False, "weights", 0.7)),
        "modifications": rows,
        "networks": 3,
        "title": "Handwritten digits",
    }
    return Maker(**(defaults | changes)).report()


def points_lost(report: Report) -> Iterator[Point]:
    """Points of usable settings that are lost."""
    for point in report.points:
        if point.status == "lost" and report.settings[point.setting].levels[point.level].counts:
            yield point
