"""Nodes that another provider leaves to the CPU: by what onnxruntime tells of sessions here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import nnw_onnx
from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import LiftedSession, Session, SessionSettings, lifting, sessions
from nnw_onnx.inference.fallbacks import RECORDING, fallbacks
from nnw_onnx.runs.preview import previewed
from nnw_onnx.runs.suspect import Running
from nnw_onnx.vocabulary.networks import ON_THE_CPU, SESSION_WEIGHTS

from .graphs import graph_of
from .test_providers import convolutions

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def session(*nodes: object) -> onnxruntime.InferenceSession:
    """A session of the CPU that knows where its nodes are, from x (n, 3) to y."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(RECORDING, "1")
    sizes = {"zero": 0, "last": [-1], "axis": [0]}
    model = graph_of(list(nodes), {"x": ["n", 3]}, {"y": ["m"]})
    for name, value in sizes.items():
        array = np.array(value, np.int64)
        model.graph.initializer.add(
            name=name, data_type=TensorProto.INT64, dims=array.shape, raw_data=array.tobytes()
        )
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])


def test_nodes_are_named_with_their_number() -> None:
    made = session(
        helper.make_node("Sin", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "last"], ["b"]),
        helper.make_node("Sin", ["b"], ["y"]),
    )
    found = fallbacks(made, ("cuda", "cpu"))
    assert found is not None
    assert dict(found.nodes) == {"Sin": 2, "Reshape": 1}
    assert str(found) == "3 of 3: Sin x 2, Reshape x 1"
    assert fallbacks(made, ("cpu", "cuda")) is None
    with pytest.raises(InferenceError, match=f"expected {CUDA} to run .* 3 of 3: .*; name cpu beh"):
        fallbacks(made, (CUDA,))


def test_nodes_that_compute_shapes_do_not_count() -> None:
    made = session(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["g"]),
        helper.make_node("Unsqueeze", ["g", "axis"], ["u"]),
        helper.make_node("Mul", ["u", "u"], ["c"]),
        helper.make_node("ConstantOfShape", ["c"], ["h"]),
        helper.make_node("Sin", ["h"], ["y"]),
    )
    found = fallbacks(made, ("cuda", "cpu"))
    assert found is not None
    assert dict(found.nodes) == {"Sin": 1}
    assert found.of == 6


def test_many_operators_are_not_all_named() -> None:
    names = ("Sin", "Cos", "Tan", "Atan", "Exp", "Erf")
    made = session(
        *(helper.make_node(n, ["x"], [f"{n}o"]) for n in names),
        helper.make_node("Sum", [f"{n}o" for n in names], ["y"]),
    )
    assert str(fallbacks(made, ("cuda", "cpu"))).endswith(" and 3 more operators")


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of the CPU for whatever provider is asked for, with inputs bound."""
    monkeypatch.setattr(sessions, "_check_available", lambda *given: None)
    monkeypatch.setattr(sessions, "_check_used", lambda *given: None)
    monkeypatch.setattr(sessions, "_preload", lambda *given: None)
    monkeypatch.setattr(sessions, "with_options", lambda names: [CPU])
    monkeypatch.setattr(sessions, "bound_device", lambda names: ("cpu", 0))
    monkeypatch.setattr(lifting, "_sessions", OrderedDict())


def asked(*names: str) -> SessionSettings:
    return SessionSettings(names)


def test_a_session_fails_or_says_so(tmp_path: Path, pretending: None) -> None:
    network = convolutions(tmp_path / "n.onnx")
    with pytest.raises(InferenceError, match="got nodes that only the CPU runs, 3 of 3: Conv x 2"):
        Session(network.runnable(), asked("cuda"))
    told = Session(network.runnable(), asked("cuda", "cpu")).facts
    assert told == {
        SESSION_WEIGHTS: "constants of a session of its own",
        ON_THE_CPU: "3 of 3: Conv x 2, Relu x 1",
    }
    lifted = LiftedSession(network.lifted(), asked("cuda", "cpu")).facts
    assert lifted[SESSION_WEIGHTS] == "inputs of a session for the whole graph"
    assert lifted[ON_THE_CPU] == told[ON_THE_CPU]
    assert Session(network.runnable(), asked("cpu")).facts == {}


def test_what_runs_a_network_says_which_session_it_was(tmp_path: Path, pretending: None) -> None:
    network = convolutions(tmp_path / "n.onnx")
    feeds = {"x": np.zeros((2, 3, 8, 8), np.float32)}

    def facts(names: Sequence[str], *layers: str) -> dict[str, str]:
        run = Running(network, SessionSettings(tuple(names)), 2, network)
        assert run.facts == {}
        run(feeds, layers)
        run(feeds)
        return run.facts

    assert facts(["cpu"], "r") == {}
    own = facts(["tensorrt", "cpu"])
    assert own[SESSION_WEIGHTS] == "constants of a session of its own"
    # That for answers counts, not the one for an inner layer that was made before.
    assert facts(["cuda", "cpu"], "r")[SESSION_WEIGHTS].startswith("inputs of a session")


def test_the_first_look_tells(tmp_path: Path, pretending: None) -> None:
    from nnw_onnx.kit.samples import ArraySamples
    from nnw_onnx.tasks.regression import Regression

    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = graph_of([node], {"x": ["n", 3]}, {"y": ["n", 1]}, {"w": np.ones((3, 1), np.float32)})
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    network = nnw_onnx.open(tmp_path / "n.onnx")
    samples = ArraySamples({"x": np.eye(3, dtype=np.float32)}, np.eye(3, 1, dtype=np.float32))
    found = previewed(network, samples, Regression(), asked("cuda", "cpu"), 2, 3)
    assert found.notices == ("nodes on the CPU: 1 of 1: MatMul x 1",)
