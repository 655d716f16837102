"""The report as data: everything that is drawn, written or told comes from here.

`report.schema.json` beside this file is the published JSON Schema of it. The values are those of
`measures.results`; what each number is called, and how it is printed, says `reports.columns`.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from nnw_onnx.measures.results import (
    BaseQuality,
    Cell,
    DatasetSize,
    Point,
    ResultModel,
    Setting,
    Technology,
)
from nnw_onnx.measures.resynchronised import Resynchronised
from nnw_onnx.records import (
    CardRecord,
    DatasetRecord,
    Environment,
    LeftOutRecord,
    MeasureRecord,
    NetworkRecord,
    Workflow,
)

ClauseStatus = Literal["met", "not met", "not measured", "not about this run"]
CLAUSE_STATUSES: tuple[ClauseStatus, ...] = get_args(ClauseStatus)


class Notice(ResultModel):
    """Something that limits what the report can say."""

    code: str
    """A fixed word, such as "outside-standard-range"."""
    name: str
    """The same in a few words, for the line of warnings."""
    text: str
    """In one or two sentences."""
    details: tuple[str, ...] = ()


class SettingCounts(ResultModel):
    """Settings (Modification x Intensity), by what they leave of the unwatermarked networks."""

    total: int
    usable: int
    """For every technology; with those measured on another data set."""
    unusable: int
    undecided: int
    not_applicable: int = 0
    """That can do nothing to these networks."""
    differing: int = 0
    """That do something else for each technology, and leave the networks of some usable."""
    elsewhere: int
    """Of the usable ones, those whose quality was measured on another data set."""
    outside: int
    """Outside the range of the standard's table."""


class Ranking(ResultModel):
    """Settings survived at another limit of usability."""

    usable_loss: float
    usable: int
    """The largest denominator of a technology."""
    survived: tuple[int, ...]
    """By technology, in the order of `Report.technologies`."""
    of: tuple[int, ...] = ()
    """Its denominator, likewise."""


class Completeness(ResultModel):
    """What the plan asks for, and what there is of it."""

    tests_planned: int
    """Watermarked networks x settings x repetitions."""
    tests_found: int
    injections_planned: int
    injections_done: int
    missing: tuple[str, ...]
    """Settings of which there is no record at all."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.tests_found >= self.tests_planned and not self.missing


class MethodNote(ResultModel):
    """How something was measured, and the clause it follows."""

    clause: str
    text: str


class ClauseAnswer(ResultModel):
    """What a run says to one clause of the standard."""

    id: str
    """Of the clause, unique in its profile."""
    place: str
    """Chapter of the standard, and where it has them its part and step."""
    asks: str
    """What is asked there, in our words."""
    informative: bool = False
    """Whether the standard only informs there; such a clause is never "not met"."""
    status: ClauseStatus
    """"not measured": the records do not tell; "not about this run": nothing in it is meant."""
    reason: str
    """Why, with the numbers."""
    anchor: str
    """Where it is seen: the `id` of a section or table of report.html."""
    departures: tuple[str, ...] = ()
    """What this package does otherwise there than the standard's words say, whatever the run."""


class Conformance(ResultModel):
    """The clauses of one profile, each asked of one run.

    It is true where no clause is "not met".
    """

    profile: str
    """Name of the profile, such as "nnt-1.1"."""
    standard: str
    """Name and version of the document that the clauses are of."""
    clauses: tuple[ClauseAnswer, ...]

    def __bool__(self) -> bool:
        return not self.count("not met")

    def __repr__(self) -> str:
        return f"Conformance({self.profile!r}: {self.counted()})"

    def count(self, status: ClauseStatus) -> int:
        """How many clauses have this answer."""
        return sum(clause.status == status for clause in self.clauses)

    def counted(self) -> str:
        """How many clauses have which answer, in words."""
        return ", ".join(f"{self.count(status)} {status}" for status in CLAUSE_STATUSES)


class Reproducibility(ResultModel):
    """What identifies this evaluation; equal digests mean equal records."""

    package_version: str
    seed: int | None
    """From which keys follow; None in a report to be given away, as are both digests."""
    evaluation_sha256: str | None
    records_sha256: str | None
    """SHA-256 over all injection and trial records; costs are not in it."""
    plugins: dict[str, str]
    """Plug-in -> package and version."""
    sources: dict[str, str]
    """Further source -> SHA-256."""


