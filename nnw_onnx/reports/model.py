"""The report as data: everything that is drawn, written or told comes from here.

`report.schema.json` beside this file is the published JSON Schema of it.
"""

from __future__ import annotations

from typing import Any, Literal

from nnw_onnx.measures.costs import GroupCost
from nnw_onnx.measures.imperceptibility import GroupImperceptibility
from nnw_onnx.measures.limits import DatasetSize, Failure, ResultModel
from nnw_onnx.measures.points import GroupRobustness
from nnw_onnx.measures.trainings import GroupTraining
from nnw_onnx.records import DatasetFacts, Environment, Group, NetworkRecord, Workflow

Aspect = Literal["imperceptibility", "robustness", "cost"]
Tone = Literal["good", "caution", "bad", "neutral"]


class Verdict(ResultModel):
    """One answer in words; never a certification."""

    aspect: Aspect
    group: int
    label: str
    workflow: Workflow | None = None
    """The AI Workflow of MPAI-NNT that the technology went through; it has none for cost."""
    tone: Tone
    """The colour of the card, no pass or fail; "bad" where unwatermarked networks raise alarms."""
    figure: str
    """The one number to show large, with its unit."""
    figure_caption: str
    """What that number is."""
    text: str
    """The whole answer, with the technology in front."""

    @property
    def sentence(self) -> str:
        """The answer without the technology in front."""
        rest = self.text.removeprefix(f"{self.label}: ")
        return rest[:1].upper() + rest[1:]


class Notice(ResultModel):
    """Something that limits what the report can say."""

    code: str
    """A fixed word, such as "outside-standard-range"."""
    text: str
    details: tuple[str, ...] = ()


class InjectionSummary(ResultModel):
    """The injections of one technology."""

    group: int
    label: str
    expected: int
    done: int
    layers: tuple[str, ...]
    """Different carrier layers that occur."""
    notes: tuple[str, ...]
    """Different notes on how carrier and strength were chosen."""
    commitments: tuple[str, ...]
    """Hashes that bind key, carriers and unmarked network, by network and payload."""
    failures: tuple[Failure, ...]
    not_in: int
    """Watermarks with Symbols that are read wrongly right after the injection."""
    twins_expected: int
    """Networks to be trained in the same way without a watermark; 0 without training."""
    twins_done: int


class Completeness(ResultModel):
    """What the plan asks for, and what there is a record of."""

    unmodified_planned: int
    """M networks without and M x D with the watermark of each technology, and the twins, not
    modified."""
    unmodified_found: int
    settings_planned: int | None
    """Modifications at an Intensity; None where the plan does not tell them."""
    settings_found: int
    missing_settings: tuple[str, ...]
    trials_planned: int | None
    """Networks at all settings and repetitions, the unmodified ones among them."""
    trials_found: int
    costs_planned: int | None
    costs_found: int

    @property
    def trials_missing(self) -> int:
        """Trials of the plan without a record."""
        missing = self.unmodified_planned - self.unmodified_found
        return max(missing, (self.trials_planned or 0) - self.trials_found, 0)

    @property
    def costs_missing(self) -> int:
        """Cost measurements of the plan without a record."""
        return max(0, (self.costs_planned or 0) - self.costs_found)


class MethodNote(ResultModel):
    """How something was measured, and the clause it follows."""

    clause: str
    text: str


class Reproducibility(ResultModel):
    """What identifies this evaluation; equal digests mean equal records."""

    package_version: str
    seed: int
    evaluation_sha256: str
    records_sha256: str
    """SHA-256 over all injection and trial records; costs are not in it."""


class Report(ResultModel):
    """The evaluation of a watermark: the three answers of the standard, and what they rest on."""

    schema_version: Literal[1] = 1
    standard: str
    """Whose procedures are implemented; this is no certification."""
    title: str
    profile: str
    headline: str | None
    """Name of the headline quality measure."""
    rate: bool
    """Whether it is a rate of right answers, in 0 ... 1."""
    networks: tuple[NetworkRecord, ...]
    """The M unwatermarked networks."""
    payloads: int
    """D, the number of Payloads for each network."""
    groups: tuple[Group, ...]
    """The technologies under test: method, options, payload size, workflows and recipe."""
    workflows: tuple[Workflow, ...]
    """The AI Workflows of MPAI-NNT that were asked for."""
    repetitions: int
    false_positive_rate: float
    margin: float
    """Largest loss of quality that counts as negligible."""
    usable_loss: float
    """Largest loss of quality after a Modification at which a network counts as usable."""
    survival: float
    """Smallest share of detected watermarks that counts as surviving a Modification."""
    dataset: DatasetFacts
    dataset_sizes: tuple[DatasetSize, ...]
    completeness: Completeness
    verdicts: tuple[Verdict, ...]
    warnings: tuple[Notice, ...]
    injections: tuple[InjectionSummary, ...]
    imperceptibility: tuple[GroupImperceptibility, ...]
    robustness: tuple[GroupRobustness, ...]
    cost: tuple[GroupCost, ...]
    trainings: tuple[GroupTraining, ...]
    """Of the technologies that are put in by training."""
    environment: Environment | None
    configuration: dict[str, Any]
    method: tuple[MethodNote, ...]
    reproducibility: Reproducibility
