"""A run repeated from its folder: the same records, and one line for a file that is another one."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.records import Plan
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.repeating import check_same, compared, default_folder, repeated
from nnw_onnx.runs.store import Store

from ..readme.sessions import write_photos  # noqa: TID252 - photos of digits for everybody

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
EVALUATION = """
title = "To be repeated"
seed = 5
networks = ["own.onnx", "nnw:digits/cnn-1.onnx"]
payloads = 1
payload_sizes = [32]
presets = ["adaptive", "own-preset.toml"]

[dataset]
name = "image-folder"
path = "photos"
limit = 40

[[methods]]
name = "uchida"
layer = "conv2.weight"

[[modifications]]
name = "gaussian-noise"
intensities = ["0.2", 0.1]
layers = ["conv*"]

[control]
wrong_keys = 3
[cost]
cells = 0
[preview]
samples = 0
"""
PRESET = """
summary = "of our own"
[[modifications]]
name = "quantizing"
intensities = [4]
[[modifications]]
name = "fine-tuning"
intensities = [0.1]
"""
KEPT = ("plan.json", "injections.jsonl", "records.jsonl")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in a folder of its own, with all that it was made of."""
    folder = tmp_path_factory.mktemp("repeated")
    shutil.copy(MODELS / "cnn-0.onnx", folder / "own.onnx")
    write_photos(folder / "photos")
    (folder / "e.toml").write_text(EVALUATION)
    (folder / "own-preset.toml").write_text(PRESET)
    nnw.evaluate(folder / "e.toml", run_folder=folder / "run", progress=False)
    return folder


def test_a_run_is_repeated_byte_by_byte(place: Path) -> None:
    again = nnw.repeat(place / "run", progress=False)
    assert again
    assert again.folder == place / "run-again" == default_folder(place / "run")
    assert (again.same.differing, again.same.versions) == (0, ())
    assert again.same.records == 2 + len(Store(place / "run").records(nnw_trial()))
    for name in KEPT:
        assert (place / "run" / name).read_bytes() == (again.folder / name).read_bytes(), name
    keys = [sorted((place / run / "keys").iterdir()) for run in ("run", "run-again")]
    assert [p.name for p in keys[0]] == [p.name for p in keys[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*keys, strict=True))
    assert again.report.reproducibility == nnw.report(place / "run").reproducibility


def nnw_trial() -> type:
    from nnw_onnx.records import TrialRecord

    return TrialRecord


def test_what_presets_brought_is_not_brought_again(place: Path) -> None:
    """Whatever presets hold by now, and whatever this machine can do."""
    asked = repeated(place / "run")
    plan = Store(place / "run").read(Plan)
    assert [table.preset for table in asked.modifications] == [s.preset for s in plan.settings]
    assert "own-preset" in [table.preset for table in asked.modifications]
    assert asked.left_out == plan.left_out
    assert plan.left_out
    assert asked.as_planned


def test_a_folder_that_was_moved_is_repeated_where_its_files_are(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "run", tmp_path / "sent")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RunError, match=r"own\.onnx: expected the network of the run .*none of that"
    ):
        repeated(tmp_path / "sent")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(place / "own.onnx", tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"photos: expected the file or folder of the run, got none"):
        repeated(tmp_path / "sent", [tmp_path / "elsewhere"])
    found = repeated(tmp_path / "sent", [tmp_path / "elsewhere"], place / "photos")
    assert found.dataset.spec.options["path"] == str(place / "photos")
    assert found.networks[0] == str((tmp_path / "elsewhere" / "own.onnx").resolve())


def test_a_changed_network_is_one_line(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "sent")
    shutil.copy(MODELS / "cnn-2.onnx", tmp_path / "own.onnx")
    with pytest.raises(RunError) as caught:
        repeated(tmp_path / "sent")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("own.onnx: expected the network of the run (SHA-256 ")
    assert f"got another in {tmp_path}" in text
    # The right one is found behind it.
    assert repeated(tmp_path / "sent", [place]).networks[0] == str(place.resolve() / "own.onnx")


def test_changed_data_are_one_line(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "photos", tmp_path / "photos")
    first, *others = sorted((tmp_path / "photos").rglob("*.png"))
    for other in others:
        shutil.copy(first, other)
    with pytest.raises(
        RunError, match=r"data of the test: expected what the run was made of \(SHA"
    ):
        nnw.repeat(place / "run", data=tmp_path / "photos", run_folder=tmp_path / "new")
    assert not (tmp_path / "new" / "plan.json").exists()


