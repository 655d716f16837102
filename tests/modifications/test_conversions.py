"""Modifications from file to file, on shipped networks and on some of other people."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit import candidates
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.math.quantizing import fake_quantize
from nnw_onnx.testing import ArrayBench
from nnw_onnx.testing.file_bench import shipped_network
from nnw_onnx.vocabulary import Modification, Modified, Network, Spec


def make(name: str, **options):
    return plugins.create(Modification, Spec(name, options))


def modified(network: OnnxNetwork, folder, modification, samples=None) -> Modified:
    """What becomes of the network, through files in a folder."""

    def through_file(given: Network, change) -> Network:
        source, target = folder / "source.onnx", folder / "target.onnx"
        given.save(source)
        change(source, target)
        return open_network(target)

    rng = np.random.Generator(np.random.PCG64(0))
    return modification.modify(network, ArrayBench(samples=samples, through_file=through_file), rng)


def samples_for(network: OnnxNetwork, count: int = 96) -> ArraySamples:
    rng = np.random.Generator(np.random.PCG64(4))
    (port,) = network.inputs
    sizes = [d if isinstance(d, int) else 16 for d in port.shape[1:]]
    feeds = {port.name: rng.random((count, *sizes), np.float32)}
    return ArraySamples(feeds, np.zeros(count, np.int64))


def answers(network: OnnxNetwork, samples: ArraySamples) -> np.ndarray:
    feeds = samples.read(np.arange(20)).feeds
    return next(iter(Session(network.runnable()).predict(feeds).values()))


def kernels(network: OnnxNetwork) -> dict[str, np.ndarray]:
    return {x.name: network.weights[x.name] for x in network.layers if x.role == "kernel"}


@pytest.mark.parametrize(("mode", "axis"), [("static", 0), ("dynamic", None)])
def test_quantized_kernels_are_read_as_the_rounded_ones(tmp_path, mode, axis):
    """The weights that the Decoder reads, against the restatement of the quantizer's arithmetic."""
    network = shipped_network()
    samples = samples_for(network)
    done = modified(network, tmp_path, make("int8", mode=mode, samples=64), samples)
    old, new = kernels(network), kernels(done.network)
    assert len(new) == len(old) > 1
    for (name, given), (other, read) in zip(old.items(), new.items(), strict=True):
        assert other.startswith(name)
        assert other.endswith("_quantized")
        assert {x.name: x for x in done.network.layers}[other].quantization is not None
        assert read.shape == given.shape
        expected = fake_quantize(given, 8, symmetric=True, axis=axis)
        np.testing.assert_allclose(read, expected, rtol=0, atol=1e-6 * np.abs(given).max())
    before, after = answers(network, samples), answers(done.network, samples)
    assert 0 < np.abs(before - after).max() < 0.2 * np.abs(before).max()


def test_quantizing_twice_is_refused(tmp_path):
    network = shipped_network()
    once = modified(network, tmp_path, make("int8", mode="dynamic"))
    folder = tmp_path / "again"
    folder.mkdir()
    with pytest.raises(
        ConfigurationError, match=r"^int8: expected a kernel that onnxruntime quant"
    ):
        modified(once.network, folder, make("int8", mode="dynamic"))


@pytest.mark.parametrize(("options", "needed"), [({}, ("data",)), ({"mode": "dynamic"}, ())])
def test_calibration_needs_data(options, needed):
    assert make("int8", **options).needed() == needed


def test_half_precision_rounds_every_kernel_under_its_own_name(tmp_path):
    network = shipped_network()
    done = modified(network, tmp_path, make("float16"))
    old, new = kernels(network), kernels(done.network)
    assert list(new) == list(old)
    for name, given in old.items():
        assert new[name].dtype == np.float16
        np.testing.assert_array_equal(new[name], given.astype(np.float16))
    samples = samples_for(network)
    before, after = answers(network, samples), answers(done.network, samples)
    assert 0 < np.abs(before - after).max() < 0.01 * np.abs(before).max()


