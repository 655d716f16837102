"""An engine by its name, or by an address."""

from __future__ import annotations

import pytest

import nnw_onnx as nnw
from nnw_onnx.runs.recipes import EngineTable


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("serial", "serial", {}),
        ("dask://host:8786", "dask", {"address": "dask://host:8786"}),
        ("dask+tls://host:8786", "dask", {"address": "tls://host:8786"}),
        ("ray://host:10001", "ray", {"address": "ray://host:10001"}),
    ],
)
def test_a_text_is_a_name_or_an_address(text, name, options):
    spec = EngineTable.model_validate(text).spec
    assert (spec.name, spec.options) == (name, options)


def test_a_configuration_may_have_it(configuration, tmp_path):
    path = configuration.with_name("short.toml")
    path.write_text('engine = "dask://host:1"\n' + configuration.read_text())
    assert nnw.read_evaluation(path).engine.spec.options == {"address": "dask://host:1"}
    path.write_text('engine = "dusk://host:1"\n' + configuration.read_text())
    with pytest.raises(nnw.NnwError, match="did you mean 'dask'"):
        nnw.read_evaluation(path)
