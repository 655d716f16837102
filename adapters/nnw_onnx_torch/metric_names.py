"""From a text such as "R2Score(num_outputs=2)" to a metric of torchmetrics; nothing is evaluated.

A configuration is untrusted input. Metrics that read files or fetch networks are not among those
that can be named: only modules of plain arithmetic, and some of others by name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import warnings
from typing import Any, NamedTuple

from nnw_onnx.errors import ConfigurationError, shortened

LONGEST = 500
"""Characters of a metric in a configuration."""

MODULES = ("classification", "regression", "segmentation", "nominal", "clustering")
"""Modules of torchmetrics that hold arithmetic alone."""

SOME = {
    "audio": (
        "ComplexScaleInvariantSignalNoiseRatio",
        "ScaleInvariantSignalDistortionRatio",
        "ScaleInvariantSignalNoiseRatio",
        "SignalDistortionRatio",
        "SignalNoiseRatio",
        "SourceAggregatedSignalDistortionRatio",
    ),
    "image": (
        "ErrorRelativeGlobalDimensionlessSynthesis",
        "MultiScaleStructuralSimilarityIndexMeasure",
        "PeakSignalNoiseRatio",
        "PeakSignalNoiseRatioWithBlockedEffect",
        "RelativeAverageSpectralError",
        "RootMeanSquaredErrorUsingSlidingWindow",
        "SpatialCorrelationCoefficient",
        "SpectralAngleMapper",
        "SpectralDistortionIndex",
        "StructuralSimilarityIndexMeasure",
        "UniversalImageQualityIndex",
        "VisualInformationFidelity",
    ),
    "text": ("Perplexity",),
}
"""Classes of other modules that compare arrays and need nothing beside them."""


class Call(NamedTuple):
    """A class with its arguments, as somebody wrote them."""

    module: str
    name: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]


def metric(task: str, text: str) -> Any:
    """The metric that a text names, in 64-bit floats.

    Args:
        task: its name, for messages.
        text: a class with its arguments in brackets; "classification." may stand before it.

    Raises:
        ConfigurationError: it is no such text, torchmetrics is not installed or has no such metric
            that compares answers with targets, or refuses the arguments.
    """
    call = parsed(task, text)
    kind = _found(task, call)
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to who writes programs with it
            made = kind(*call.arguments, **call.named)
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise ConfigurationError(
            f"{task}: expected arguments that {call.name} takes, got {shortened(text)}: "
            f"{' '.join(str(error).split())[:300]}; correct them"
        ) from error
    given = list(inspect.signature(made.update).parameters)
    if len(given) != 2 or given[0] != "preds":
        raise ConfigurationError(
            f"{task}: expected a metric that compares answers with targets, got {call.name} of "
            f"{', '.join(given)}; choose another"
        )
    return made.set_dtype(torch.float64)


def parsed(task: str, text: str) -> Call:
    """A class name with literal arguments; raises `ConfigurationError` where it is something else.

    Args:
        task: its name, for messages.
        text: such as "regression.R2Score(num_outputs=2)"; without arguments the brackets may be
            left out.
    """
    fault = ConfigurationError(
        f"{task}: expected a metric such as 'MulticlassF1Score(num_classes=10)' with numbers, "
        f"texts and lists, of at most {LONGEST} characters, got {shortened(text)}; correct it"
    )
    if len(text) > LONGEST:
        raise fault
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        path = ast.unparse(call.func).removeprefix("torchmetrics.").split(".")
        arguments = tuple(map(ast.literal_eval, call.args))
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords if k.arg}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise fault from error
    plain = all(part.isidentifier() for part in path) and len(path) <= 2
    if not plain or len(named) < len(call.keywords):
        raise fault
    return Call(path[0] if len(path) == 2 else "", path[-1], arguments, named)


def known() -> dict[str, list[str]]:
    """Module -> names of the classes that can be named; raises `ImportError` without torchmetrics.

    Of a whole module some may turn out to compare something else.
    """
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"torchmetrics.{name}")
        found[name] = [one for one in module.__all__ if isinstance(vars(module).get(one), type)]
    return found | {name: list(some) for name, some in SOME.items()}


def _found(task: str, call: Call) -> Any:
    try:
        modules = known()
    except ImportError as error:
        raise ConfigurationError(
            f"{task}: expected torchmetrics, got: {error}; pip install 'nnw-onnx[torchmetrics]', "
            "or choose another task"
        ) from error
    for module, names in modules.items():
        if call.name in names and call.module in ("", module):
            return vars(importlib.import_module(f"torchmetrics.{module}"))[call.name]
    from nnw_onnx.plugins import closest

    every = [name for names in modules.values() for name in names]
    raise ConfigurationError(
        f"{task}: expected a metric of torchmetrics.{', .'.join(MODULES)} (or one of "
        f"{', '.join(SOME)} that compares arrays), got {call.module or call.name!r}"
        f"{closest(call.name, every)}; choose one"
    )
