"""Providers by name, runs by IO binding, lifted weights, memory of a device: without a device."""

from __future__ import annotations

import os
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import nnw_onnx
from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import (
    LiftedSession,
    Session,
    SessionSettings,
    bound_device,
    check_providers,
    device_peak,
    full_name,
    is_worthwhile,
    sessions,
)
from nnw_onnx.inference.binding import Kept
from nnw_onnx.inference.providers import nodes_by_provider, with_options

from .graphs import Graph, convolution_with_batch_norm, graph_of

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("name", "full"),
    [("cpu", CPU), ("CUDA", CUDA), (CUDA, CUDA), (" cuda:1 ", f"{CUDA}:1"), ("mine", "mine"),
     ("tensorrt", "TensorrtExecutionProvider"), ("dml", "DmlExecutionProvider")],
)  # fmt: skip
def test_short_names_are_those_of_onnxruntime(name: str, full: str) -> None:
    assert full_name(name) == full
    assert SessionSettings((name,)).providers == (full,)
    provider = full.partition(":")[0]
    assert provider in onnxruntime.get_all_providers() or provider == "mine"


def test_the_number_of_a_device_is_an_option() -> None:
    assert with_options(["cuda:1", "cpu"]) == [(CUDA, {"device_id": "1"}), CPU]
    assert bound_device(["cuda:1", "cpu"]) == ("cuda", 1)
    assert bound_device(["tensorrt"]) == ("cuda", 0)
    assert bound_device(["cpu", "cuda"]) is None
    assert [is_worthwhile(SessionSettings((n,))) for n in ("cuda:1", "cpu")] == [True, False]


@pytest.mark.parametrize("name", ["cpu:1", "cuda:x", "cuda:", "cuda:-1"])
def test_what_has_no_such_device(name: str) -> None:
    with pytest.raises(InferenceError, match=r"expected a provider with devices .*; write cuda:0"):
        check_providers((name,))


def test_a_configuration_keeps_full_names() -> None:
    from nnw_onnx.runs.tables import SessionTable

    assert SessionTable(providers=("cuda:1", "cpu")).providers == (f"{CUDA}:1", CPU)


