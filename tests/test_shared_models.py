"""Real models by other people: what can be watermarked is, the rest is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.cli.main import main
from nnw_onnx.inference import Session, SessionSettings
from nnw_onnx.kit import carriers

PAYLOAD = nnw.Payload.from_hex("0123456789abcdef")


QUANTIZED = {
    "cifar10/edgeopt_mobilenetv2_int8.onnx": "uint8 grid of ConvInteger",
    "cifar10/tinycnn/model_int8.onnx": "int8 grid of QLinearConv",
    "imagenet/edgeopt_model_int8_3606k.onnx": "int8 grid of MatMulInteger",
}
"""Networks of integers only -> the grid that block-spread writes on."""


def opened(path: Path) -> nnw.Network | None:
    """The network, if it opens and onnxruntime takes it."""
    try:
        network = nnw.open(path)
        Session(network.runnable(), SessionSettings(optimization="disable"))
    except nnw.NnwError:
        return None
    return network


def injected(network: nnw.Network, method: str) -> nnw.Injection | str:
    """The watermarked network, or why there is none."""
    try:
        return nnw.inject(network, PAYLOAD, method=method, seed=1)
    except nnw.NnwError as error:
        return str(error)


def varied(network: nnw.Network, least: int) -> list[str]:
    """Names of the kernels that are used, once, large enough, and neither constant nor public."""
    return [
        x.name
        for x in network.layers
        if x.role == "kernel" and x.replaceable and x.live and not x.shared and x.size >= least
        if len(set(network.weights[x.name].flat)) > 1 and not carriers.doubt(network, x)
    ]


@pytest.mark.parametrize("method", ["block-spread", "uchida"])
def test_sixty_four_bits_go_into_every_layer_that_can_hold_them(shared_data, tmp_path, method):
    held = 0
    for path in sorted((shared_data / "models").rglob("*.onnx")):
        network = opened(path)
        if network is None:
            continue
        marked = injected(network, method)
        if isinstance(marked, str):
            assert "\n" not in marked
            # block-spread needs 16 weights a bit; uchida needs wide filters.
            assert method == "uchida" or not varied(network, 16 * len(PAYLOAD)), path
            continue
        held += 1
        marked.network.save(tmp_path / "marked.onnx")
        assert nnw.decode(tmp_path / "marked.onnx", marked.key).payload == PAYLOAD, path
        assert not nnw.detect(network, marked.claim), path
        for file in tmp_path.iterdir():
            file.unlink()
    assert held >= {"block-spread": 55, "uchida": 50}[method]


@pytest.mark.parametrize("name", QUANTIZED)
def test_sixty_four_bits_go_into_quantized_networks(shared_data, tmp_path, name):
    network = nnw.open(shared_data / "models" / name)
    marked = nnw.inject(network, PAYLOAD, seed=1)
    (told,) = [note for note in marked.notes if "written on the" in note]
    assert f"written on the {QUANTIZED[name]}: " in told
    marked.network.save(tmp_path / "marked.onnx")
    assert nnw.decode(tmp_path / "marked.onnx", marked.key).payload == PAYLOAD
    assert nnw.detect(tmp_path / "marked.onnx", marked.claim)
    Session(nnw.open(tmp_path / "marked.onnx").runnable(), SessionSettings())


def test_a_quantized_network_without_room_says_how_much_it_has(shared_data):
    path = shared_data / "models/tract/qlstm_10-4-6_T10_S1_delay1.onnx"
    with pytest.raises(nnw.NnwError, match="at least 1024 weights for 64 symbols, got 336; use a"):
        nnw.inject(path, PAYLOAD, seed=1)


def test_every_bad_file_is_one_line_and_nothing_else(shared_data, capsys):
    files = [p for p in sorted((shared_data / "bad-models").rglob("*")) if p.is_file()]
    assert len(files) > 40
    for path in files:
        for words in (["layers", path], ["detect", path, "--key", path]):
            status = main([str(w) for w in words])
            messages = capsys.readouterr().err
            assert "Traceback" not in messages, path
            if words[0] == "detect":
                assert status == 2, path
            lines = messages.splitlines()
            assert all(line.startswith("nnw: ") for line in lines), path
            errors = [line for line in lines if line.startswith("nnw: error: ")]
            assert len(errors) == (status == 2), (path, messages)
