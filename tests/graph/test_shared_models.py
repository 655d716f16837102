"""Models that other people made, and files that other people broke."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.vocabulary import Layer

from .handmade import options

pytestmark = pytest.mark.shared_data
PROVIDERS = ["CPUExecutionProvider"]
SECONDS = 20
OPENS = 75
"""Of 76 models; the data file of one (a tiny Llama) is missing on purpose."""
RUNS = 67
"""Models that onnxruntime loads by itself: without custom domains and with an opset."""
NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}
SLOW = frozenset(
    {
        "AGLLNet_256x256.onnx", "DNSMOS_sig.onnx", "DNSMOS_bak_ovr.onnx",
        "DNSMOS_sig_bak_ovr.onnx", "pDNSMOS_sig_bak_ovr.onnx",
    }
)  # fmt: skip
"""Half of the time of all runs; run unchanged only."""
SHAPES = {
    "oww_melspectrogram.onnx": {"input": (1, 1280)},
    "silero_vad_16k_op15.onnx": {"input": (1, 576), "state": (2, 1, 128)},
}


@contextmanager
def no_hang(path: Path) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"{path.name}: still busy after {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def open_or_refuse(path: Path) -> OnnxNetwork | str:
    """The network, or the message of the refusal."""
    try:
        return open_network(path)
    except ModelFileError as error:
        return str(error)


def _models(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "models").rglob("*.onnx"))


@pytest.fixture(scope="module")
def opened(shared_data: Path) -> dict[Path, OnnxNetwork]:
    found = {}
    for path in _models(shared_data):
        with no_hang(path):
            result = open_or_refuse(path)
        if isinstance(result, str):
            assert "expected its external data file" in result
        else:
            found[path] = result
    return found


def _session(path: Path) -> ort.InferenceSession | None:
    try:
        return ort.InferenceSession(str(path), options(), PROVIDERS)
    except (RuntimeError, ValueError, ort.capi.onnxruntime_pybind11_state.Fail):
        return None
    except ort.capi.onnxruntime_pybind11_state.InvalidGraph:
        return None


def _feeds(session: ort.InferenceSession, path: Path) -> dict[str, Any] | None:
    rng = np.random.Generator(np.random.PCG64(0))
    feeds: dict[str, Any] = {}
    for given in session.get_inputs():
        default = tuple(d if isinstance(d, int) and d > 0 else 1 for d in given.shape)
        shape = SHAPES.get(path.name, {}).get(given.name, default)
        if given.type not in NUMBERS:
            return None
        dtype = np.dtype(NUMBERS[given.type])
        array = rng.random(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feeds[given.name] = array.astype(dtype)
    return feeds


def _same(one: list[NDArray[Any]], other: list[NDArray[Any]]) -> bool:
    return all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")
        for a, b in zip(one, other, strict=True)
    )


def test_models_open_and_list(opened: dict[Path, OnnxNetwork], shared_data: Path) -> None:
    assert len(opened) == OPENS
    assert len(_models(shared_data)) == OPENS + 1
    for path, network in opened.items():
        for layer in network.layers:
            array = network.weights[layer.name]
            assert array.shape == layer.shape, (path, layer)
            if layer.axes is not None:
                assert sorted(layer.axes) == list(range(len(layer.stored_shape)))
        kernels = [k for k in network.layers if k.role == "kernel" and k.replaceable]
        assert (network.no_weights_reason is None) == bool(kernels), path
        assert not any(layer.size < 2 for layer in kernels if layer.operator != "Conv")


def test_saving_unchanged_is_identical(opened: dict[Path, OnnxNetwork], tmp_path: Path) -> None:
    for k, (path, network) in enumerate(opened.items()):
        folder = tmp_path / str(k)
        folder.mkdir()
        network.save(folder / path.name)
        for saved in folder.rglob("*"):
            original = path.parent / saved.relative_to(folder)
            assert saved.read_bytes() == original.read_bytes(), saved.name
        external = {t.external.location for t in network._file.tensors.values() if t.external}
        assert {s.name for s in folder.iterdir()} == {path.name} | external


def test_runnable_is_what_the_runtime_loads(opened: dict[Path, OnnxNetwork]) -> None:
    """The same bits come out of the skeleton with its arrays and out of the file."""
    loaded = compared = 0
    for path, network in opened.items():
        session = _session(path)
        if session is None:
            continue
        loaded += 1
        runnable = network.runnable()
        other = ort.InferenceSession(runnable.model, options(runnable), PROVIDERS)
        feeds = _feeds(session, path)
        if feeds is None:
            continue
        compared += 1
        assert _same(session.run(None, feeds), other.run(None, feeds)), path.name
    assert (loaded, compared) == (RUNS, RUNS - 1)


def test_inner_values_are_those_of_the_graph(opened: dict[Path, OnnxNetwork]) -> None:
    """Some kernels of every third model, against a copy of the file with further outputs."""
    right = inside = 0
    for path, network in list(opened.items())[::3]:
        large = path.name in SLOW or network.parameters > 500_000
        session = None if large else _session(path)
        feeds = None if session is None else _feeds(session, path)
        names = [k.name for k in network.layers if k.role == "kernel"]
        reached = [n for n in names if network._listed[n].result is not None]
        inside += len(names) - len(reached)
        if feeds is None or not reached:
            continue
        some = reached[:: max(1, len(reached) // PER_MODEL)]
        made = network.runnable(some)
        assert list(made.inner) == some
        model = onnx.load(path)
        shown = [o.name for o in model.graph.output]
        new = [v for v in dict.fromkeys(made.inner.values()) if v not in shown]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in new)
        by_hand = ort.InferenceSession(model.SerializeToString(), options(), PROVIDERS)
        ours = ort.InferenceSession(made.model, options(made), PROVIDERS)
        assert _same(by_hand.run(None, feeds), ours.run(None, feeds)), path.name
        for layer in some:
            consumer = network._listed[layer].layer
            (maker,) = [n for n in model.graph.node if made.inner[layer] in n.output]
            if maker.op_type == "Add" != consumer.operator:  # of the bias
                (maker,) = [n for n in model.graph.node if set(maker.input) & set(n.output)]
            assert maker.op_type == consumer.operator, (path.name, layer)
        right += len(some)
    assert right > 35
    assert inside < 20


def test_changed_models_save_and_run_alike(opened: dict[Path, OnnxNetwork], tmp_path: Path) -> None:
    """Every kernel is changed; the saved file and the Runnable agree to the last bit."""
    changed = 0
    for path, network in opened.items():
        kernels = [k for k in network.layers if k.role == "kernel" and k.replaceable]
        if not kernels or path.name in SLOW or (session := _session(path)) is None:
            continue
        feeds = _feeds(session, path)
        new = network.with_weights(
            {k.name: network.weights[k.name].astype(np.float32) * 0.9 for k in kernels}
        )
        new.save(tmp_path / "m.onnx")
        saved = ort.InferenceSession(str(tmp_path / "m.onnx"), options(), PROVIDERS)
        runnable = new.runnable()
        other = ort.InferenceSession(runnable.model, options(runnable), PROVIDERS)
        assert feeds is not None
        outputs = saved.run(None, feeds)
        assert _same(outputs, other.run(None, feeds)), path.name
        again = open_network(tmp_path / "m.onnx")
        assert again.layers == network.layers
        for kernel in kernels:
            assert np.array_equal(again.weights[kernel.name], new.weights[kernel.name])
        changed += 1
    assert changed > 50


def test_bad_models(shared_data: Path) -> None:
    """One line, or an open network that says what is wrong; never a traceback or a hang."""
    refused = opened = 0
    for path in sorted((shared_data / "bad-models").rglob("*")):
        if path.is_dir():
            continue
        with no_hang(path):
            network = open_or_refuse(path)
            if isinstance(network, str):
                assert "\n" not in network
                assert "expected" in network
                refused += 1
                continue
            opened += 1
            for layer in network.layers:
                assert network.weights[layer.name].shape == layer.shape
            assert all("\n" not in warning for warning in network.warnings)
            assert network.runnable().model
    assert (refused, opened) == (27, 18)


CHANNELS = {"Conv": 1, "Gemm": 1, "MatMul": -1, "ConvTranspose": 1}
PER_MODEL = 3


def _checked_kernels(network: OnnxNetwork, model: onnx.ModelProto) -> Iterator[tuple[Layer, Any]]:
    """Some unshared kernels with the one node that consumes them on its right side."""
    kernels = [k for k in network.layers if k.role == "kernel" and k.replaceable and not k.shared]
    step = max(1, len(kernels) // PER_MODEL)
    for layer in kernels[::step]:
        index = int(layer.consumers[0].rpartition(":")[2])
        nodes = [n for n in model.graph.node if (n.op_type, n.name) == (layer.operator, layer.node)]
        named = [n for n in nodes if layer.name in n.input] or nodes
        usual = layer.operator in CHANNELS and index == 1 and layer.storage == "initializer"
        if usual and len(named) == 1 and (layer.operator, layer.group > 1) != (
            "ConvTranspose", True
        ):  # fmt: skip
            yield layer, named[0]


def _as_inputs(model: onnx.ModelProto, found: list[tuple[Layer, Any]]) -> onnx.ModelProto:
    """The model with those weights as inputs and the results of their nodes as outputs."""
    names = {layer.name for layer, _ in found}
    known = {v.name for v in model.graph.input}
    for tensor in [t for t in model.graph.initializer if t.name in names]:
        if tensor.name not in known:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        model.graph.initializer.remove(tensor)
    results = {n.output[0] for _, n in found} - {v.name for v in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=r) for r in sorted(results))
    return model


def test_output_axes(opened: dict[Path, OnnxNetwork]) -> None:
    """Changing slice 0 of a kernel changes channel 0 of its operator's result, no other."""
    right = silent = 0
    for path, network in opened.items():
        if path.name in SLOW or (own := _session(path)) is None:
            continue
        if (feeds := _feeds(own, path)) is None:
            continue
        model = onnx.load(path)
        found = list(_checked_kernels(network, model))
        settings = options()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        data = _as_inputs(model, found).SerializeToString()
        session = ort.InferenceSession(data, settings, PROVIDERS)
        stored = {
            k.name: np.ascontiguousarray(network.weights[k.name].transpose(np.argsort(k.axes)))
            for k, _ in found
        }
        given = {v.name for v in session.get_inputs()}
        feeds |= {name: array for name, array in stored.items() if name in given}
        results = sorted({consumer.output[0] for _, consumer in found})
        plain = dict(zip(results, session.run(results, feeds), strict=True)) if results else {}
        for layer, consumer in found:
            array = np.array(network.weights[layer.name])
            array[0] += 1
            other = np.ascontiguousarray(array.transpose(np.argsort(layer.axes)))
            before = plain[consumer.output[0]]
            (after,) = session.run([consumer.output[0]], feeds | {layer.name: other})
            axis = CHANNELS[layer.operator]
            different = np.moveaxis(before != after, axis, 0).reshape(before.shape[axis], -1)
            assert not different[1:].any(), (path.name, layer)
            right += bool(different[0].any())
            silent += not different[0].any()
    assert right > 150
    assert silent < right / 20
