"""What a person meets first: texts, reprs, help, logging, and the wrong kind of network."""

from __future__ import annotations

import logging
import pydoc
from pathlib import Path

import pytest

import nnw_onnx as nnw

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
FUNCTIONS = (
    "open", "inject", "save_key", "load_key", "detect", "decode", "verify", "verify_commitment",
    "trace", "import_key", "read_seed", "secret_of",
    "seal", "verify_seal", "state", "verify_statement", "restore",
    "modify", "evaluate", "repeat", "forecast", "log", "report", "conform", "compare", "gate",
    "read_evaluation", "allow_code", "make_mark", "continue_mark",
)  # fmt: skip


@pytest.fixture(scope="module")
def marked() -> nnw.Injection:
    """A network that carries "mine"."""
    return nnw.inject(MODEL, "mine", seed=1)


def test_a_text_is_a_payload(marked: nnw.Injection) -> None:
    assert marked.payload == nnw.Payload.from_text("mine")
    same = nnw.inject(MODEL, nnw.Payload.from_text("mine"), seed=1)
    assert same.network.digest == marked.network.digest
    assert nnw.decode(marked.network, marked.key).payload.text == "mine"
    assert nnw.make_mark(nnw.open(MODEL), "mine", seed=1).payload.text == "mine"
    with pytest.raises(
        nnw.NnwError, match="payload: expected a text or a Payload, got bytes; make"
    ):
        nnw.inject(MODEL, b"mine")


def test_an_answer_is_true_or_false(marked: nnw.Injection) -> None:
    assert nnw.detect(marked.network, marked.claim)
    assert not nnw.detect(MODEL, marked.claim)
    assert nnw.verify(marked.network, marked.claim)
    assert not nnw.verify(MODEL, marked.claim)
    with pytest.raises(nnw.NnwError, match="verdict: expected a claim with a payload, got a key"):
        bool(nnw.verify(marked.network, marked.key))


def test_reprs_are_short_and_tell_nothing_secret(marked: nnw.Injection) -> None:
    key, claim = marked.key, marked.claim
    shown = {
        "key": "<Key: block-spread, 32 symbols in conv3.weight>",
        "claim": "<Claim of owner: block-spread, 32 symbols in conv3.weight, with a payload>",
    }
    assert (repr(key), repr(claim)) == (shown["key"], shown["claim"])
    found = nnw.detect(marked.network, claim)
    assert repr(found) == "<Detection: yes, p 2.3e-10, in conv3.weight>"
    verdict = nnw.verify(marked.network, claim)
    assert repr(verdict) == (
        "<Verdict: yes, p 2.3e-10, block-spread in conv3.weight, reads Payload.from_text('mine')>"
    )
    assert repr(verdict.decoding) == "<Decoding: Payload.from_text('mine')>"
    assert repr(marked).startswith("<Injection: block-spread, 32 symbols in conv3.weight, weights ")
    modified = nnw.modify(MODEL, "quantizing", 4)
    assert repr(modified) == (
        f"<Modified: {modified.network!r}, 4 aimed at, changed by {modified.change:.2%}>"
    )
    assert repr(modified.network) == f"OnnxNetwork({str(MODEL)!r}, 8 layers)"
    for told in (repr(key), repr(claim), repr(marked)):
        assert "mine" not in told
        assert key.secret.hex()[:8] not in told
        assert len(told) < 200


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (nnw.Payload(), "Payload()"),
        (nnw.Payload.from_hex("f0ff"), "Payload.from_hex('f0ff')"),
        (nnw.Payload.from_bits("101"), "Payload.from_bits('101')"),
        (nnw.Payload((1, 7), 8), "Payload((1, 7), alphabet=8)"),
        (nnw.Payload.from_bits("10" * 1001), f"Payload.from_bits('{'10' * 20}...')"),
    ],
)
def test_payloads_are_shown_as_they_are_made(payload: nnw.Payload, shown: str) -> None:
    assert repr(payload) == shown
    if "..." not in shown:
        assert eval(shown, {"Payload": nnw.Payload}) == payload


