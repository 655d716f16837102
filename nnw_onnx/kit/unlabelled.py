"""Samples that somebody has without their labels, and what a network answers to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import knowing, trainings
from nnw_onnx.kit.samples import ArraySamples, batches
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Job,
    Json,
    Modified,
    Network,
    Recipe,
    Samples,
    Values,
)

_BATCH = 256


class Asked(NamedTuple):
    """What a network was asked, and what it answered.

    Attributes:
        name: of its only input.
        inputs: (n, ...) as it was fed them.
        scores: (n, classes) of each class.
        samples: where the inputs come from, without targets of their own that count.
    """

    name: str
    inputs: Array
    scores: NDArray[np.float64]
    samples: Samples


def asked(
    what: str,
    network: Network,
    bench: Bench,
    count: int,
    rng: np.random.Generator,
    output: int = 0,
) -> Asked:
    """Some training samples, drawn without replacement, with the scores that a network tells.

    Args:
        what: who asks, for the message.
        network: whom.
        bench: has the samples.
        count: how many at most.
        rng: draws them.
        output: index of the output that tells the scores.

    Raises:
        NotApplicableError: the network takes several inputs, or none of real numbers, or tells no
            scores of classes.
    """
    drawn = trainings.some(bench.samples(), count, rng)
    feeds = [batch.feeds for batch in batches(drawn, _BATCH)]
    if len(feeds[0]) != 1 or next(iter(feeds[0].values())).dtype.kind != "f":
        raise _refused(what, f"inputs {', '.join(feeds[0])}")
    told = [scores(what, bench.run(network, part), output) for part in feeds]
    (name,) = feeds[0]
    inputs = np.concatenate([part[name] for part in feeds])
    return Asked(name, inputs, np.concatenate(told), drawn)


def scores(what: str, values: Values, output: int) -> NDArray[np.float64]:
    """The scores (n, classes) among the outputs; raises `NotApplicableError` without any."""
    told = list(values.values())
    if output >= len(told):
        raise _refused(what, f"{len(told)} outputs")
    found = np.asarray(told[output])
    while found.ndim > 2 and found.shape[-1] == 1:
        found = found[..., 0]
    if found.ndim != 2 or found.shape[1] < 2 or found.dtype.kind != "f":
        raise _refused(what, f"an output of shape {told[output].shape}")
    return np.asarray(found, np.float64)


def probabilities(scores: Array) -> NDArray[np.float32]:
    """Softmax (n, classes) of scores; those that are probabilities already stay what they are."""
    from scipy.special import softmax

    values = np.asarray(scores, np.float64)
    known = (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3)
    found: NDArray[np.float32] = (values if known else softmax(values, axis=1)).astype(np.float32)
    return found


def taught(
    network: Network,
    bench: Bench,
    asked: Asked,
    inputs: Array,
    wanted: Array,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Modified:
    """The network trained to answer what it answered to the samples, and otherwise to more inputs.

    Args:
        network: where the training starts.
        bench: trains it.
        asked: the samples; their answers stay what they are, as probabilities.
        inputs: more inputs (m, ...).
        wanted: probabilities (m, classes) for them.
        recipe: how it is trained.
        rng: gives the seed.

    Raises:
        TrainingError: the network cannot be trained.
    """
    whole = np.concatenate([asked.inputs.astype(np.float32, copy=False), inputs])
    targets = np.concatenate([probabilities(asked.scores), wanted])
    data = ArraySamples({asked.name: whole}, targets, asked.samples.facts)
    job = Job(data, recipe, "soft-cross-entropy", trainings.seed(rng), output=bench.output)
    trained = bench.train(network, job)
    facts: dict[str, Json] = {
        "more inputs": len(inputs),
        "epochs": recipe.epochs,
        "learning rate": recipe.learning_rate,
        "last loss": trained.epochs[-1].loss,
    }
    told = f"{len(asked.inputs)} samples without labels"
    return knowing.told(Modified(trained.network), "method", told, facts)


def _refused(what: str, got: str) -> NotApplicableError:
    return NotApplicableError(
        f"{what}: expected a classifier of one input of real numbers, got {got}; leave it out for "
        "this network"
    )
