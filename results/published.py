"""Published experiments beside ours: the numbers of the papers, ours, and how far apart they are.

    python results/rebuild.py published --data DIR

The networks, data and epochs are smaller than those of the papers: what is compared is the shape of
a result (which Symbols survive, where quality breaks), and the distance is printed all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from nnw_onnx.records import InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs.store import Store

FIND_THE_LADY = {16: 0.00, 8: 0.01, 6: 0.02, 4: 0.81, 2: 77.77}
"""Bits -> points of top-1 error that VGG-16 on CIFAR-10 gains (AAAI-24, arXiv 2312.14182, table 1:
9.96, 9.97, 9.98, 10.77 and 87.73 % after a baseline of 9.96 %)."""


@dataclass(frozen=True)
class Run:
    """The records of a run, found by method, setting and Intensity."""

    plan: Plan
    injections: dict[str, InjectionRecord]
    trials: tuple[TrialRecord, ...]

    @classmethod
    def of(cls, folder: Path) -> Run:
        """Read a run folder."""
        store = Store(folder)
        injections = {record.identity: record for record in store.records(InjectionRecord)}
        return cls(store.read(Plan), injections, tuple(store.records(TrialRecord)))

    def trial(self, method: str, label: str | None, intensity: float | None) -> TrialRecord:
        """The trial of a watermarked network; of the first network and Payload."""
        for trial in self.trials:
            injected = self.injections.get(trial.injection or "")
            if injected is None or injected.twin or trial.status != "done":
                continue
            technology = self.plan.technologies[injected.technology]
            setting = None if trial.setting is None else self.plan.settings[trial.setting].label
            same = trial.intensity == intensity or intensity is None
            if technology.method.name == method and setting == label and same:
                return trial
        raise SystemExit(f"expected a trial of {method}, {label}, {intensity}; got none")

    def errors(self, method: str, label: str | None, intensity: float | None = None) -> float:
        """Share of Symbols that are wrong, in percent."""
        verdict = self.trial(method, label, intensity).verdicts[0]
        if verdict.errors is None or not verdict.symbols:
            return 100.0
        return 100.0 * verdict.errors / verdict.symbols

    def quality(self, method: str, label: str | None, intensity: float | None = None) -> float:
        """Top-1 accuracy in percent."""
        return 100.0 * next(iter(self.trial(method, label, intensity).quality.values()))


@dataclass(frozen=True)
class Line:
    """One number of a paper beside ours, in the paper's unit."""

    paper: str
    what: str
    published: str
    ours: str
    holds: str


def uchida(run: Run) -> Iterator[Line]:
    """Complete after pruning 65 % of the parameters (abstract of arXiv 1701.04082)."""
    wrong = run.errors("uchida", "pruning", 65)
    yield Line(
        "Uchida 2017", "wrong bits after pruning 65 %", "0 %", f"{wrong:.1f} %", _yes(wrong == 0)
    )


def adi(run: Run) -> Iterator[Line]:
    """FTLL and FTAL keep the triggers, RTLL and RTAL lose some of them."""
    for label in ("FTLL", "FTAL", "RTLL", "RTAL"):
        right = 100 - run.errors("adi", label)
        kept = label in ("FTLL", "FTAL")
        said = "kept" if kept else "fewer than with FTAL"
        against = right > 95 if kept else right < 100 - run.errors("adi", "FTAL")
        yield Line("Adi 2018", label, said, f"{right:.0f} %", _yes(against))


def refit(run: Run) -> Iterator[Line]:
    """A large initial rate removes what a small one leaves (abstract of arXiv 1911.07205)."""
    small, large = (100 - run.errors("adi", f"REFIT {rate}") for rate in ("0.05", "0.15"))
    mild = 100 - run.errors("adi", "FTAL")
    told = f"{mild:.0f}, {small:.0f}, {large:.0f} %"
    what = "triggers at rates .01, .05, .15"
    yield Line("REFIT 2019", what, "removed at a large rate", told, _yes(large < 28 <= mild))


def deepsigns(run: Run) -> Iterator[Line]:
    """The Payload survives heavy pruning and fine-tuning."""
    wrong = [run.errors("deepsigns", "pruning", p) for p in (50, 80, 90)]
    told = ", ".join(f"{value:.1f}" for value in wrong)
    yield Line(
        "DeepSigns 2019",
        "wrong bits at 50, 80, 90 %",
        "survives",
        f"{told} %",
        _yes(not any(wrong)),
    )
    tuned = run.errors("deepsigns", "FTAL")
    yield Line(
        "DeepSigns 2019", "wrong bits after FTAL", "survives", f"{tuned:.1f} %", _yes(tuned == 0)
    )


def find_the_lady(run: Run) -> Iterator[Line]:
    """Points of error that quantizing all weights adds."""
    before = run.quality("uchida", None)
    for bits, published in FIND_THE_LADY.items():
        added = before - run.quality("uchida", "quantizing", bits)
        near = abs(added - published) <= max(0.5, 0.3 * published)
        yield Line(
            "Find the Lady", f"points lost at {bits} bits", f"{published:.2f}", f"{added:.2f}",
            f"{_yes(near)} ({added - published:+.2f})",
        )  # fmt: skip


def _yes(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def table(folder: Path) -> str:
    """The table of a run of published.toml, in Markdown."""
    run = Run.of(folder)
    accuracy = mean(run.quality(method, None) for method in ("uchida", "adi", "deepsigns"))
    lines = [
        f"Watermarked networks before any Modification: {accuracy:.1f} % top-1.",
        "",
        "| paper | what | published | here | |",
        "|---|---|---|---|---|",
    ]
    for experiment in (uchida, adi, refit, deepsigns, find_the_lady):
        for line in experiment(run):
            cells = (line.paper, line.what, line.published, line.ours, line.holds)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
