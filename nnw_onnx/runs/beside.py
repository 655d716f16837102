"""One network beside another on the same samples: what of quality is lost, with its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.graph import open_network
from nnw_onnx.inference import run_isolated, unwrap
from nnw_onnx.measures.results import Value
from nnw_onnx.measures.scores import Book, Pair, quality_loss
from nnw_onnx.records import MeasureRecord, TrialRecord
from nnw_onnx.runs import calls
from nnw_onnx.runs.composed import asking
from nnw_onnx.runs.context import Context, fitted
from nnw_onnx.runs.prepare import single_context
from nnw_onnx.runs.quality import adds_classes, measure, task_for
from nnw_onnx.runs.recording import scores_of
from nnw_onnx.runs.suspect import Running
from nnw_onnx.runs.tables import Evaluation
from nnw_onnx.vocabulary import Spec, Task


@dataclass(frozen=True)
class Beside:
    """What a change of a network costs.

    Attributes:
        measure: the headline of the task.
        before: its value without the change.
        after: with it.
        loss: what is lost, with 90 % limits over samples where there are any.
        samples: that both were measured on.
    """

    measure: MeasureRecord
    before: float
    after: float
    loss: Value
    samples: int


def beside(evaluation: Evaluation, before: Path, after: Path, marks: Sequence[Spec] = ()) -> Beside:
    """The quality of two networks, each measured in a process of its own.

    Args:
        evaluation: data, task and session.
        before: the network as it was, which says what the task means.
        after: the changed one.
        marks: methods of the marks that it carries; see `quality.adds_classes`.

    Raises:
        NnwError: a network does not run, or its answers do not fit the task.
    """
    context = single_context(evaluation, open_network(before), Path(), training=False)
    given = calls.measured(plugins.create(Task, evaluation.task.spec))[0]
    headline = MeasureRecord(**asdict(given))
    trials = []
    for file, more in ((before, False), (after, adds_classes(marks))):
        done = run_isolated(
            _measured, context, before, file, more,
            timeout=evaluation.session.timeout, memory_bytes=evaluation.session.memory_limit,
        )  # fmt: skip
        trials.append(unwrap(done))
    (first, samples), (second, _) = trials
    pair = Pair(0, second.identity, first, second)
    lost = quality_loss([pair], headline, "not measured", Book())
    return Beside(headline, first.quality[given.name], second.quality[given.name], lost, samples)


def _measured(
    context: Context, original: Path, file: Path, more_classes: bool
) -> tuple[TrialRecord, int]:
    """The quality of a network as a record, and on how many samples it was measured."""
    network = open_network(file)
    task = task_for(context.task, open_network(original), context.after)
    samples = fitted(context.data, tuple(network.inputs))
    run = Running(network, context.settings, context.batch_size)
    ask = asking(run, task, context.after)
    quality = measure(ask, task, samples, context.batch_size, more_classes=more_classes)
    record = TrialRecord(
        identity=network.digest[:64],
        status="done",
        network=0,
        quality=dict(quality.values),
        chance=quality.chance,
        scores=scores_of(quality),
    )
    return record, len(samples)