def test_half_precision_of_half_precision_is_refused(tmp_path):
    once = modified(shipped_network(), tmp_path, make("float16"))
    folder = tmp_path / "again"
    folder.mkdir()
    with pytest.raises(
        ConfigurationError, match=r"^float16: expected kernels in float32, got a network"
    ):
        modified(once.network, folder, make("float16"))


def test_nothing_to_fold_is_said(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"^bn-folding: .*got none; there is nothing to fol"
    ):
        modified(shipped_network(), tmp_path, make("bn-folding"))


def test_replaced_weights_are_what_is_converted(tmp_path):
    network = shipped_network()
    name = next(iter(kernels(network)))
    other = network.with_weights({name: network.weights[name] * 2})
    done = modified(other, tmp_path, make("float16"))
    expected = (network.weights[name] * 2).astype(np.float16)
    np.testing.assert_array_equal(done.network.weights[name], expected)


def twins(folder) -> OnnxNetwork:
    rng = np.random.Generator(np.random.PCG64(7))
    names = {"c": (4, 4, 3, 3), "c2": (4, 4, 3, 3), "m": (4, 4), "m.b": (4, 4)}
    arrays = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in names.items()
    ]
    make_node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make_node("Conv", ["x", "c"], ["c_out"], pads=[1, 1, 1, 1]),
        make_node("Conv", ["c_out", "c2"], ["d"], pads=[1, 1, 1, 1]),
        make_node("MatMul", ["d", "m"], ["e"]),
        make_node("MatMul", ["e", "m.b"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "g", [info("x", 1, ["n", 4, 4, 4])], [info("y", 1, ["n", 4, 4, 4])], arrays
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "t.onnx")
    return open_network(folder / "t.onnx")


@pytest.mark.parametrize(
    ("name", "options"), [("int8", {"samples": 8}), ("int8", {"mode": "dynamic"}), ("float16", {})]
)
def test_carriers_are_found_again_among_kernels_of_one_shape(tmp_path, name, options):
    """Two convolutions and two matrices, of one shape each; one name begins as another does."""
    network = twins(tmp_path)
    done = modified(network, tmp_path, make(name, **options), samples_for(network, 16))
    shapes = [w.shape for w in kernels(network).values()]
    assert [shapes.count(shape) for shape in shapes] == [2, 2, 2, 2]
    for layer, given in kernels(network).items():
        found = candidates.likely(done.network, layer, given.shape)
        assert found is not None
        values = found.of(done.network.weights)
        assert np.corrcoef(values.ravel(), given.ravel())[0, 1] > 0.98, layer


@pytest.mark.shared_data
def test_a_network_of_other_people_is_folded_and_quantized(shared_data, tmp_path):
    """MobileNet v2: answers stay in folding; in quantizing every kernel is found again by name."""
    (path,) = (shared_data / "models").rglob("stm32_mobilenet_v2_128_0.5.onnx")
    network = open_network(path)
    samples = samples_for(network, 32)
    before = answers(network, samples)
    folded = modified(network, tmp_path, make("bn-folding")).network
    assert "BatchNormalization" not in {
        n.op_type for n in onnx.load(tmp_path / "target.onnx").graph.node
    }
    assert np.abs(answers(folded, samples) - before).max() <= 1e-4 * np.abs(before).max()
    assert list(kernels(folded)) == list(kernels(network))
    folder = tmp_path / "second"
    folder.mkdir()
    quantized = modified(folded, folder, make("int8", samples=8), samples).network
    stored = {t.name: t for t in onnx.load(folder / "target.onnx").graph.initializer}
    for name, given in kernels(folded).items():
        found = [read for other, read in kernels(quantized).items() if other.startswith(f"{name}_")]
        (read,) = [read for read in found if read.shape == given.shape]
        step = onnx.numpy_helper.to_array(stored[f"{name}_scale"])
        errors = np.abs(read - given).reshape(len(given), -1).max(axis=1)
        assert (errors <= step * 0.501).all(), name