def test_functions_come_first_in_help() -> None:
    assert tuple(nnw.__all__[: len(FUNCTIONS)]) == FUNCTIONS
    told = pydoc.plain(pydoc.render_doc(nnw))
    places = [told.index(f"    {name} ") for name in FUNCTIONS]
    assert places == sorted(places)
    assert max(places) < told.index("PACKAGE CONTENTS")
    assert set(nnw.__all__) <= set(dir(nnw))
    assert all(callable(vars(nnw).get(name) or nnw.__getattr__(name)) for name in FUNCTIONS)


def test_messages_go_to_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    handlers = logging.getLogger("nnw_onnx").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
    with caplog.at_level(logging.DEBUG, "nnw_onnx"):
        network = nnw.open(MODEL)
    assert caplog.messages == [f"opened {MODEL}: 8 layers, SHA-256 {network.sha256}"]


def made_in(module: str, name: str) -> object:
    """An instance whose class says that it comes from a framework."""
    base = type(name, (), {"__module__": module})
    return type("Mine", (base,), {"__module__": "my_own"})()


@pytest.mark.parametrize(
    ("model", "cure"),
    [
        (made_in("torch.nn.modules.module", "Module"), "nnw_onnx_torch.export and give that, or"),
        (made_in("torch.nn.modules.module", "Module"), "with nnw_onnx_torch.Watermark"),
        (made_in("keras.src.models.model", "Model"), "nnw_onnx_tensorflow.export"),
        (7, "got int; give the path of a .onnx file"),
    ],
)
def test_another_kind_of_network_is_told_its_door(model: object, cure: str) -> None:
    for call in (lambda: nnw.inject(model, "mine"), lambda: nnw.modify(model, "quantizing", 4)):
        with pytest.raises(nnw.NnwError) as caught:
            call()
        message = str(caught.value)
        assert message.startswith(
            "network: expected an ONNX file, a network in memory or what nnw_onnx.open returns"
        )
        assert cure in message
        assert "\n" not in message


def test_real_modules_are_recognised() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(nnw.NnwError, match=r"got torch\.nn\.modules\.linear\.Linear; write it to"):
        nnw.inject(torch.nn.Linear(3, 3), "mine")


def test_an_intensity_of_a_share_has_its_unit() -> None:
    half = nnw.modify(MODEL, "l1-pruning", "50%")
    assert half.network.digest == nnw.modify(MODEL, "l1-pruning", 50).network.digest
    with pytest.raises(nnw.NnwError) as caught:
        nnw.modify(MODEL, "l1-pruning", 0.5)
    assert str(caught.value) == (
        "l1-pruning: intensity: expected a percentage, got 0.5, which is 0.5 % and not a share; "
        'write "0.5%" if it is meant, else 50'
    )
    assert nnw.modify(MODEL, "l1-pruning", "0.5%").warnings == (
        "l1-pruning: intensity 0.5 % is outside the standard's range 1 to 90 %",
    )


def test_settings_of_an_evaluation(tmp_path: Path) -> None:
    settings = {"payloads": 3, "session.threads": 2, "methods.0.budget": 0.2, "task": {"name": "x"}}
    with pytest.raises(nnw.NnwError, match=r"digits\.toml: task: expected one of"):
        nnw.evaluate("digits", settings=settings, run_folder=tmp_path / "run")


def test_a_public_network_gives_its_layers_away(tmp_path: Path) -> None:
    public = nnw.open(MODEL)
    largest = max((x for x in public.layers if x.role == "kernel"), key=lambda x: x.size).name
    own = nnw.modify(public, "gaussian-noise", 0.5, layers="conv2.weight").network
    assert nnw.inject(own, "ab", seed=1).key.layers == (largest,)
    key = nnw.inject(own, "ab", seed=1, reference=MODEL).key
    assert key.layers == ("conv2.weight",)
    assert any("carry nothing, because a reference gives them away" in note for note in key.notes)
    with pytest.raises(nnw.NnwError, match="reference: expected none with a training"):
        nnw.inject(own, "ab", reference=MODEL, training="digits-training")
