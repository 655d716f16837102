"""Evaluations of networks that were marked already: by this project, and by plain numpy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError, KeyFileError, RunError
from nnw_onnx.records import CostRecord, InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs.elsewhere import payload_from
from nnw_onnx.runs.network_tables import NetworkTable, file_names
from nnw_onnx.runs.store import Store
from nnw_onnx.vocabulary import Key, Payload, Spec

from .elsewhere import MODELS, bits, gaussian, marked

pytestmark = pytest.mark.xdist_group("marked elsewhere")

CONFIG = """
title = "Marked elsewhere"
{networks}
payloads = 2
[dataset]
name = "digits"
limit = 120
preprocessing = {{ scale = 0.0625 }}
[control]
wrong_keys = 30
[preview]
samples = 0
[cost]
cells = {cells}
sessions = 1
repetitions = 5
warmups = 1
{methods}
[[modifications]]
name = "gaussian-noise"
intensities = [0.1]
"""
MATRIX, BITS = gaussian(64), bits(64)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Two marks on cnn-0, one of ours and one of numpy's, and another of ours on cnn-1."""
    folder = tmp_path_factory.mktemp("marks")
    for number, text in ((0, "first one"), (1, "second 1!")):
        made = nnw.inject(MODELS / f"cnn-{number}.onnx", text, seed=number)
        made.network.save(folder / f"own-{number}.onnx")
        nnw.save_key(made.claim, folder / f"own-{number}.npz")
    marked(MATRIX, BITS).save(folder / "numpy.onnx")
    claim = nnw.import_key(
        folder / "numpy.onnx", "uchida", matrix=MATRIX, payload=Payload(tuple(BITS.tolist()))
    )
    nnw.save_key(claim, folder / "numpy.npz")
    nnw.save_key(claim, folder / "numpy-without.npz", keep_payload=False)
    return folder


def table(folder: Path, network: int, name: str, key: str = "", payload: str = "") -> str:
    more = f'payload = "{payload}"\n' if payload else ""
    return (
        f'[[networks]]\nfile = "{MODELS / f"cnn-{network}.onnx"}"\n'
        f'marked = "{folder / name}.onnx"\nkey = "{folder / (key or name)}.npz"\n{more}'
    )


def configured(folder: Path, tables: list[str], methods: str = "", cells: int = 0) -> Path:
    """TOML wants plain keys before tables."""
    path = folder / "evaluation.toml"
    head, _, rest = CONFIG.format(networks="", methods=methods, cells=cells).partition("[dataset]")
    path.write_text(head + "[dataset]" + rest + "".join(tables))
    return path


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    tables = [table(files, 0, "own-0"), table(files, 0, "numpy"), table(files, 1, "own-1")]
    path = configured(folder, tables, cells=1)
    return nnw.evaluate(path, run_folder=folder / "run", progress=False)


def test_nothing_is_injected(finished, files):
    store = Store(finished.folder)
    plan, injections = store.read(Plan), store.records(InjectionRecord)
    assert [(t.method.name, t.payload_size, t.elsewhere) for t in plan.technologies] == [
        ("block-spread", 72, True), ("uchida", 64, True),
    ]  # fmt: skip
    assert plan.technologies[1].label.endswith("64 bits, made elsewhere")
    assert [n.name for n in plan.networks] == ["cnn-0.onnx", "cnn-1.onnx"]
    assert [(i.network, i.technology, i.status, i.errors) for i in injections] == [
        (0, 0, "done", 0), (1, 0, "done", 0), (0, 1, "done", 0),
    ]  # fmt: skip
    assert plan.sources["marked network numpy.onnx"] == nnw.open(files / "numpy.onnx").sha256
    weights = [
        np.asarray(nnw.open(p).weights["conv3.weight"])
        for p in (MODELS / "cnn-0.onnx", files / "numpy.onnx")
    ]
    change = np.sqrt(np.mean((weights[1] - weights[0]) ** 2)) / weights[0].std()
    assert injections[2].change == pytest.approx(change, rel=1e-5)
    assert injections[2].changed_weights == np.count_nonzero(weights[0] != weights[1])


def test_the_marks_are_found_and_tested_like_any_other(finished):
    trials = Store(finished.folder).records(TrialRecord)
    assert {t.status for t in trials} == {"done"}
    own = [v for t in trials if t.injection for v in t.verdicts if v.injection == t.injection]
    assert len(own) == 6  # three marks, without Modification and with it
    assert all(v.detected for v in own)
    others = [v for t in trials if t.injection is None for v in t.verdicts]
    assert others
    assert not any(v.detected for v in others)
    null = next(v.null.name for v in own if v.symbols == 64)
    assert null == "Bin(64, 1/2), if the matrix is older than the network"
    controls = [c for t in trials for c in t.controls]
    assert {c.technology for c in controls} == {0, 1}
    assert not sum(c.detected for c in controls)
    assert sum(c.errors for c in controls) / sum(c.symbols for c in controls) == pytest.approx(
        0.5, abs=0.05
    )


