"""A file that somebody else has exported is read with the key of the model."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import nnw_onnx as nnw
from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx_torch import Watermark, export, rekey

MINE = nnw.Payload.from_text("mine")


class Model(nn.Module):
    """Four linear layers of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(48, 48) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x)) + x
        return x


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = Model()
    mark = Watermark(model, MINE, layer="layers.2.weight", options={"strength": 1.0}, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        mark.penalty().backward()
        optimizer.step()
    assert mark.symbol_error_rate() == 0
    return model, mark


@pytest.fixture(scope="module")
def renamed(trained, tmp_path_factory):
    """The model as torch's older exporter and an optimizer leave it: turned, under other names."""
    model, tmp_path = trained[0], tmp_path_factory.mktemp("renamed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(model, torch.zeros(2, 48), tmp_path / "plain.onnx")
    proto = onnx.load(tmp_path / "plain.onnx")
    names = {}
    for tensor in proto.graph.initializer:
        if len(tensor.dims) == 2:
            names[tensor.name] = f"onnx::MatMul_{300 + len(names)}"
            turned = np.ascontiguousarray(numpy_helper.to_array(tensor).T)
            tensor.CopyFrom(numpy_helper.from_array(turned, names[tensor.name]))
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
                for attribute in node.attribute:
                    if attribute.name == "transB":
                        attribute.i = 1 - attribute.i
    onnx.save(proto, tmp_path / "other.onnx")
    return tmp_path / "other.onnx", names


def test_a_renamed_file_is_rekeyed_by_its_values(trained, renamed, tmp_path):
    model, mark = trained
    path, names = renamed
    claim = rekey(mark.claim, path, model)
    nnw.save_key(claim, tmp_path / "key.npz")
    found = nnw.detect(path, nnw.load_key(tmp_path / "key.npz"))
    assert found
    (place,) = found.found
    assert (place.layer, place.candidates) == (names["layers.2.weight"], 1)
    assert found.log10_p == pytest.approx(32 * np.log10(0.5))


def test_without_a_rekey_the_search_finds_it(trained, renamed):
    _, mark = trained
    path, names = renamed
    found = nnw.detect(path, mark.claim)
    assert found
    assert found.found[0].layer == names["layers.2.weight"]
    assert found.found[0].candidates > 1
    assert nnw.decode(path, mark.claim).payload == MINE
    with pytest.raises(CarrierNotFoundError, match="expected one layer of the file that"):
        rekey(mark.claim, path)
