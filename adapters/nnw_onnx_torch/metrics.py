"""The task of the core's plug-in group whose measures are metrics of torchmetrics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Len

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.meters import answers_to
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Loss, Measure, Meter, Quality, Samples, Targets, Task, Values

_SHARE_LOSS = 0.05
_NEGLIGIBLE = 0.1


@dataclass(frozen=True)
class TorchMetrics(Task):
    """Metrics that torchmetrics has, each named as Python calls it: `MeanSquaredError()`.

    They are found among its modules of arithmetic (see `metric_names`) and given numbers, texts
    and lists of them; nothing is evaluated. They are updated with answers and targets as they are,
    in 64-bit floats, and none is a mean over samples to us, so no scores are kept. Where answers
    are no finite numbers, a metric from 0 to 1 has its worst value, and any other has none.
    """

    name: ClassVar[str] = "torchmetrics"
    summary: ClassVar[str] = "any metric of torchmetrics that compares answers with targets"

    metrics: Annotated[tuple[str, ...], Len(1)] = option(
        help="such as \"MulticlassF1Score(num_classes=10, average='macro')\", the headline first"
    )
    better: tuple[Literal["higher", "lower"], ...] = option(
        (), help="for each metric, where one does not say itself whether higher is better"
    )
    usable_loss: Annotated[float, Gt(0)] | None = option(
        None,
        help="loss of the first metric up to which a network is still usable; without it 0.05 of "
        "one from 0 to 1",
    )
    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the answers")
    classes: bool = option(
        False, help="compare the class with the largest score (on axis 1) instead of the scores"
    )
    column: Annotated[int, Ge(0)] | None = option(
        None, help="compare only this column of the answers: the scores of one class"
    )
    training_loss: Loss | None = option(
        None, help="what trainings minimise; without it networks of this task are not trained"
    )

    def measured(self) -> tuple[Measure, ...]:
        """One for each metric.

        Raises:
            ConfigurationError: torchmetrics is not installed, a metric is none of its, or nobody
                says which values are better or usable.
        """
        from nnw_onnx_torch import metric_names

        made = [metric_names.metric(self.name, text) for text in self.metrics]
        names = [type(one).__name__ for one in made]
        several = len(set(names)) < len(names)
        return tuple(
            Measure(
                text if several else name,
                better=self._better(place, one),
                negligible=_NEGLIGIBLE * self._usable(place, one),
                usable_loss=self._usable(place, one),
            )
            for place, (text, name, one) in enumerate(zip(self.metrics, names, made, strict=True))
        )

    def minimised(self) -> Loss | None:
        """The option."""
        return self.training_loss

    def reads(self) -> tuple[int, ...]:
        """The one output."""
        return (self.output,)

    def meter(self, samples: Samples) -> Meter:
        """A new meter; raises as `measured` does."""
        return _MetricMeter(self)

    def _better(self, place: int, metric: Any) -> Literal["higher", "lower"]:
        if self.better and len(self.better) != len(self.metrics):
            raise ConfigurationError(
                f"{self.name}: expected the option better for each of {len(self.metrics)} metrics, "
                f"got {len(self.better)}; add or leave out some"
            )
        if self.better:
            return self.better[place]
        if metric.higher_is_better is None:
            raise ConfigurationError(
                f"{self.name}: expected to know whether higher values of {self.metrics[place]} are "
                "better, which torchmetrics does not say; set the option better"
            )
        return "higher" if metric.higher_is_better else "lower"

    def _usable(self, place: int, metric: Any) -> float:
        if place == 0 and self.usable_loss is not None:
            return self.usable_loss
        if place == 0 and not _is_share(metric):
            raise ConfigurationError(
                f"{self.name}: expected to know which loss of {self.metrics[0]} leaves a network "
                "usable, since it is none from 0 to 1; set the option usable_loss"
            )
        return _SHARE_LOSS


def _is_share(metric: Any) -> bool:
    return (metric.plot_lower_bound, metric.plot_upper_bound) == (0, 1)


class _MetricMeter:
    """Updates metrics."""

    def __init__(self, task: TorchMetrics) -> None:
        from nnw_onnx_torch import metric_names

        self._task, self._measures = task, task.measured()
        self._metrics = [metric_names.metric(task.name, text) for text in task.metrics]
        self._known = True
        self._count = 0

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take answers, which torchmetrics checks."""
        answers = answers_to(self._task.name, outputs, self._task.output, targets)
        answers = self._chosen(answers, np.asarray(targets))
        self._known = self._known and bool(np.isfinite(answers).all())
        self._count += len(answers)
        if self._known:
            self._update(_tensor(answers), _tensor(np.asarray(targets)))

    def result(self) -> Quality:
        """The metrics in their order."""
        if not self._count:
            raise InferenceError(
                f"{self._task.name}: expected at least one answer, got none; add data"
            )
        every = zip(self._measures, self._task.metrics, self._metrics, strict=True)
        return Quality({measure.name: self._value(measure, *one) for measure, *one in every})

    def _chosen(self, answers: Array, targets: Array) -> Array:
        if self._task.column is not None:
            if answers.ndim < 2 or self._task.column >= answers.shape[1]:
                raise ConfigurationError(
                    f"{self._task.name}: expected a column {self._task.column} of answers, got "
                    f"{answers.shape}; correct the option column"
                )
            answers = answers[:, self._task.column]
        elif self._task.classes and answers.ndim > 1:
            return np.asarray(answers.argmax(axis=1))
        # What is left of an axis of one number, as most networks answer one.
        return answers.reshape(targets.shape) if answers.size == targets.size else answers

    def _update(self, answers: Any, targets: Any) -> None:
        for text, metric in zip(self._task.metrics, self._metrics, strict=True):
            self._asked(text, lambda metric=metric: metric.update(answers, targets))

    def _value(self, measure: Measure, text: str, metric: Any) -> float:
        import torch

        if not self._known:
            return self._worst(measure, text, metric)
        found = self._asked(text, metric.compute)
        if not isinstance(found, torch.Tensor) or found.numel() != 1:
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ConfigurationError(
                f"{self._task.name}: expected one number of {text}, got {got}; choose an average, "
                "or another metric"
            )
        return float(found) if found.isfinite() else self._worst(measure, text, metric)

    def _worst(self, measure: Measure, text: str, metric: Any) -> float:
        if not _is_share(metric):
            raise InferenceError(
                f"{self._task.name}: expected answers of which {text} has a finite value, got "
                f"{'some that have none' if self._known else 'NaN or infinity'}; see the network"
            )
        return 0.0 if measure.better == "higher" else 1.0

    def _asked(self, text: str, call: Any) -> Any:
        """What torchmetrics answers, on one thread, so that sums are the same everywhere."""
        import torch

        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice to who writes programs with it
                return call()
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            words = " ".join(str(error).split())[:300]
            raise ConfigurationError(
                f"{self._task.name}: expected answers and targets that {text} takes, got: {words}; "
                "set the options output, classes and column, or choose another metric"
            ) from error
        finally:
            torch.set_num_threads(threads)


def _tensor(values: Array) -> Any:
    import torch

    wanted = np.float64 if values.dtype.kind == "f" else np.int64
    return torch.from_numpy(np.ascontiguousarray(values, wanted).copy())
