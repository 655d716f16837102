"""A public network in a configuration: layers that it gives away carry nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import InjectionRecord
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.store import Store

PUBLIC = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
TEXT = """
payloads = 1
payload_sizes = [16]
{networks}
[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}
[[methods]]
name = "uchida"
[control]
wrong_keys = 0
[cost]
cells = 0
[preview]
samples = 0
"""
TABLE = '[[networks]]\nfile = "own.onnx"\n{reference}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The public network, of which only one layer was trained further."""
    made = tmp_path_factory.mktemp("public")
    (made / "public.onnx").write_bytes(PUBLIC.read_bytes())
    tuned = nnw.modify(PUBLIC, "gaussian-noise", 0.3, layers="conv2.weight").network
    tuned.save(made / "own.onnx")
    return made


def injection(folder: Path, name: str, networks: str) -> InjectionRecord:
    path = folder / f"{name}.toml"
    # `payloads` of the top level stands before the first table.
    head, _, rest = TEXT.format(networks=networks).partition("[[networks]]")
    path.write_text(head + "\n[[networks]]" + rest)
    done = nnw.evaluate(path, run_folder=folder / name, progress=False)
    (record,) = Store(done.folder).records(InjectionRecord)
    return record


def test_what_the_reference_gives_away_is_not_chosen(folder):
    free = injection(folder, "free", TABLE.format(reference=""))
    kept = injection(folder, "kept", TABLE.format(reference='reference = "public.onnx"'))
    assert free.layers == ("conv3.weight",)
    assert kept.layers == ("conv2.weight",)
    assert any("because a reference gives them away" in note for note in kept.notes)
    assert free.identity != kept.identity
    assert kept.errors == 0


def test_a_reference_that_is_not_there_is_told(folder):
    path = folder / "lost.toml"
    path.write_text(TEXT.format(networks=TABLE.format(reference='reference = "lost.onnx"')))
    with pytest.raises(nnw.NnwError, match="lost"):
        prepare(read_evaluation(path), folder / "lost")


def test_a_reference_of_what_is_marked_already_is_refused(folder):
    more = 'marked = "public.onnx"\nkey = "key.npz"\nreference = "public.onnx"'
    path = folder / "both.toml"
    path.write_text(TEXT.format(networks=TABLE.format(reference=more)))
    with pytest.raises(ConfigurationError, match="expected no reference beside marked"):
        read_evaluation(path)
