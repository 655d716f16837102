"""A Keras model as a network of layers and weights in ONNX's layout."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from nnw_onnx.errors import CarrierNotFoundError, InferenceError, ModelFileError
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Array, Feeds, HiddenAxis, Layer, TensorInfo, Values, Weights
from nnw_onnx_tensorflow._layouts import Layout, layout_of

_BATCH = 256


@dataclass(frozen=True)
class Entry:
    """A variable of the model, its layout, and the layer that it is."""

    variable: Any
    layout: Layout
    layer: Layer

    def read(self) -> Array:
        """The present weights in canonical layout."""
        return self.layout.canonical(to_numpy(self.variable))

    def assign(self, values: Array) -> None:
        """Give the variable other weights, in canonical layout.

        Raises:
            ModelFileError: a wrong shape, or a value that is not finite once stored.
        """
        stored = _stored(self, values)
        self.variable.assign(self.layout.stored(stored, tuple(self.variable.shape)))


class KerasNetwork:
    """A view of a built `keras.Model`; a value: `with_weights` makes another one.

    Layers are named by the path of their variable, such as "conv2d_1/kernel", and listed in the
    order of `model.layers`. Kernels are (out, in, *kernel), as ONNX has them: a convolution
    (out, in / group, *kernel), its transpose the same, a depthwise one (channels * multiplier, 1,
    *kernel), a Dense (out, in), an EinsumDense with the axes of the output first. Recurrent
    kernels are (gates * hidden, in); embeddings, biases, norms and moving statistics keep the
    layout of Keras. Variables of integers are no layers.
    """

    def __init__(self, model: Any, replaced: Weights | None = None) -> None:
        """Make the view.

        Args:
            model: a built `keras.Model`; it is neither copied nor changed.
            replaced: canonical weights of layers that differ from the model's.

        Raises:
            ModelFileError: the model is no built `keras.Model`.
        """
        self.model = model
        self._entries = _entries(model)
        self._replaced: Weights = MappingProxyType(dict(replaced or {}))

    def __repr__(self) -> str:
        return f"KerasNetwork({self.model.name!r}, {len(self._entries)} layers)"

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer."""
        return tuple(entry.layer for entry in self._entries.values())

    @property
    def hidden_axes(self) -> Sequence[HiddenAxis]:
        """A view of variables does not follow the graph: none are known."""
        return ()

    @property
    def weights(self) -> Weights:
        """Layer name -> read-only copy of its present weights, made when it is asked for."""
        return _Weights(self._entries, self._replaced)

    def entry(self, name: str) -> Entry:
        """The variable of a layer and its layout.

        Raises:
            ModelFileError: there is no such layer.
        """
        if name not in self._entries:
            raise ModelFileError(
                f"weights: expected the name of a layer of model {self.model.name!r}, got {name!r}"
                f"{closest(name, self._entries)}; see KerasNetwork(model).layers"
            )
        return self._entries[name]

    def named(self, words: str) -> str:
        """The layer that is meant by a path, by its end, or by the name of a Keras layer.

        "net/conv/kernel", "conv/kernel" and "conv" name the same kernel where no other one ends so;
        what names none or several comes back as it is.
        """
        for wanted in (words, f"{words}/kernel"):
            found = [n for n in self._entries if n == wanted or n.endswith(f"/{wanted}")]
            if len(found) == 1:
                return found[0]
        return words

    def with_weights(self, replaced: Weights) -> Self:
        """The same network with some weights replaced; the model changes only by `write`.

        Raises:
            ModelFileError: an unknown name, a wrong shape, or a value that is not finite once
                stored.
        """
        new = {name: _stored(self.entry(name), value) for name, value in replaced.items()}
        return type(self)(self.model, {**self._replaced, **new})

    def with_resized(self, axis: HiddenAxis, resized: Weights) -> Self:
        """No hidden axis of a model is known, so that none is resized: raises `ModelFileError`."""
        raise ModelFileError(
            f"channels: expected one of the hidden axes, got {axis.name!a} of a model that has "
            "none; export it, and resize the network of the file"
        )

    def write(self) -> None:
        """Give the replaced weights to the model."""
        for name, value in self._replaced.items():
            self.entry(name).assign(value)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the layers and of every weight."""
        state = hashlib.sha256(repr(self.layers).encode())
        for name, values in self.weights.items():
            state.update(f"{name} {values.dtype} {values.shape};".encode())
            state.update(np.ascontiguousarray(values).tobytes())
        return state.hexdigest()

    @property
    def producer(self) -> str:
        """Name and version of the framework, and its backend."""
        import keras

        return f"keras {keras.__version__} on {keras.backend.backend()}"

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Inputs of the model, where it tells them (a subclass of `keras.Model` does not)."""
        try:
            known = self.model.inputs
        except AttributeError:  # Keras has no public class for the models that tell them
            return ()
        return tuple(TensorInfo(str(x.name), tuple(x.shape), str(x.dtype)) for x in known)

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output (n, ...) of the model, in inference mode, then what these layers answer.

        Raises:
            InferenceError: weights were replaced but not written to the model.
            CarrierNotFoundError: there is no such layer.
        """
        from nnw_onnx_tensorflow.hearing import canonical_activation, hearing

        if self._replaced:
            raise InferenceError(
                "model: expected the model's own weights, got replaced ones; call write() first"
            )
        missing = [name for name in layers if name not in self._entries]
        if missing:
            raise CarrierNotFoundError(
                f"layer: expected one of model {self.model.name!r}, got {missing[0]!r}"
                f"{closest(missing[0], self._entries)}; decode the model of the key"
            )
        entries = [self.entry(name) for name in layers]
        pieces: list[list[Array]] = []
        with hearing(self.model, entries, {}) as heard:
            for part in _parts(self._ordered(feeds)):
                outputs = flat_outputs(self.model(part, training=False))
                inner = [canonical_activation(e, to_numpy(heard[e.layer.name])) for e in entries]
                pieces.append([*outputs, *inner])
        joined = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        names = [f"output_{i}" for i in range(len(joined) - len(entries))]
        return dict(zip([*names, *layers], joined, strict=True))

    def _ordered(self, feeds: Feeds) -> list[Array]:
        """The values in the order of the inputs: by name, or by place where no name fits."""
        names = [info.name for info in self.inputs]
        if any(name in feeds for name in names):
            return [feeds[name] for name in names]
        return list(feeds.values())


def _parts(values: Sequence[Array]) -> Iterator[Array | list[Array]]:
    for start in range(0, len(values[0]), _BATCH):
        part = [v[start : start + _BATCH] for v in values]
        yield part[0] if len(part) == 1 else part


class _Weights(Mapping[str, Array]):
    def __init__(self, entries: Mapping[str, Entry], replaced: Weights) -> None:
        self._entries, self._replaced = entries, replaced

    def __getitem__(self, name: str) -> Array:
        if name in self._replaced:
            return self._replaced[name]
        return _locked(np.array(self._entries[name].read()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def to_numpy(value: Any) -> Array:
    """A Keras variable or tensor of any backend as an array."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(value))


