"""A watermark in a training loop of your own, in three lines.

Example:
    >>> mark = Watermark(model, Payload.from_text("mine"))
    >>> for inputs, targets in loader:
    ...     inputs, targets = mark.extend(inputs, targets)  # where the method has own samples
    ...     loss = criterion(model(inputs), targets) + mark.penalty()
    ...     loss.backward()
    ...     optimizer.step()
    ...     mark.after_step()  # where the method keeps weights as they are
    >>> assert mark.symbol_error_rate() == 0  # before the export, and of this very object
    >>> mark.save_key("key.npz")
    >>> export(model, inputs[:2], "model.onnx")
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.kit import matching
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import (
    Array,
    Claim,
    Decoding,
    Json,
    Key,
    Loss,
    Payload,
    Samples,
    Suspect,
    Weights,
)
from nnw_onnx_torch import reading_back
from nnw_onnx_torch.graph.layouts import as_array
from nnw_onnx_torch.training.additions import Addition, Seen, on_parameters, parameters_of
from nnw_onnx_torch.training.loop_model import Given as Batch
from nnw_onnx_torch.training.loop_model import LoopModel
from nnw_onnx_torch.training.own_samples import ExtendedDataset, Inputs, Items, OwnSamples

_SHARE = 16
"""Samples of the data set for each own one, as in a batch of 128 with 8 of them."""

Given: TypeAlias = torch.Tensor | Array
"""Values (n, ...) as a tensor or an array."""


class Watermark:
    """What a method adds to the training of a model, and how far the watermark is in.

    Make it before the optimizer takes its first step and before `torch.compile`. Gradients may be
    accumulated: divide the penalty by the number of pieces as you divide the loss. A scaler of the
    loss scales the penalty with it; autocast does not touch it. Each process of a
    DistributedDataParallel training adds the same penalty when all have the same `claim`.

    Weights that are computed before they are used (weight and spectral normalisation, masks) are
    seen as the model computes with them, and their gradients go to what they are computed of.

    Export the object on which the mark was made, after a look at `symbol_error_rate`: a copy, an
    average or an earlier checkpoint may not hold the mark. `save_key` and `export` look too, and
    warn.

    It knows no method: whatever a method adds is in `vocabulary.Additions`.

    Attributes:
        method: the plug-in.
        payload: the bits, before code and alphabet.
        network: the model as the method sees it.
    """

    def __init__(
        self,
        model: nn.Module,
        payload: Payload | str | None = None,
        method: str = "uchida",
        *,
        layer: str | None = None,
        options: Mapping[str, Json] | None = None,
        code: str | None = None,
        code_options: Mapping[str, Json] | None = None,
        seed: int | None = None,
        claim: Claim | None = None,
        inputs: Given | Mapping[str, Given] | Samples | None = None,
        targets: Given | None = None,
        classes: int | None = None,
        own_per_batch: int = 8,
        loss: Loss = "cross-entropy",
        output: int = 0,
    ) -> None:
        """Make the key, or take one.

        Args:
            model: any module, or an `OnnxModule`.
            payload: a text or bits; None for a method that only says that it is there, or with a
                claim.
            method: name of a method that training puts in, such as "uchida" or "adi".
            layer: name of the carrier, such as "conv.weight", also where a normalisation or a mask
                computes it; chosen by the method if None.
            options: options of the method, see `nnw list methods`.
            code: error-correcting code between payload and Symbols, see `nnw list codes`.
            code_options: options of the code.
            seed: makes the key repeatable, and only as secret as the seed; None draws a fresh one.
            claim: of an earlier watermark, to go on with it (`nnw_onnx.load_key`).
            inputs: some samples (n, ...) of the training as the model takes them, for methods that
                ask for data: a tensor or array, one for each input by its name, or `Samples`.
            targets: what is right for them; 0 for each if None.
            classes: number of classes; asked of the model if None.
            own_per_batch: samples of the method's own that `extend` adds.
            loss: what the loop minimises, for methods that ask for its gradient.
            output: index of the model's output that the loss is of.

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
            ConfigurationError: an option is wrong, or a method that asks for samples got none.
            TrainingError: the carrier does not learn.
        """
        self._model = LoopModel(model, loss, output)
        self.network = self._model.network
        if claim is not None:
            named = matching.renamed(claim, self.network)
            self._mark = nnw_onnx.continue_mark(self.network, named, payload)
        else:
            self._mark = nnw_onnx.make_mark(
                self.network,
                payload or Payload(),
                method=method,
                options=options,
                code=code,
                code_options=code_options,
                layer=None if layer is None else self._model.named(layer),
                seed=seed,
                samples=None if inputs is None else _samples(inputs, targets, classes),
                run=self.network.run,
            )
        self.method, self.payload = self._mark.method, self._mark.payload
        additions = self._mark.additions
        self._addition = Addition(additions, self._model.layers, self.network)
        own = additions.samples
        self._own = None if own is None else OwnSamples(own, own_per_batch)
        self._batch: tuple[Batch, torch.Tensor] | None = None
        self._appended = 0
        self._wrong: int | None = None
        self._model.listen(additions.activations)
        self._addition.begin()
        reading_back.made(self, self._model.root)

    @property
    def claim(self) -> Claim:
        """Secret: key and Symbols, with what the method has learnt so far."""
        return self._mark.learnt(self.state)

    @property
    def key(self) -> Key:
        """Secret: what finds the watermark again."""
        return self.claim.key

    @property
    def state(self) -> Weights:
        """The method's own arrays as the last step left them."""
        return self._addition.state

    def extend(self, inputs: Inputs, targets: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
        """The batch with the method's own samples appended; itself for a method without any.

        Args:
            inputs: samples (n, ...), or those of each input by its name.
            targets: what is right for them (n, ...): classes, probabilities, values.
        """
        self._appended = 0
        if self._own is not None:
            inputs, targets = self._own.appended(inputs, targets)
            self._appended = self._own.per_batch
        self._batch = inputs, targets
        return inputs, targets

    def extend_dataset(
        self, dataset: Items, *, keys: tuple[str, str] | None = None, repeats: int | None = None
    ) -> ExtendedDataset:
        """A data set with the method's own samples, where batches are out of reach.

        Args:
            dataset: of `len` and `[index]`; items are pairs (input, target), or mappings.
            keys: names of input and target in an item that is a mapping.
            repeats: times that each sample occurs; as many as make one in seventeen if None.
        """
        own = self._addition.additions.samples
        if repeats is None:
            repeats = max(1, round(len(dataset) / (_SHARE * max(1, len(own) if own else 1))))
        return ExtendedDataset(dataset, own, keys, repeats)

    def penalty(self, targets: torch.Tensor | None = None) -> torch.Tensor:
        """The scalar to add to the loss, with the method's own gradient; 0 where there is none.

        Each call is one step of the method: its own arrays go on.

        Args:
            targets: of the batch that the model has just seen; those given to `extend` if None.
        """
        term = self._addition.term(self._seen(targets))
        return torch.zeros((), device=self._model.device) if term is None else term

    def add_gradient(self, scale: float = 1.0) -> float:
        """Add the gradient of the penalty to that of its layers; the value of the penalty.

        Instead of `penalty`, for who comes between backward and step. A method that looks at
        activations cannot be put in so: raises `TrainingError`.

        Args:
            scale: factor of the gradient, such as the scale of gradients not yet unscaled.
        """
        if self._addition.additions.activations:
            raise TrainingError(
                f"method {self.method.name!r}: expected a method that looks at weights or has "
                "samples of its own, got one that looks at activations; add Watermark.penalty() to "
                "the loss"
            )
        seen = self._seen(None)
        found = self._addition.penalty(seen)
        for gradient in self._addition.gradients(found, seen):
            for tensor, slopes in on_parameters(gradient):
                grown = slopes.mul_(scale)
                tensor.grad = grown if tensor.grad is None else tensor.grad.add_(grown)
        return float(found.value)

    def after_step(self) -> None:
        """Put weights back that the method keeps as they are; call it after each step."""
        self._addition.enforce()

    def decode(self) -> Decoding:
        """The Symbols as they are read from the model now; raises `ConfigurationError` if none."""
        return self._decoded(self.network)

    def symbol_error_rate(self) -> float:
        """Share (0 to 1) of the Symbols that are read wrongly from the model now."""
        self._wrong = self.wrong_in(self.network)
        return self._wrong / len(self._mark.claim.payload or Payload())

    def wrong_in(self, network: Suspect) -> int:
        """Symbols that are read wrongly from another network with the layers of the model."""
        claimed = self._mark.claim.payload or Payload()
        return claimed.errors(self._decoded(network).payload)

    def check(self) -> str | None:
        """Read the watermark back, and warn where the model as it is now does not hold it.

        The callbacks do it at the end of a training, and `save_key` and `export` do it too: a
        callback may have put the weights of an earlier epoch back, or an average of weights.

        Returns:
            What was warned of, or None.
        """
        if not self.reads_symbols:
            return None
        before = self._wrong
        self.symbol_error_rate()
        words = self._mark.complaint(self._wrong or 0, before)
        if words is not None:
            warnings.warn(words, stacklevel=3)
        return words

    def save_key(self, path: str | Path) -> None:
        """Write the key file, payload included; see `nnw_onnx.save_key`, and `check`."""
        nnw_onnx.save_key(self.claim, path)
        self.check()

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint must hold, so that a loop that goes on ends the same."""
        place = 0 if self._own is None else self._own.place
        arrays = {name: np.array(values) for name, values in self.state.items()}
        return {"state": arrays, "step": self._addition.step, "place": place}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take up what `state_dict` gave; raises `TrainingError` for anything else."""
        arrays, step, place = state.get("state"), state.get("step"), state.get("place")
        if not (isinstance(arrays, Mapping) and isinstance(step, int) and isinstance(place, int)):
            raise TrainingError(
                "checkpoint: expected the state of a watermark, got another; give what "
                "Watermark.state_dict returned"
            )
        self._addition.state |= {name: np.array(values) for name, values in arrays.items()}
        self._addition.step = step
        if self._own is not None:
            self._own.place = place

    @property
    def has_own_samples(self) -> bool:
        """Whether `extend` adds something to a batch."""
        return self._own is not None

    @property
    def own_samples(self) -> Samples | None:
        """All samples of the method's own, or None."""
        return self._addition.additions.samples

    @property
    def adds_gradient(self) -> bool:
        """Whether there is a penalty that `add_gradient` can bring in."""
        additions = self._addition.additions
        return additions.penalty is not None and not additions.activations

    @property
    def reads_symbols(self) -> bool:
        """Whether there is a Symbol Error Rate."""
        return plugins.decodes(self.method) is not None and self._mark.claim.key.size > 0

    def learns_by(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether an optimizer changes a layer that carries the watermark."""
        names = self._addition.additions.carriers
        carriers = [p for n in names for p in parameters_of(self.network.arriving(n))]
        learned = (p for group in optimizer.param_groups for p in group["params"])
        return any(p is carrier for p in learned for carrier in carriers)

    def _decoded(self, network: Suspect) -> Decoding:
        reader = plugins.decodes(self.method)
        if reader is None:
            raise ConfigurationError(
                f"{self.method.name}: expected a method that reads symbols, got one that only says "
                "that it is there; use nnw_onnx.detect on the exported model"
            )
        return reader.decode(network, self.key)

    def _seen(self, targets: torch.Tensor | None) -> Seen:
        known = self._batch[1] if targets is None and self._batch is not None else targets
        wanted = self._addition.additions.activations
        heard = {n: self._model.heard[n] for n in wanted if n in self._model.heard}
        for name in wanted:
            count = len(heard[name]) if name in heard else None
            if count is None or (known is not None and len(known) != count):
                got = "none" if count is None else f"{count} answers"
                raise TrainingError(
                    f"method {self.method.name!r}: expected the output of layer {name!r} for each "
                    f"sample of the batch, got {got}; run the network on the batch first, in "
                    "training mode"
                )
        there = self._addition.stays_there
        told = None if known is None or there else as_array(known)
        return Seen(heard, told, self._appended, self._task_gradient)

    def _task_gradient(self, weights: Weights) -> Weights:
        if self._batch is None:
            raise TrainingError(
                f"method {self.method.name!r}: expected the batch, whose gradient it asks for, got "
                "none; call Watermark.extend first"
            )
        return self._model.task_gradient(*self._batch, weights)


def _samples(
    inputs: Given | Mapping[str, Given] | Samples, targets: Given | None, classes: int | None
) -> Samples:
    if isinstance(inputs, Samples):
        return inputs
    named = inputs if isinstance(inputs, Mapping) else {"inputs": inputs}
    feeds = {name: _array(values) for name, values in named.items()}
    count = len(next(iter(feeds.values())))
    told = np.zeros(count, np.int64) if targets is None else _array(targets)
    return ArraySamples(feeds, told, {} if classes is None else {"classes": classes})


def _array(values: Given) -> Array:
    return np.array(as_array(values) if isinstance(values, torch.Tensor) else values)
