"""The head of a graph is run once for all networks that differ only after it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import InferenceError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session, SessionSettings, SharedSession, sharing
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.runs import shared, trial
from nnw_onnx.runs.quality import measure
from nnw_onnx.runs.shared import session_of
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.runs.verify import verify
from nnw_onnx.vocabulary import Method, Spec, Task

from . import answering
from .test_trial import run_of

MODELS = Path(__file__).resolve().parents[2] / "models"
SETTINGS = SessionSettings()
LATE = "block3.conv2.weight"


@pytest.fixture(autouse=True)
def fresh():
    shared._heads.clear()
    yield
    shared._heads.clear()


@pytest.fixture(scope="module")
def base():
    return open_network(MODELS / "cifar10" / "fast-0.onnx")


@pytest.fixture
def runs(monkeypatch):
    """Names of the values that each run of a session answers, in order."""
    found, run = [], Session.run

    def counted(self, feeds, outputs=None):
        if not isinstance(self, SharedSession):
            found.append(self.outputs[0].name)
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", counted)
    return found


def scaled(base, by, *names):
    return base.with_weights({name: base.weights[name] * by for name in names})


def images(count, seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.standard_normal((count, 3, 32, 32), np.float32)


def test_late_changes_share_the_head_and_no_bit_differs(base, runs):
    batches = [images(5), images(5, seed=1), images(2)]
    for by in (0.5, 1.5, 2.0):
        network = scaled(base, by, LATE, "head.weight")
        session, alone = session_of(network, base, SETTINGS), Session(network.runnable())
        assert isinstance(session, SharedSession)
        for batch in batches:
            wanted = alone.predict(batch)["logits"]
            assert session.predict(batch)["logits"].tobytes() == wanted.tobytes()
    # Once for each batch, and the whole once more for each shape, in the first network.
    assert runs.count("block3/relu1/Relu_output_0") == len(batches)
    assert runs.count("logits") == 3 * len(batches) + 2


def test_an_early_change_or_another_device_shares_nothing(base):
    assert type(session_of(scaled(base, 2, "stem.weight"), base, SETTINGS)) is Session
    assert type(session_of(base, base, SETTINGS)) is Session
    late = scaled(base, 2, LATE)
    with pytest.raises(InferenceError, match="providers"):
        session_of(late, base, SessionSettings(("No",)))
    assert not shared._heads


def test_a_head_that_makes_a_difference_is_not_used_again(base, monkeypatch):
    network, batch = scaled(base, 2, LATE), images(4)
    wanted = Session(network.runnable()).predict(batch)["logits"]
    answers = sharing.Head.answers
    monkeypatch.setattr(
        sharing.Head,
        "answers",
        lambda self, feeds: {n: v * 1.0001 for n, v in answers(self, feeds).items()},
    )
    for _ in range(2):
        told = session_of(network, base, SETTINGS).predict(batch)["logits"]
        np.testing.assert_array_equal(told, wanted)
    assert [head.refuted for head in shared._heads.values()] == [True, True]
    session_of(network, base, SETTINGS).predict(batch)
    assert type(session_of(network, base, SETTINGS)) is Session


def test_without_room_the_head_is_run_again(base, runs, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    network, batch = scaled(base, 2, LATE), images(4)
    session = session_of(network, base, SETTINGS)
    first, second = (session.predict(batch)["logits"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert runs.count("block3/relu1/Relu_output_0") == 2


def test_heads_are_few(base):
    layers = ["block2.conv1.weight", "block2.conv2.weight", "block3.conv1.weight", LATE]
    for name in (*layers, "head.weight"):
        assert isinstance(session_of(scaled(base, 2, name), base, SETTINGS), SharedSession)
    assert len(shared._heads) == shared.MOST_HEADS


def test_records_do_not_depend_on_what_is_shared(tmp_path, monkeypatch):
    table = {"name": "gaussian-noise", "intensities": [0.5], "layers": "carrier"}
    run = run_of(tmp_path, modifications=[table], methods=[{"name": "uchida"}])
    made = []
    monkeypatch.setattr(
        "nnw_onnx.runs.shared.session_of", lambda *a: made.append(session_of(*a)) or made[-1]
    )
    one = [record.model_dump_json() for record in run.records()]
    assert any(isinstance(session, SharedSession) for session in made)
    monkeypatch.setattr(
        "nnw_onnx.runs.shared.session_of", lambda n, _, settings: Session(n.runnable(), settings)
    )
    trials = run.prepared.planner.trials(run.injected)
    marked = [t for t in trials if t.parents]
    other = [trial.run_trial(run.prepared.context, t).model_dump_json() for t in reversed(marked)]
    assert set(other) <= set(one)


def test_who_only_reads_weights_makes_no_session(base, monkeypatch):
    monkeypatch.setattr(Session, "__init__", lambda *_: pytest.fail("a session was made"))
    suspect = suspects(base, Running(base, SETTINGS, 64, base))
    method = plugins.create(Method, Spec("uchida"))
    assert suspect(method).weights[LATE].shape == (128, 128, 3, 3)


def test_quality_and_five_keys_take_one_session_and_no_inference_twice(tmp_path, monkeypatch):
    payload = nnw.Payload.from_text("mine!")
    claims = [answering.claim_of(payload, bytes([number] * 32)) for number in range(5)]
    network = open_network(answering.write_classifier(tmp_path / "m.onnx", claims[0]))
    made, ran, start, run = [], [], Session.__init__, Session.run
    monkeypatch.setattr(Session, "__init__", lambda *a, **k: made.append(1) or start(*a, **k))
    monkeypatch.setattr(Session, "run", lambda *a, **k: ran.append(1) or run(*a, **k))
    pictures, classes = np.zeros((20, 1, 8, 8), np.float32), list("0123456789")
    samples = ArraySamples({"x": pictures}, np.arange(20) % 10, {"classes": classes})
    asked = Running(network, SETTINGS, 64, network)
    task = plugins.create(Task, Spec("image-classification"))
    measure(asked, task, samples, batch_size=5)
    verdicts = list(verify(suspects(network, asked), claims, 1e-6))
    assert [bool(verdict) for verdict in verdicts] == [True, False, False, False, False]
    assert (len(made), len(ran)) == (1, 4 + 5)