def flat_outputs(outputs: Any) -> list[Array]:
    """What a model answers, as arrays in the order of Keras' own flattening."""
    import keras

    return [to_numpy(value) for value in keras.tree.flatten(outputs)]


def _entries(model: Any) -> Mapping[str, Entry]:
    import keras

    if not isinstance(model, keras.Model) or not model.built or not model.variables:
        built = "one that is not built" if isinstance(model, keras.Model) else type(model).__name__
        raise ModelFileError(
            f"model: expected a built keras.Model with weights, got {built}; call it on a batch "
            "first"
        )
    found: dict[str, Entry] = {}
    twins: Counter[str] = Counter()
    for position, owner, variable in _owned(model):
        if not keras.backend.is_float_dtype(str(variable.dtype)):
            continue
        path = str(variable.path)
        twins[path] += 1
        name = path if twins[path] == 1 else f"{path}'{twins[path]}"
        layout = layout_of(owner, variable)
        found[name] = Entry(variable, layout, layout.layer(name, variable, owner.name, position))
    return MappingProxyType(found)


def _owned(model: Any) -> Iterator[tuple[int, Any, Any]]:
    """Position, innermost layer and variable of every variable."""
    owners: dict[int, tuple[int, Any]] = {}
    # A layer comes before the layers in it, so the last one that has a variable owns it.
    for position, layer in enumerate(model._flatten_layers()):
        for variable in layer.variables:
            owners[id(variable)] = position, layer
    for variable in model.variables:
        position, layer = owners.get(id(variable), (0, model))
        yield position, layer, variable


def _stored(entry: Entry, value: Array) -> Array:
    layer = entry.layer
    if np.shape(value) != layer.shape:
        raise ModelFileError(
            f"weights: expected shape {layer.shape} for {layer.name!r}, got {np.shape(value)}; "
            "give the layer's own shape (out, in, *kernel)"
        )
    with np.errstate(over="ignore"):
        stored = np.array(value, dtype=to_numpy(entry.variable).dtype)
    if not np.isfinite(stored.astype(np.float64)).all():
        raise ModelFileError(
            f"weights: expected values of {layer.name!r} that are finite as {layer.dtype}, got "
            "others; give smaller ones"
        )
    return _locked(stored)


def _locked(array: Array) -> Array:
    array.flags.writeable = False
    return array
