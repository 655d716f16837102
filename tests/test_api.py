"""The public names, as a person uses them."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import nnw_onnx as nnw

MODEL = Path(__file__).resolve().parents[1] / "models" / "digits" / "cnn-0.onnx"
OTHER = MODEL.with_name("cnn-1.onnx")
PAYLOAD = nnw.Payload.from_hex("0123456789abcdef")


@pytest.mark.parametrize("method", ["block-spread", "uchida"])
def test_inject_save_detect_and_decode(tmp_path, method):
    marked = nnw.inject(MODEL, PAYLOAD, method=method, seed=7)
    marked.network.save(tmp_path / "marked.onnx")
    nnw.save_key(marked.claim, tmp_path / "key.npz")
    claim = nnw.load_key(tmp_path / "key.npz")
    assert claim == marked.claim
    assert nnw.decode(tmp_path / "marked.onnx", claim).payload == PAYLOAD
    found = nnw.detect(tmp_path / "marked.onnx", claim)
    assert found
    assert found.p_value == pytest.approx(0.5**64)
    assert not nnw.detect(MODEL, claim)
    assert 0 < marked.change < 0.5


def test_a_fresh_secret_is_drawn_without_a_seed():
    keys = {nnw.inject(MODEL, PAYLOAD).key.secret for _ in range(2)}
    assert len(keys) == 2
    same = {nnw.inject(MODEL, PAYLOAD, seed=1).key.secret for _ in range(2)}
    assert len(same) == 1


def test_the_key_of_another_seed_finds_nothing():
    marked = nnw.inject(MODEL, PAYLOAD, seed=1)
    other = nnw.inject(MODEL, PAYLOAD, seed=2)
    assert not nnw.detect(marked.network, other.claim)


def test_detect_wants_a_payload_that_the_key_does_not_tell():
    marked = nnw.inject(MODEL, PAYLOAD, seed=1)
    assert PAYLOAD.bits not in repr(marked.key)
    for bare in (marked.key, nnw.Claim(marked.key)):
        with pytest.raises(nnw.NnwError, match="give the injected payload"):
            nnw.detect(marked.network, bare)
        assert nnw.detect(marked.network, bare, PAYLOAD)
        assert not nnw.detect(marked.network, bare, nnw.Payload.from_hex("fedcba9876543210"))


def test_a_code_stands_between_payload_and_network():
    payload = nnw.Payload.from_text("ab")
    marked = nnw.inject(MODEL, payload, seed=1, code="repetition", code_options={"times": 3})
    assert (marked.payload, marked.key.size, marked.key.carries) == (payload, 48, 16)
    verdict = nnw.verify(marked.network, marked.claim)
    assert verdict.payload == payload
    assert (verdict.errors, verdict.bits, verdict.bit_errors) == (0, 16, 0)
    assert verdict.decoding.payload.symbols == payload.symbols * 3
    # a payload is given in bits, whatever code its key has
    assert nnw.detect(marked.network, marked.key, payload)
    assert nnw.detect(marked.network, marked.key, payload).null.symbols == 48


def test_a_payload_is_packed_into_the_alphabet():
    payload = nnw.Payload.from_text("abc")
    marked = nnw.inject(MODEL, payload, method="levels", seed=1)
    assert (marked.key.size, marked.claim.payload.alphabet) == (8, 8)
    assert nnw.verify(marked.network, marked.claim).payload.text == "abc"


def test_presence_fingerprint_and_integrity_need_no_payload():
    for method in ("presence", "nct", "fragile"):
        marked = nnw.inject(MODEL, nnw.Payload(), method=method, seed=1)
        assert (marked.key.size, marked.payload) == (0, nnw.Payload())
        assert nnw.detect(marked.network, marked.claim)
        assert nnw.detect(marked.network, marked.key)
        assert not nnw.detect(OTHER, marked.claim)
        with pytest.raises(nnw.NnwError, match="one that only says whether the watermark is there"):
            nnw.decode(marked.network, marked.claim)
        with pytest.raises(nnw.NnwError, match=f"{method}: expected no payload and no code"):
            nnw.inject(MODEL, PAYLOAD, method=method)
    fingerprint = nnw.inject(MODEL, nnw.Payload(), method="nct")
    assert fingerprint.network.digest == nnw.open(MODEL).digest


def test_integrity_tells_the_place():
    marked = nnw.inject(MODEL, nnw.Payload(), method="fragile", seed=1)
    tampered = nnw.modify(marked.network, "gaussian-noise", 0.1, layers="conv2.weight").network
    found = nnw.detect(tampered, marked.claim)
    assert found.places
    assert "conv2.weight" in " ".join(found.notes)


def test_a_carrier_that_is_gone_is_a_no(tmp_path):
    marked = nnw.inject(MODEL, PAYLOAD, seed=1)
    write_linear(tmp_path / "other.onnx")
    found = nnw.detect(tmp_path / "other.onnx", marked.claim)
    assert (bool(found), found.p_value) == (False, 1.0)
    assert "expected layer conv3.weight" in found.notes[0]
    with pytest.raises(nnw.CarrierNotFoundError, match=r"expected layer conv3\.weight"):
        nnw.decode(tmp_path / "other.onnx", marked.claim)


def test_the_owner_may_choose_the_carrier():
    marked = nnw.inject(MODEL, nnw.Payload((1, 0, 1)), method="uchida", layer="conv2.weight")
    assert marked.key.layers == ("conv2.weight",)


def test_what_trains_a_network_of_your_own_gets_a_mark():
    network = nnw.open(MODEL)
    mark = nnw.make_mark(network, PAYLOAD, seed=3)
    assert (mark.method.name, mark.payload) == ("uchida", PAYLOAD)
    assert mark.additions.carriers == mark.claim.key.layers
    assert mark.symbol_errors(network) > 0
    again = nnw.make_mark(network, PAYLOAD, seed=3)
    assert again.claim == mark.claim
    with pytest.raises(nnw.NnwError, match="expected a method that training can put in, got block"):
        nnw.make_mark(network, PAYLOAD, method="block-spread")


def test_modify_is_the_standard_deviation_asked_for():
    modified = nnw.modify(MODEL, "gaussian-noise", 0.2, seed=3)
    assert modified.change == pytest.approx(0.2, rel=0.03)
    assert modified.warnings == ()
    assert len(modified.layers) == 4
    original = nnw.open(MODEL)
    for name in modified.layers:
        old = np.asarray(original.weights[name], np.float64)
        noise = np.asarray(modified.network.weights[name], np.float64) - old
        expected = 0.2 * old.std()
        assert noise.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * old.size))


def test_modify_warns_outside_the_range_of_the_standard():
    one_layer = nnw.modify(MODEL, "l1-pruning", 95, layers=["conv3.weight"])
    assert one_layer.warnings == ()
    everything = nnw.modify(MODEL, "l1-pruning", 95)
    assert everything.warnings == (
        "l1-pruning: intensity 95 % is outside the standard's range 1 to 90 %",
    )


def test_modify_is_repeatable():
    weights = [
        nnw.modify(MODEL, "random-pruning", 10, seed=s).network.weights["conv3.weight"]
        for s in (0, 0, 1)
    ]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nnw.open("absent.onnx"), "absent.onnx"),
        (lambda: nnw.inject(MODEL, PAYLOAD, method="uchda"), "did you mean 'uchida'"),
        (lambda: nnw.inject(MODEL, PAYLOAD, options={"bugdet": 1}), "did you mean 'budget'"),
        (lambda: nnw.inject(MODEL, PAYLOAD, layer="conv3.wieght"), "did you mean 'conv3.weight'"),
        (lambda: nnw.modify(MODEL, "quantizing", 99), "option intensity"),
        (lambda: nnw.modify(MODEL, "quantizing", 4, layers=["x"]), "expected a layer of"),
        (lambda: nnw.evaluate("no-such-evaluation"), "nnw list evaluations"),
        (lambda: nnw.report("no-such-run"), "expected a run folder"),
    ],
)
def test_a_mistake_is_one_line(call, message):
    with pytest.raises(nnw.NnwError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_weights_says_why(tmp_path):
    node = helper.make_node(
        "LinearClassifier", ["x"], ["y", "s"], domain="ai.onnx.ml", coefficients=[1.0, 2.0],
        intercepts=[0.0], classlabels_ints=[0, 1],
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "l.onnx")
    for call in (
        lambda: nnw.inject(tmp_path / "l.onnx", PAYLOAD),
        lambda: nnw.modify(tmp_path / "l.onnx", "quantizing", 4),
    ):
        with pytest.raises(nnw.NnwError, match=r"attributes of ai\.onnx\.ml nodes"):
            call()


def write_linear(path: Path, weights: np.ndarray | None = None) -> None:
    """A network of one product with a matrix (of zeros)."""
    values = np.zeros((64, 64), np.float32) if weights is None else weights
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(values, "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def test_constant_weights_are_named(tmp_path):
    write_linear(tmp_path / "z.onnx")
    with pytest.raises(nnw.NnwError, match="the same value 0 everywhere in layer 'w'"):
        nnw.inject(tmp_path / "z.onnx", PAYLOAD)


def test_a_modification_of_inputs_is_not_one_of_a_file():
    with pytest.raises(nnw.NnwError, match="jpeg: expected a Modification of the network, got one"):
        nnw.modify(MODEL, "jpeg", 50, training="digits")


def test_copies_of_several_recipients_are_averaged():
    copies = [nnw.inject(MODEL, nnw.Payload.from_hex(f"{i}1"), seed=i).network for i in range(1, 4)]
    merged = nnw.modify(copies[0], "averaging", copies=copies[1:])
    name = "conv3.weight"
    mean = np.mean([c.weights[name].astype(np.float64) for c in copies], axis=0)
    assert np.allclose(merged.network.weights[name], mean, atol=1e-6)
    with pytest.raises(nnw.NnwError, match="copies: expected those of several recip"):
        nnw.modify(copies[0], "averaging")
    with pytest.raises(nnw.NnwError, match="copies: expected none, because float16 takes no"):
        nnw.modify(copies[0], "float16", copies=copies[1:])


def test_a_modification_that_is_done_or_not_has_no_intensity():
    with pytest.raises(nnw.NnwError, match="averaging: expected no intensity, because it is done"):
        nnw.modify(MODEL, "averaging", 1.0)


def test_layers_are_refused_where_nothing_is_aimed_at():
    with pytest.raises(nnw.NnwError, match="averaging: expected no layers, because it does not"):
        nnw.modify(MODEL, "averaging", layers="conv1.weight", copies=[OTHER])


def test_public_names_are_few_and_documented():
    names = [n for n in nnw.__all__ if n != "__version__"]
    assert 20 <= len(names) <= 50
    for name in names:
        value = vars(nnw).get(name) or nnw.__getattr__(name)
        assert inspect.getdoc(value), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nnw.nonsense  # noqa: B018 - the access is the test


def test_names_in_place_of_values_are_one_line():
    """What everyone gives first: the file of a key, the bytes of a payload."""
    key = nnw.inject(MODEL, nnw.Payload.from_text("mine"), seed=1).key
    for ask in (nnw.verify, nnw.decode, nnw.detect):
        with pytest.raises(nnw.NnwError, match=r"claim: expected a Claim or a Key, got str; open"):
            ask(MODEL, "key.npz")
    for give in (lambda: nnw.inject(MODEL, b"mine"), lambda: nnw.detect(MODEL, key, b"mine")):
        with pytest.raises(nnw.NnwError, match=r"payload: expected a text or a Payload, got bytes"):
            give()