def test_the_cost_of_their_injection_is_not_measured(finished):
    costs = Store(finished.folder).records(CostRecord)
    injection = [c for c in costs if c.operation == "injection"]
    assert {(c.status, c.reason) for c in injection} == {
        ("not-applicable", "not measured: marked elsewhere")
    }
    assert {c.status for c in costs if c.operation == "detection"} == {"done"}
    assert (finished.folder / "report.html").is_file()


def test_a_run_goes_on_only_with_the_same_files(finished, files, tmp_path):
    path = configured(tmp_path, [table(files, 0, "own-0")])
    with pytest.raises(RunError, match="expected a run of this evaluation, got one of another"):
        nnw.evaluate(path, run_folder=finished.folder, progress=False)


def test_they_are_compared_with_marks_of_this_run(files, tmp_path):
    """Methods beside marked networks; the payload comes from the table."""
    payload = "".join(map(str, BITS))
    networks = [table(files, 0, "numpy", "numpy-without", payload)]
    path = configured(tmp_path, networks, '[[methods]]\nname = "uchida"\npayload_sizes = [32]')
    nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)
    store = Store(tmp_path / "run")
    injections = store.records(InjectionRecord)
    assert [(i.technology, i.status, i.symbols) for i in injections] == [
        (0, "done", 32), (0, "done", 32), (1, "done", 64),
    ]  # fmt: skip
    assert [t.elsewhere for t in store.read(Plan).technologies] == [False, True]


def test_a_key_of_another_network_is_a_failed_injection(files, tmp_path):
    path = configured(tmp_path, [table(files, 0, "own-0"), table(files, 0, "own-0", "own-1")])
    nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)
    first, other = Store(tmp_path / "run").records(InjectionRecord)
    assert (first.status, other.status) == ("done", "failed")
    assert re.fullmatch(
        r"own-0\.onnx: expected the mark of own-1\.npz, got: \d\d of 72 symbols wrong; give the "
        "network and the key that belong together, with the payload that was put in",
        other.reason,
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('file = "{m}"\nmarked = "{f}/own-0.onnx"', "networks.0: expected key beside marked"),
        ('file = "{m}"\npayload = "x"', "networks.0: expected marked and key beside payload"),
        ('file = "{m}"\nmarkd = "x"', "networks.0.markd: expected one of the keys file, marked"),
        ('marked = "{f}/own-0.onnx"\nkey = "k"', "networks.0.file: expected a value, got none"),
        ('file = "{m}"\nmarked = "{f}/no.onnx"\nkey = "{f}/own-0.npz"',
         "networks.0.marked: expected a file, got none for"),
        ('file = "{m}"', "methods: expected one, or networks that are marked already, got none"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_told_in_its_place(files, tmp_path, lines, message):
    network = MODELS / "cnn-0.onnx"
    path = configured(tmp_path, ["[[networks]]\n" + lines.format(m=network, f=files) + "\n"])
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        (("own-0", "own-0", "0" * 72), ConfigurationError, "the commitment of the key binds, got"),
        (("numpy", "numpy-without", ""), ConfigurationError, "got neither; add payload"),
        (("numpy", "numpy-without", "0101"), ConfigurationError, "expected 64 bits, got 32"),
    ],
)
def test_keys_that_cannot_be_used(files, tmp_path, entry, error, message):
    path = configured(tmp_path, [table(files, 0, *entry)])
    with pytest.raises(error, match=re.escape(message)):
        nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)


def test_a_broken_key_is_told_before_anything_runs(files, tmp_path):
    (tmp_path / "own-0.npz").write_bytes(b"PK no")
    path = configured(tmp_path, [table(files, 0, "own-0", str(tmp_path / "own-0"))])
    with pytest.raises(KeyFileError, match=r"expected a whole \.npz key file"):
        nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)


def test_names_and_tables_stand_together():
    entries = ["a", NetworkTable(file="b", marked="m", key="k"), NetworkTable(file="b"), "c"]
    assert file_names(entries) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "carries", "wanted"),
    [
        ("0110", 4, "0110"),
        ("0xa5", 8, "10100101"),
        ("A", 8, "01000001"),
        ("01", 16, "0011000000110001"),
    ],
)
def test_a_payload_is_told_by_its_size(text, carries, wanted):
    key = Key(Spec("uchida"), bytes(32), carries, carries=carries)
    assert payload_from(text, key).bits == wanted


def test_records_tell_what_a_yes_takes(finished):
    trials = Store(finished.folder).records(TrialRecord)
    own = [v for t in trials for v in t.verdicts if v.symbols == 64]
    assert {v.needed for v in own} == {51}
    for verdict in own:  # P(Bin(64, 1/2) >= 51)
        assert verdict.attained == pytest.approx(stats.binom.sf(50, 64, 0.5), rel=1e-9)
