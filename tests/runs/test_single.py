"""One injection or Modification by training, outside an evaluation."""

from __future__ import annotations

import dataclasses
import logging
import re

import numpy as np
import pytest
from PIL import Image

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError, InjectionError, RunError

from .faulty import registered
from .test_modify import Copied
from .trained import MODEL, TRAINED, configuration, write_student

torch = pytest.importorskip("torch")


def test_one_network_is_trained_outside_an_evaluation(tmp_path, caplog):
    caplog.set_level(logging.INFO, "nnw_onnx")
    payload = nnw.Payload.from_text("own")
    marked = nnw.inject(
        MODEL, payload, method="uchida", options={"strength": 0.1}, seed=1,
        training=configuration(tmp_path),
    )  # fmt: skip
    assert nnw.decode(marked.network, marked.claim).payload.text == "own"
    told = caplog.messages
    assert told[0].startswith("uchida in cnn-0.onnx: 8 layers (conv1.weight, ")
    assert [line.partition(",")[0] for line in told[1:]] == [
        f"uchida in cnn-0.onnx: epoch {epoch}/6" for epoch in range(1, 7)
    ]
    assert marked.change > 0
    tuned = nnw.modify(marked.network, "fine-tuning", 0.05, training=configuration(tmp_path))
    assert tuned.facts["epochs"] == 2
    assert nnw.detect(tuned.network, marked.claim)


def test_a_student_named_by_the_caller_is_seen_from_the_current_folder(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_student(elsewhere / "mine.onnx")
    monkeypatch.chdir(elsewhere)
    student = nnw.modify(
        MODEL, "distillation", 1, options={"student": "mine.onnx"}, training=configuration(tmp_path)
    )
    assert student.change is None
    assert student.network.layers[0].name == "hidden"


def test_a_work_folder_is_of_one_training_only(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(RunError, match="expected a new work folder or that of this very training"):
        nnw.inject(
            MODEL, nnw.Payload.from_text("own"), method="uchida",
            training=configuration(tmp_path), work_folder=folder,
        )  # fmt: skip


def test_a_training_that_does_not_bring_it_in_is_refused(tmp_path):
    short = TRAINED.replace("epochs = 6", "epochs = 0.05").replace("strength = 0.1", "")
    with pytest.raises(InjectionError, match="expected all 24 symbols to be read back after 1 ep"):
        nnw.inject(
            MODEL, nnw.Payload.from_text("own"), method="uchida",
            training=configuration(tmp_path, short),
        )  # fmt: skip


def test_symbols_that_a_training_leaves_wrong_are_told_where_the_detector_says_yes(tmp_path):
    """MPAI's testbed stops before all are right, and its marks are there all the same."""
    short = TRAINED.replace("epochs = 6", "epochs = 2")
    made = nnw.inject(
        MODEL, nnw.Payload.from_hex("a5c3" * 8), method="uchida", options={"strength": 0.05},
        seed=1, training=configuration(tmp_path, short),
    )  # fmt: skip
    verdict = nnw.verify(made.network, made.claim)
    assert 0 < verdict.errors < 35  # P(Bin(128, 1/2) >= 92) is 4.6e-7
    assert verdict
    assert made.notes[-1].startswith(
        f"{verdict.errors} of 128 symbols are wrong after 2 epochs; the Detector says yes all the"
    )


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda path: nnw.inject(MODEL, nnw.Payload.from_text("own"), method="adi"),
            "adi: expected a training, because this method is put in by training only, got none",
        ),
        (
            lambda path: nnw.inject(MODEL, nnw.Payload.from_text("own"), training=path),
            "training: expected a method that training can put in, got block-spread",
        ),
        (
            lambda path: nnw.modify(MODEL, "fine-tuning", 0.1),
            "fine-tuning: expected a training, because this Modification trains, got none",
        ),
        (
            lambda path: nnw.modify(MODEL, "overwriting", 2, training=path),
            "method: expected that of the further watermarks, got none; give the option method",
        ),
    ],
)
def test_mistakes_are_one_line(act, message, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        act(configuration(tmp_path))
    assert str(caught.value).startswith(message)


def test_triggers_may_be_the_owners_images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.Generator(np.random.Philox(1))
    pictures = rng.integers(0, 256, (30, 8, 8), np.uint8)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:02}.png")
    text = (
        TRAINED.split("[[methods]]", maxsplit=1)[0]
        + """
    [[methods]]
    name = "adi"
    [methods.training]
    epochs = 8
    """
    )
    payload = nnw.Payload.from_text("own")
    marked = nnw.inject(
        MODEL, payload, method="adi", options={"images": str(folder)},
        training=configuration(tmp_path, text), seed=2,
    )  # fmt: skip
    triggers = marked.key.arrays["triggers"]
    assert triggers.shape == (24, 1, 8, 8)
    # White is 1 in a picture as in the digits, whatever numbers these are stored as.
    distances = np.abs(triggers - pictures[None, :] / 255).max((2, 3))
    # Each is one of the pictures, up to the rounding of grey from red, green and blue.
    assert (distances.min(1) < 1e-6).all()
    assert len(set(distances.argmin(1))) == 24
    assert nnw.detect(marked.network, marked.claim)