def test_a_configuration_that_means_something_else_by_now_is_one_line(
    place: Path, tmp_path: Path
) -> None:
    plan = json.loads((place / "run" / "plan.json").read_text())
    (tmp_path / "sent").mkdir()

    def sent(**changes: object) -> Path:
        (tmp_path / "sent" / "plan.json").write_text(json.dumps({**plan, **changes}))
        return tmp_path / "sent"

    with pytest.raises(
        RunError, match=r"--from: expected a run of this version's settings, got one"
    ):
        nnw.repeat(sent(evaluation_sha256="0" * 64), files=[place], run_folder=tmp_path / "new")
    changed = {**plan["evaluation"], "payloads": 0}
    with pytest.raises(
        ConfigurationError, match="payloads: expected a number greater than or equal"
    ):
        repeated(sent(evaluation=changed), [place])
    fewer = {**plan["evaluation"], "modifications": []}
    with pytest.raises(RunError, match=r"expected a configuration with \d+ Modifications, as its"):
        repeated(sent(evaluation=fewer), [place])
    modifications = [{**m} for m in plan["evaluation"]["modifications"]]
    modifications[0] = {"name": "merging", "other": "/etc/secret.onnx", "intensities": [0.5]}
    other = {**plan["evaluation"], "modifications": modifications}
    with pytest.raises(RunError, match=r"/etc/secret\.onnx: expected a network beside the conf"):
        repeated(sent(evaluation=other), [place])
    escaping = {**plan["evaluation"], "dataset": {**plan["evaluation"]["dataset"], "path": "/etc"}}
    with pytest.raises(RunError, match="etc: expected the file or folder of the run, got none"):
        repeated(sent(evaluation=escaping), [place])
    tables = [{"file": "own.onnx", "marked": "own.onnx"}, {"file": 7, "key": []}, None, "x"]
    with pytest.raises(
        ConfigurationError, match=r"networks\.0: expected key beside marked; add it"
    ):
        repeated(sent(evaluation={**plan["evaluation"], "networks": tables}), [place])
    for networks in (None, 7, {}, [["a"]]):
        # What a plan does not say of its networks in tables is nothing.
        asked = repeated(sent(evaluation={**plan["evaluation"], "networks": networks}), [place])
        assert len(asked.networks) == 2
    with pytest.raises(ConfigurationError, match="methods: expected"):
        repeated(sent(evaluation={**plan["evaluation"], "methods": "all"}), [place])
    with pytest.raises(RunError, match="expected a run folder with plan.json, got none"):
        repeated(tmp_path)


def test_marks_made_elsewhere_are_found_again(place: Path, tmp_path: Path) -> None:
    injected = nnw.inject(place / "own.onnx", "theirs", seed=3)
    injected.network.save(tmp_path / "theirs.onnx")
    nnw.save_key(injected.claim, tmp_path / "theirs.npz")
    shutil.copy(place / "own.onnx", tmp_path / "plain.onnx")
    (tmp_path / "e.toml").write_text(
        '[[networks]]\nfile = "plain.onnx"\nmarked = "theirs.onnx"\nkey = "theirs.npz"\n'
        '[dataset]\nname = "digits"\nlimit = 20\npreprocessing = { scale = 0.0625 }\n'
        "[cost]\ncells = 0\n[control]\nwrong_keys = 0\n"
    )
    nnw.evaluate(tmp_path / "e.toml", run_folder=tmp_path / "run", progress=False)
    plan = Store(tmp_path / "run").read(Plan)
    assert plan.evaluation["networks"] == [
        {"file": "plain.onnx", "marked": "theirs.onnx", "key": "theirs.npz"}
    ]
    again = nnw.repeat(tmp_path / "run", progress=False)
    assert again
    assert Store(again.folder).read(Plan) == plan
    nnw.save_key(nnw.inject(place / "own.onnx", "other", seed=4).claim, tmp_path / "theirs.npz")
    with pytest.raises(RunError):
        nnw.repeat(tmp_path / "run", run_folder=tmp_path / "third", progress=False)


def test_records_that_differ_are_counted_and_versions_told(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "other")
    lines = (tmp_path / "other" / "records.jsonl").read_text().splitlines(keepends=True)
    record = json.loads(lines[0])
    record["quality"]["top-1 accuracy"] = 0.5
    lines[0] = json.dumps(record) + "\n"
    (tmp_path / "other" / "records.jsonl").write_text("".join(lines))
    machine = json.loads((tmp_path / "other" / "environment.json").read_text())
    machine["versions"]["numpy"] = "1.0"
    (tmp_path / "other" / "environment.json").write_text(json.dumps(machine))
    found = compared(place / "run", tmp_path / "other")
    assert not found
    assert found.differing == 1
    (told,) = found.versions
    assert told.startswith("numpy: ")
    assert told.endswith(" in the run, 1.0 here")


@pytest.mark.shared_data
def test_a_published_run_of_before_can_be_repeated(shared_data: Path, tmp_path: Path) -> None:
    """Its plan alone tells what was done: made anew, it is the same in every field."""
    root = MODELS.parents[1]
    with tarfile.open(root / "results" / "published.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    run, (data,) = tmp_path / "published", (shared_data / "cifar10").glob("*imagefolder*")
    plan = Store(run).read(Plan)
    asked = repeated(run, [root / "models" / "comparison"], data)
    made = prepare(asked, tmp_path / "again").plan
    check_same(plan, made)
    assert made == plan
