"""A network stored in an ONNX file: layers, lazily read weights, and an overlay of new ones."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TypeAlias

from onnx import ModelProto

from nnw_onnx.errors import CarrierNotFoundError, ModelFileError
from nnw_onnx.graph import arriving, description, memory
from nnw_onnx.graph.files import Limits, ModelFile, open_file
from nnw_onnx.graph.layers import ListedLayer, Listing, list_layers
from nnw_onnx.graph.overlay import Overlay
from nnw_onnx.graph.tensors import same_bytes, shown, stored_bytes
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array, Coverage, HiddenAxis, Layer, TensorInfo, Weights

if TYPE_CHECKING:
    from nnw_onnx.graph.ahead import Ahead
    from nnw_onnx.graph.inventory import Inventory
    from nnw_onnx.graph.runnable import Runnable
    from nnw_onnx.graph.splitting import Cut

# What a method needs beside weights is imported by it: most who open a network only read some.
_MOST_CUTS = 3
Rule: TypeAlias = "Callable[[OnnxNetwork, str, Array], Array]"
"""See `OnnxNetwork.rounded_by`."""


class CanonicalWeights(Mapping[str, Array]):
    """Layer name -> read-only array in canonical layout, read when it is asked for."""

    def __init__(
        self, layers: Mapping[str, ListedLayer], replaced: Mapping[Address, Array]
    ) -> None:
        self._layers, self._replaced = layers, replaced

    def __getitem__(self, name: str) -> Array:
        return arriving.arrived(self._layers[name], self._replaced)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class StoredTensors(CanonicalWeights):
    """Layer name -> read-only array as the file stores it, read when it is asked for."""

    def __getitem__(self, name: str) -> Array:
        return arriving.stored_now(self._layers[name], self._replaced)


class OnnxNetwork:
    """A network in an ONNX file; a value: `with_weights` makes another one.

    Kernels are (out, in, *kernel): ConvTranspose (out / group, in, *kernel), a grouped Conv
    (out, in / group, *kernel), a batched MatMul (out, in, *batch), experts (expert, out, in),
    recurrent layers (gates * hidden, in, directions). Embeddings, biases and norms keep their
    stored layout.
    """

    def __init__(
        self,
        file: ModelFile,
        listed: Listing,
        replaced: Mapping[Address, Array] | None = None,
        rounding: Mapping[str, float] | None = None,
        rule: Rule | None = None,
    ) -> None:
        self._file, self._listed = file, listed
        self._replaced = Overlay.of(replaced or {})
        self._rounding: Mapping[str, float] = MappingProxyType(dict(rounding or {}))
        self._rule = rule

    def __repr__(self) -> str:
        return f"OnnxNetwork({str(self.path)!r}, {len(self._listed)} layers)"

    @property
    def path(self) -> Path:
        """The file as it was opened; for a network in memory words that stand in its place."""
        return self._file.path

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the .onnx bytes, then of each external tensor, as opened.

        Of a model in one file this is the SHA-256 of the file.
        """
        return self._file.sha256

    def same_file(self, other: OnnxNetwork) -> bool:
        """Whether both are the same file or equal ones, whatever weights were replaced."""
        return self._file is other._file or self.sha256 == other.sha256

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) that changes with the graph and with every weight.

        That of the file, `sha256`, while every weight is as in the file; else one over it, and over
        the name and the stored values of each layer that has others.
        """
        names = {entry.tensor.address: name for name, entry in self._listed.items()}
        tensors = {address: self._file.tensors[address] for address in self._replaced}
        # What scales a layer may be a single number, which is no layer itself.
        changed = {
            names.get(address, str(address)): address
            for address, tensor in tensors.items()
            if not same_bytes(stored_bytes(self._replaced[address], tensor.data_type), tensor.raw())
        }
        if not changed:
            return self.sha256
        state = hashlib.sha256(self.sha256.encode())
        for name, address in sorted(changed.items()):
            kept = stored_bytes(self._replaced[address], tensors[address].data_type)
            state.update(f"{len(name)} {name} {kept.nbytes} ".encode())
            state.update(kept.data)
        return state.hexdigest()

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """Every layer, in the order in which the network computes."""
        return tuple(entry.layer for entry in self._listed.values())

    @cached_property
    def hidden_axes(self) -> tuple[HiddenAxis, ...]:
        """Channels that may change places, by the layer that makes them first.

        Those that every operator of the main graph is known to treat alike; layers on a grid, and
        those whose weights arrive through arithmetic, keep theirs in their places.
        """
        from nnw_onnx.graph import channels

        return channels.hidden_axes(self._file, self._listed)

    @property
    def weights(self) -> Weights:
        """Weights by layer name as they arrive at their operator, canonical layout, read-only.

        Arithmetic between stored tensors and the operator is evaluated, and integers are numbers.
        Reading raises `ModelFileError` where that needs more memory than a file may ask for.
        """
        return CanonicalWeights(self._listed, self._replaced)

    @cached_property
    def replaced(self) -> frozenset[str]:
        """Names of the layers that have other weights than the file."""
        return frozenset(
            name for name, e in self._listed.items() if e.tensor.address in self._replaced
        )

    @cached_property
    def addresses(self) -> Mapping[str, Address]:
        """Layer name -> the path of fields and indices to its tensor in the model's message.

        It ends in ("initializer", k) or, for the value of a Constant, in the attribute; it holds
        for the message in `runnable()` too.
        """
        return {name: entry.tensor.address for name, entry in self._listed.items()}

    @cached_property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Inputs that must be fed: those of the graph that have no initializer."""
        return description.inputs(self._file)

    @cached_property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Outputs of the graph."""
        return description.outputs(self._file)

    @cached_property
    def last_operators(self) -> tuple[str, ...]:
        """For each output the type of the operator that computes it, or ""; views do not count."""
        from nnw_onnx.graph import endings

        return endings.last_operators(self._file)

    @cached_property
    def opset(self) -> Mapping[str, int]:
        """Operator set version by domain ("" is the standard one)."""
        return description.opset(self._file)

    @cached_property
    def producer(self) -> str:
        """Name and version of the program that wrote the file, possibly empty."""
        return description.producer(self._file)

    @cached_property
    def card(self) -> Mapping[str, str]:
        """What the file says of itself: key -> text, as whoever wrote it claims."""
        return description.card(self._file)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before trusting results; one line each.

        Those of `reading_warnings`, and what the package onnx objects to.
        """
        return (*self.reading_warnings, *description.objections(self._file))

    @cached_property
    def reading_warnings(self) -> tuple[str, ...]:
        """What a person should know before trusting what is read from weights; one line each.

        Reads every weight once, to find values that are not finite.
        """
        return description.warnings(self._file, self._listed, self._replaced)

    @cached_property
    def parameters(self) -> int:
        """Number of floating-point parameters in all layers, quantized ones included."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def weight_count(self) -> int:
        """Number of weights in kernels, the Weights of the standard."""
        return sum(layer.size for layer in self.layers if layer.role == "kernel")

    def coverage(self, names: Iterable[str] | None = None) -> Coverage:
        """Which part of the floating-point weights of the file these layers reach.

        Args:
            names: names of layers; None for all that "all" means, see `Layer.in_all`.

        Raises:
            CarrierNotFoundError: there is no layer of that name.
        """
        from nnw_onnx.graph import covering

        if names is None:
            names = [layer.name for layer in self.layers if layer.in_all]
        unknown = next((name for name in names if name not in self._listed), None)
        if unknown is not None:
            raise CarrierNotFoundError(
                f"coverage: expected names of layers, got {shown(unknown)}; list them with "
                "`nnw layers`"
            )
        return covering.coverage(self._listed, names)

    @cached_property
    def copies(self) -> tuple[tuple[str, ...], ...]:
        """Names of layers that hold equal weights in tensors of their own, group by group.

        Reads the weights of layers of equal shape.
        """
        from nnw_onnx.graph import covering

        return covering.copies(self.layers, self.weights, self.stored)

    @cached_property
    def no_weights_reason(self) -> str | None:
        """One sentence that says why no kernel can be replaced, or None where one can."""
        return description.no_weights_reason(self._file, self.layers)

    def with_card(self, entries: Mapping[str, str], prefix: str) -> Self:
        """The same network with these texts on its card, for all whose key begins with the prefix.

        All else of the file is byte-identical. Raises `ModelFileError` where they find no room.
        """
        from nnw_onnx.graph import cards

        file = cards.with_entries(self._file, entries, prefix)
        return type(self)(file, self._listed, self._replaced, self._rounding, self._rule)

    def beside(self, reference: OnnxNetwork) -> Self:
        """The same network, which tells of each layer whether a public network gives it away.

        Layers equal to one of the reference, or nearly, have `Layer.public`; no method chooses
        them by itself.
        """
        from nnw_onnx.graph import publicity

        told = publicity.beside(
            self._listed, self, reference, f"the reference {reference.path.name!r}"
        )
        return type(self)(self._file, told, self._replaced, self._rounding, self._rule)

    def with_weights(self, replaced: Weights) -> Self:
        """The same network with some weights replaced; nothing else is copied.

        Values are in canonical layout, of any real type, and are those that shall arrive at the
        operator: tensors are solved for with which they do, as nearly as arithmetic, grid and type
        allow. Masked weights stay masked; of weight normalisation direction and gain are set, of a
        spectral norm its first vector too; from a sum the rest is taken; of weights behind Sign,
        Tanh or Clip the nearest latent ones are stored, and those that need no change stay.
        Raises `ModelFileError` for an unknown name, a wrong shape, a value that is not finite
        (also after the cast), or a layer that is not replaceable.
        """
        from nnw_onnx.graph import landing

        overlay, rounding = self._replaced, dict(self._rounding)
        for name, values in replaced.items():
            listed = self._entry(name)
            before, on_grid = overlay, arriving.on_grid(listed)
            asked = self._ruled(name, values) if on_grid else values
            overlay = before.with_values(arriving.solved(listed, asked, before))
            if on_grid:
                rounding[name] = landing.rounding(listed, values, before, overlay)
        return type(self)(self._file, self._listed, overlay, rounding, self._rule)

    def with_resized(self, axis: HiddenAxis, resized: Weights) -> Self:
        """The same network with another number of channels along a hidden axis.

        Args:
            axis: one of `hidden_axes`, which is `resizable`.
            resized: new weights of every layer of the axis (canonical layout), all with the same
                other number of channels; see `kit.channels.resized`.

        Raises:
            ModelFileError: another axis, or one that is not resizable, a layer that is missing, or
                shapes that do not fit together.
        """
        from nnw_onnx.graph import resizing

        axes = self.hidden_axes
        if axis not in axes:
            raise ModelFileError(
                f"channels: expected one of the hidden axes of {self.path.name!r}, got another of "
                f"{shown(axis.name)}; take it from `hidden_axes`"
            )
        size = resizing.new_size(axis, self._listed, resized)
        file = resizing.resized(self._file, self._listed, self._replaced, axis, resized)
        network = type(self)(file, list_layers(file), None, self._rounding, self._rule)
        # Nothing that was proved depends on the number of channels, so it is not proved again.
        network.__dict__["hidden_axes"] = tuple(resizing.shifted(axes, axis, size))
        return network

    def _ruled(self, name: str, values: Array) -> Array:
        return values if self._rule is None else self._rule(self.rounded_by(None), name, values)

    def rounded_by(self, rule: Rule | None) -> Self:
        """The same network with another rule for new weights of quantized layers.

        Args:
            rule: from the network before, the layer and the weights that are asked for to those
                of which the nearest on the grid are taken; None for these weights themselves.
        """
        return type(self)(self._file, self._listed, self._replaced, self._rounding, rule)

    @property
    def stored(self) -> Weights:
        """Layer name -> its tensor as it is stored now, in the file's own layout and type.

        Parts of a layer are layers too, so that this is all that a training of the graph changes.
        """
        return StoredTensors(self._listed, self._replaced)

    def with_stored(self, tensors: Weights) -> Self:
        """The same network with other tensors in the place of some: nothing is solved for.

        Args:
            tensors: layer name -> values in stored layout; they are cast to the stored type.

        Raises:
            ModelFileError: an unknown name, integers, a wrong shape, or values that are not finite.
        """
        overlay = self._replaced
        for name, values in tensors.items():
            listed = self._entry(name)
            overlay = overlay.with_values({listed.tensor.address: arriving.fitted(listed, values)})
        return type(self)(self._file, self._listed, overlay, self._rounding, self._rule)

    def reading(self, name: str) -> arriving.Reading | None:
        """How the weights of a layer are read from the graph where they arrive through arithmetic.

        None where none lies between; raises `ModelFileError` for an unknown name.
        """
        return arriving.reading(self._entry(name))

    def _entry(self, name: str) -> ListedLayer:
        listed = self._listed.get(name)
        if listed is None:
            raise ModelFileError(
                f"weights: expected the name of a layer of {self.path.name!r}, got "
                f"{shown(name)}; list the layers with `nnw layers`"
            )
        return listed

    @property
    def rounding(self) -> Mapping[str, float]:
        """What the grid took of the new weights of each quantized layer that has some.

        RMS difference of the weights that arrive and those that were asked for, over the RMS change
        that was asked for (>= 0, 0 where no change was): 0.1 is a tenth of the change lost, and 1
        as much as if nothing had been changed.
        """
        return self._rounding

    def grid(self, name: str) -> str | None:
        """The grid of a layer in words, or None for a layer of floating-point weights."""
        from nnw_onnx.graph import landing

        listed = self._listed[name]
        return landing.words(listed) if arriving.on_grid(listed) else None

    def neighbours(self, name: str) -> tuple[Array, Array]:
        """The next smaller and next larger values on the grid of a layer; at an end the same."""
        from nnw_onnx.graph import landing

        return landing.neighbours(self._listed[name], self._replaced)

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that the network is read from: the .onnx file, then those of external data.

        None of a network in memory.
        """
        return self._file.sources

    def files_at(self, path: str | Path) -> tuple[Path, ...]:
        """The files that `save` may write there: `path`, and `path`.data for external data."""
        from nnw_onnx.graph import saving

        target = Path(path)
        return (target, saving.data_path(target)) if len(self.sources) > 1 else (target,)

    def begun(self, path: str | Path) -> AbstractContextManager[Ahead | None]:
        """Begin to copy large weights for a network of which a few change, while they are computed.

        What it gives is for `save` of that network at the same path, inside the context; nothing is
        left of it after. None where that would win little.
        """
        from nnw_onnx.graph import ahead

        return ahead.begun(self._file, Path(path))

    def save(self, path: str | Path, *, sidecar: bool = False, ahead: Ahead | None = None) -> None:
        """Write the network, external data included; atomic, nothing half-written is left.

        External data go to `path`.data, whatever the file was called that they were read from, or
        stay where they are if they lie beside `path` and none of them was replaced. All else is
        byte-identical but for the replaced tensors. Raises `ModelFileError` where the place cannot
        be written, or where `path`.data is not that of the network that is overwritten.

        Args:
            path: of the .onnx file.
            sidecar: whether `path`.data holds the replaced tensors alone. All others stay in the
                data files of the network, which must lie beside `path`: what is written needs them,
                and cannot be opened once they are gone or changed.
            ahead: what `begun` has begun for this path.
        """
        from nnw_onnx.graph import saving

        saving.save(self._file, self._replaced, Path(path), sidecar=sidecar, ahead=ahead)

    def to_bytes(self) -> bytes:
        """The serialized model with all values inside; without external data what `save` writes.

        Raises `ModelFileError` for one of more than 2 GiB.
        """
        from nnw_onnx.graph import saving

        return saving.in_one_piece(self._file, self._replaced)

    def to_proto(self) -> ModelProto:
        """The network as a message of the package onnx, with all values inside.

        Raises `ModelFileError` for one of more than 2 GiB.
        """
        proto = ModelProto()
        proto.ParseFromString(self.to_bytes())
        return proto

    def inner(self, names: Iterable[str]) -> dict[str, str]:
        """Each name -> the value of the main graph that it stands for.

        A name is that of a layer, and stands for the output of the operator that consumes it (the
        first one of a shared layer), with its bias also where that is an Add of its own, before
        every activation function, and as integers where the operator computes with integers. What
        is not the name of a layer is that of a value which a node of the main graph computes. Names
        of nodes are none: files repeat them or leave them out.

        Raises:
            CarrierNotFoundError: neither; or a layer inside a subgraph or function.
        """
        return {name: self._inner(name) for name in names}

    def _inner(self, name: str) -> str:
        listed = self._listed.get(name)
        if listed is None:
            if name in description.computed(self._file):
                return name
            reason = "no such name"
        elif listed.result is not None:
            return listed.result
        else:
            reason = "a layer inside a subgraph or function, whose values cannot be reached"
        raise CarrierNotFoundError(
            f"layer {shown(name)}: expected a layer, or a value that a node of the main graph "
            f"computes, got {reason}; choose another one with `nnw layers`"
        )

    def inventory(
        self, *, everything: bool = False, renamed: Mapping[str, str] | None = None
    ) -> Inventory:
        """All that the network consists of, however its file is written; see `graph.inventory`.

        Args:
            everything: whether names of nodes, texts and metadata count too.
            renamed: names of values of the main graph that are told as others.
        """
        from nnw_onnx.graph import inventory

        return inventory.take(self._file, self._replaced, everything=everything, renamed=renamed)

    def runnable(self, layers: Iterable[str] = ()) -> Runnable:
        """The model as bytes and its weights as arrays, for a session of the runtime.

        With names of layers or of inner values (see `inner`) these become outputs of the graph, in
        this copy only. A runtime then fuses no operators across them, so the other outputs may
        differ from those without them in the last bits.

        Raises:
            CarrierNotFoundError: see `inner`.
        """
        from nnw_onnx.graph import runnable

        return runnable.make_runnable(self._file, self._replaced, self.inner(layers))

    def lifted(self) -> Runnable:
        """As `runnable`, with weights as inputs: one session runs every network of this graph."""
        from nnw_onnx.graph import runnable

        return runnable.lifted(self.runnable())

    def cuts(self, base: OnnxNetwork) -> tuple[Cut, ...]:
        """Places where the graph can be cut so that all before is as in another network of it.

        Args:
            base: of the same file.

        Returns:
            A few, the latest first; none where the file is another one, or nothing differs.
        """
        from nnw_onnx.graph import splitting

        if self.sha256 != base.sha256:
            return ()
        differ = {
            address
            for address in self._replaced.keys() | base._replaced.keys()
            if self._replaced.get(address) is not base._replaced.get(address)
        }
        question = "cuts", frozenset(differ)
        if question not in self._file.skeletons:
            found = splitting.cuts(self._file.proto.graph, differ)
            self._file.skeletons[question] = tuple(islice(found, _MOST_CUTS))
        made: tuple[Cut, ...] = self._file.skeletons[question]
        return made

    def head(self, cut: Cut) -> Runnable:
        """What is before a cut, which answers the values of the cut."""
        from nnw_onnx.graph import runnable, splitting

        part = splitting.Part(cut.head, outputs=cut.values)
        return runnable.make_runnable(self._file, self._replaced, {}, part)

    def tail(self, cut: Cut, given: Sequence[TensorInfo]) -> Runnable:
        """What is after a cut, fed its values, whose types and shapes are given."""
        from nnw_onnx.graph import runnable, splitting

        part = splitting.Part(cut.tail, given=tuple(given))
        return runnable.make_runnable(self._file, self._replaced, {}, part)


def open_network(
    path: str | Path, limits: Limits | None = None, keep: object = None
) -> OnnxNetwork:
    """Open an ONNX model as untrusted input; weights are read when they are asked for.

    Args:
        path: the file.
        limits: what it may ask for at most.
        keep: what must live as long as the network and all that are made of it, such as the
            temporary folder of the file.

    Raises:
        ModelFileError: one line, for a file that is missing, broken, hostile or not ONNX.
    """
    file = dataclasses.replace(open_file(Path(path), limits or Limits()), keep=keep)
    return OnnxNetwork(file, list_layers(file))


def open_in_memory(given: object, limits: Limits | None = None) -> OnnxNetwork | None:
    """Open what an exporter returned, as untrusted input like a file; None where it is no network.

    Args:
        given: see `memory.InMemory`; it is copied, so later changes of it do not count.
        limits: what it may ask for at most.

    Raises:
        ModelFileError: one line, for a network that is broken, hostile or has external data.
    """
    data = memory.serialized(given)
    if data is None:
        return None
    file = memory.open_bytes(data, limits or Limits())
    return OnnxNetwork(file, list_layers(file))