def test_what_is_put_in_is_what_the_seed_says_and_an_interruption_changes_nothing(
    tmp_path, monkeypatch
):
    """The key is kept in the work folder, so that even a fresh secret goes on with itself."""
    from nnw_onnx.runs.context import Context

    def injected(**more):
        return nnw.inject(
            MODEL, nnw.Payload.from_text("own"), method="uchida", options={"strength": 0.1},
            training=configuration(tmp_path), **more,
        )  # fmt: skip

    told, real = [], Context.tell_progress

    def stop(self, name, words):
        told.append(words)
        if len(told) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Context, "tell_progress", stop)
        with pytest.raises(KeyboardInterrupt):
            injected(work_folder=tmp_path / "work")
    kept = nnw.load_key(tmp_path / "work" / "key.npz")
    told.clear()
    monkeypatch.setattr(
        Context, "tell_progress", lambda self, n, words: (told.append(words), real(self, n, words))
    )
    finished = injected(work_folder=tmp_path / "work")
    assert len(told) < 6
    assert finished.key.secret == kept.key.secret
    assert finished.claim.payload == kept.payload
    assert not (tmp_path / "work").exists()


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A training that was interrupted in its third epoch, as a function that goes on with it."""
    from nnw_onnx.runs.context import Context

    def injected(**more):
        return nnw.inject(
            MODEL, nnw.Payload.from_text("own"), method="uchida", options={"strength": 0.1},
            training=configuration(tmp_path), work_folder=tmp_path / "work", **more,
        )  # fmt: skip

    told = []

    def stop(self, name, words):
        told.append(words)
        if len(told) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Context, "tell_progress", stop)
        with pytest.raises(KeyboardInterrupt):
            injected()
    return injected


def test_a_key_that_was_exchanged_is_not_used(interrupted, tmp_path):
    """Not even where it claims the commitment of the right one."""
    path = tmp_path / "work" / "key.npz"
    own = nnw.load_key(path)
    other = dataclasses.replace(own.key, secret=bytes(32))
    nnw.save_key(dataclasses.replace(own, key=other), path)
    with pytest.raises(RunError, match="expected the key that this training began with"):
        interrupted()
    # Nor another payload, nor other carriers: of the key only the secret is believed.
    forged = dataclasses.replace(own.key, layers=("conv1.weight",), shapes=((16, 1, 3, 3),))
    nnw.save_key(dataclasses.replace(own, key=forged), path)
    finished = interrupted()
    assert finished.key.layers == own.key.layers
    assert finished.key.commitment == own.key.commitment


def test_a_state_that_was_kept_for_another_key_is_not_taken_up(interrupted, tmp_path, caplog):
    """With its note exchanged too, the training starts again and keeps nothing of the other's."""
    path, note = tmp_path / "work" / "key.npz", tmp_path / "work" / "task.txt"
    path.unlink()
    assert len(note.read_text().split()) == 2
    (before,) = (tmp_path / "work" / "checkpoints").iterdir()
    caplog.set_level(logging.INFO, "nnw_onnx")
    finished = interrupted()
    assert finished.key.commitment[:16] not in before.name
    assert sum("epoch" in message for message in caplog.messages) == 6


def test_a_method_that_learns_a_decoder_of_its_own_keeps_it(tmp_path):
    """DeepSigns on inner activations: the key file has what the training has learnt."""
    longer = TRAINED.replace("[training]", "[training]\nepochs = 4", 1)
    marked = nnw.inject(
        MODEL, nnw.Payload.from_text("a"), method="deepsigns", options={"count": 16},
        training=configuration(tmp_path, longer), seed=1,
    )  # fmt: skip
    nnw.save_key(marked.claim, tmp_path / "key.npz")
    claim = nnw.load_key(tmp_path / "key.npz")
    assert claim.key.arrays.keys() == marked.key.arrays.keys()
    assert nnw.verify_commitment(claim, MODEL).options is True
    verdict = nnw.verify(marked.network, claim)
    assert (verdict.errors, verdict.payload.text) == (0, "a")
    assert nnw.verify(MODEL, claim).errors > 0


def test_a_promise_is_measured_on_the_data_of_the_training(tmp_path, monkeypatch):
    registered(monkeypatch, Copied)
    assert nnw.modify(MODEL, "copied", training=configuration(tmp_path)).difference == 0.0
    assert nnw.modify(MODEL, "copied").difference is None


@pytest.mark.parametrize("method", ["zhong", "zhang"])
def test_a_training_without_its_mark_is_refused_where_no_symbols_tell_it(tmp_path, method):
    text = TRAINED.replace('name = "adi"', f'name = "{method}"')
    text = text.replace("0.05\n[[methods]]", "1e-7\n[[methods]]")
    assert text.count("1e-7") == 1
    with pytest.raises(InjectionError) as refused:
        nnw.inject(
            MODEL, nnw.Payload(), method=method, seed=1, training=configuration(tmp_path, text)
        )
    told = rf"^{method}: expected the watermark to be found after 6 epochs, got a no .*; train long"
    assert re.match(told, str(refused.value)), refused.value