def test_nodes_are_counted_where_they_ran() -> None:
    model = graph_of(
        [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Exp", ["h"], ["y"])],
        {"x": [3]}, {"y": [3]},
    ).SerializeToString()  # fmt: skip
    options = onnxruntime.SessionOptions()
    x = np.ones(3, np.float32)
    assert nodes_by_provider(onnxruntime, model, options, ("cpu",), {"x": x}) == {CPU: 2}


def test_a_provider_that_leaves_its_node_to_another_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "_check_used", lambda *given: None)
    monkeypatch.setattr(sessions, "_check_available", lambda *given: None)
    monkeypatch.setattr(sessions, "nodes_by_provider", lambda *given: Counter({CPU: 1}))
    with pytest.raises(InferenceError, match=f"expected {CUDA} to run .* run by {CPU}; install"):
        check_providers((CUDA, CPU))


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of the CPU whose inputs are bound as on a device."""
    monkeypatch.setattr(sessions, "bound_device", lambda names: ("cpu", 0))


def test_bound_runs_answer_as_others(bound: None) -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    graph = Graph(convolution_with_batch_norm(rng).SerializeToString())
    x = rng.normal(size=(5, 3, 8, 8)).astype(np.float32)
    session = Session(graph)
    assert session._bound is not None
    found = session.predict(x, batch_size=2)
    session._bound = None
    np.testing.assert_array_equal(found["y"], session.predict(x, batch_size=2)["y"])
    with pytest.raises(InferenceError, match="expected it to run, got"):
        Session(graph).run({"x": np.zeros((1, 2, 8, 8), np.float32)})


def test_settled_arrays_are_moved_once() -> None:
    kept, x = Kept(most=100), np.arange(20, dtype=np.float32)
    assert kept.value(onnxruntime, x, ("cpu", 0)) is not kept.value(onnxruntime, x, ("cpu", 0))
    x.flags.writeable = False
    one = kept.value(onnxruntime, x[:10], ("cpu", 0))
    assert kept.value(onnxruntime, x[:10], ("cpu", 0)) is one
    assert kept.value(onnxruntime, x[10:], ("cpu", 0)) is not one
    for k in range(3):
        kept.value(onnxruntime, x[k : k + 10], ("cpu", 0))
    assert kept.nbytes == 80
    assert one.numpy().tolist() == list(range(10))


def convolutions(path: Path) -> nnw_onnx.Network:
    rng = np.random.Generator(np.random.PCG64(4))
    arrays = {
        "w1": rng.normal(size=(16, 3, 3, 3)), "w2": rng.normal(size=(16, 16, 3, 3)),
        "b2": rng.normal(size=16),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["h"], name="c1"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "w2", "b2"], ["y"], name="c2"),
    ]
    single = {n: a.astype(np.float32) for n, a in arrays.items()}
    model = graph_of(nodes, {"x": ["n", 3, 8, 8]}, {"y": ["n", 16, 4, 4]}, single)
    path.write_bytes(model.SerializeToString())
    return nnw_onnx.open(path)


def test_one_session_runs_every_network_of_a_graph(
    tmp_path: Path, bound: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = convolutions(tmp_path / "n.onnx")
    made = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *a, **k: made.append(1) or real(*a, **k)
    )
    rng = np.random.Generator(np.random.PCG64(5))
    x = rng.normal(size=(6, 3, 8, 8)).astype(np.float32)
    variants = [network]
    for scale in (0.5, 2.0):
        variants.append(network.with_weights({"w2": network.weights["w2"] * np.float32(scale)}))
    lifted = [LiftedSession(v.lifted(), SessionSettings()) for v in variants]
    assert len(made) == 1
    for _ in range(2):
        for session, variant in zip(lifted, variants, strict=True):
            expected = Session(variant.runnable()).predict(x)["y"]
            found = session.predict(x, batch_size=4)["y"]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * abs(expected).max())
    assert [info.name for info in lifted[0].inputs] == ["x"]


def test_weights_are_lifted_on_cuda_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnw_onnx.runs import shared

    network = convolutions(tmp_path / "n.onnx")
    assert type(shared.session_of(network, network, SessionSettings())) is Session
    monkeypatch.setattr(shared, "is_worthwhile", lambda settings: True)
    with monkeypatch.context() as patched:
        patched.setattr(sessions, "bound_device", lambda names: ("cpu", 0))
        monkeypatch.setattr("nnw_onnx.inference.lifting._sessions", type(shared._heads)())
        assert type(shared.session_of(network, network, SessionSettings())) is LiftedSession
    monkeypatch.setattr("nnw_onnx.inference.lifting._sessions", type(shared._heads)())
    with pytest.raises(InferenceError, match="expected a device whose inputs can be bound"):
        LiftedSession(network.lifted(), SessionSettings())
    assert type(shared.session_of(network, network, SessionSettings())) is Session


class NVMLError(Exception):
    """What NVIDIA's library raises."""


def driver(pid: int, *sizes: int | None, error: str = "") -> types.ModuleType:
    """NVIDIA's library, of a process that takes these sizes one after the other."""
    nvml, left = types.ModuleType("pynvml"), list(sizes)

    def start() -> None:
        if error:
            raise NVMLError(error)

    def running(handle: object) -> list[types.SimpleNamespace]:
        size = left.pop(0) if len(left) > 1 else left[0]
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=size)]

    nvml.NVMLError, nvml.nvmlInit, nvml.nvmlShutdown = NVMLError, start, lambda: None
    nvml.nvmlDeviceGetHandleByIndex = lambda index: index
    nvml.nvmlDeviceGetComputeRunningProcesses = running
    return nvml


@pytest.mark.parametrize(
    ("module", "peak", "reason"),
    [
        (driver(os.getpid(), 5, 9, 7), 9, ""),
        (driver(1, 5), None, "not measured: the driver does not tell of this process"),
        (driver(os.getpid(), None), None, "not measured: the driver does not tell of this"),
        (driver(1, 1, error="Driver Not Loaded"), None, "not measured: Driver Not Loaded"),
        (None, None, "not measured: pip install 'nnw-onnx[cuda]'"),
    ],
)
def test_memory_of_a_device_is_that_of_this_process(
    monkeypatch: pytest.MonkeyPatch, module: object, peak: int | None, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    called = []

    def work() -> None:
        called.append(1)
        import time

        time.sleep(0.05)

    found = device_peak(work)
    assert called == [1]
    assert found.peak == peak
    assert found.reason.startswith(reason)