class Report(ResultModel):
    """The evaluation of watermarks: the three answers of the standard, and what they rest on.

    No date is in it: the same records give the same report.
    """

    schema_version: Literal[2] = 2
    standard: str
    """Whose procedures are implemented; this is no certification."""
    departures: tuple[str, ...] = ()
    """What of it is not implemented, or otherwise than its words say."""
    conformance: tuple[Conformance, ...] = ()
    """The clauses of each profile, asked of this run."""
    title: str
    networks: tuple[NetworkRecord, ...]
    """The M unwatermarked networks."""
    payloads: int
    """D, the number of Payloads for each network."""
    repetitions: int
    workflows: tuple[Workflow, ...]
    """The AI Workflows of MPAI-NNT that were asked for."""
    false_positive_rate: float
    """The level of every Detector."""
    survival: float
    """Smallest share of watermarks found that counts as surviving."""
    measures: tuple[MeasureRecord, ...]
    """Of the task, the headline first; its `negligible` is the margin, its `usable_loss` the
    largest loss at which a network counts as usable."""
    guard: str | None
    """The measure that a collapsed network cannot keep."""
    base: tuple[BaseQuality, ...]
    """The unwatermarked networks before anything, by measure, the headline first."""
    dataset: DatasetRecord
    dataset_sizes: tuple[DatasetSize, ...]
    technologies: tuple[Technology, ...]
    """In the order of the plan."""
    order: tuple[int, ...]
    """Places in `technologies` as columns: by settings survived, falling, then by lost, rising;
    then those that are not ranked, because they were not attacked adaptively, as planned."""
    settings: tuple[Setting, ...]
    """In the order of the plan."""
    rows: tuple[int, ...]
    """Places in `settings` as rows: by family, then by number."""
    counts: SettingCounts
    rankings: tuple[Ranking, ...]
    """At other limits of usability."""
    cells: tuple[Cell, ...]
    """One for each technology and setting, technology by technology, in the order of the plan."""
    notes: tuple[str, ...]
    """Reasons, numbered from 1."""
    points: tuple[Point, ...]
    """One for each technology, setting and Intensity (weak to strong), in the order of the plan:
    what the curves, the evidence against loss and the tables of robustness show."""
    resynchronised: tuple[Resynchronised, ...] = ()
    """The same where modified networks were put back in order before claims were heard: of the
    technologies that this is something for, where the evaluation asks for it."""
    completeness: Completeness
    notices: tuple[Notice, ...]
    """The gravest first."""
    environment: Environment | None
    cards: dict[str, CardRecord] = Field(default_factory=dict)
    """Name of a method -> what the literature says of it."""
    left_out: tuple[LeftOutRecord, ...] = ()
    """What presets ask for and the evaluation cannot give."""
    configuration: dict[str, Any]
    method: tuple[MethodNote, ...]
    reproducibility: Reproducibility

    def __repr__(self) -> str:
        counts = (
            f"{len(self.networks)} networks x {self.payloads} Payloads, "
            f"{len(self.technologies)} technologies, {self.counts.total} settings"
        )
        return f"Report({self.title!r}: {counts}, {len(self.notices)} warnings)"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from nnw_onnx.reports.notebook import fragment

        return fragment(self)

    def to_pandas(self) -> Any:
        """A DataFrame of every number and word of the report, one a row, as in `tables/all.csv`.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        from nnw_onnx.reports.notebook import to_pandas

        return to_pandas(self)

    @property
    def headline(self) -> MeasureRecord:
        """The first measure."""
        return self.measures[0]

    def cell(self, technology: int, setting: int) -> Cell:
        """The entry of the matrix for these places."""
        return self.cells[technology * len(self.settings) + setting]

    def points_of(self, technology: int, setting: int) -> tuple[Point, ...]:
        """The points of one technology in one setting, one for each level."""
        before = sum(len(s.levels) for s in self.settings[:setting])
        each = sum(len(s.levels) for s in self.settings)
        start = technology * each + before
        return self.points[start : start + len(self.settings[setting].levels)]

    def again(self, technology: int, setting: int) -> tuple[Resynchronised, ...]:
        """The same re-synchronised, one for each level; empty where that was not tried."""
        return tuple(
            r for r in self.resynchronised if (r.technology, r.setting) == (technology, setting)
        )
