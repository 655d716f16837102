"""Run and work folders that somebody else has sent: nothing in them is followed or waited for."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import KeyFileError, RunError
from nnw_onnx.graph import open_network
from nnw_onnx.records import InjectionRecord
from nnw_onnx.runs import arrays as runs_arrays
from nnw_onnx.runs.arrays import read_arrays, write_arrays
from nnw_onnx.runs.store import Store, work_folder, write_atomically

from ..fuzz.run_folders import write_run  # noqa: TID252 - shared by two rooms' tests
from ..measures.made import invented  # noqa: TID252 - shared by two rooms' tests

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
WITHIN = (
    "records.jsonl", "injections.jsonl", "costs.jsonl", "environment.json", "report.html",
    "report.json", ".lock", "keys", "networks", "checkpoints", "progress", "finished", "figures",
    "tables", "keys/a.npz", "networks/a.npz", "figures/evidence.svg", "tables/all.csv",
)  # fmt: skip
REFUSED = "expected plain files and folders, got "


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", *invented(1, 1, 1, 1, 20).parts)
    return tmp_path / "run"


def refused(run: Path, what: str) -> None:
    """Report and resume say so, and neither has written anything."""
    before = sorted(p.relative_to(run) for p in run.rglob("*"))
    with pytest.raises(RunError, match=REFUSED + what):
        nnw.report(run)
    with pytest.raises(RunError, match=REFUSED + what), Store(run).locked():
        pass
    assert sorted(p.relative_to(run) for p in run.rglob("*")) == before


def put(run: Path, name: str) -> Path:
    """An empty place of this name, whatever was there."""
    place = run / name
    place.parent.mkdir(exist_ok=True)
    if place.is_dir():
        place.rmdir()
    place.unlink(missing_ok=True)
    return place


@pytest.mark.parametrize("name", WITHIN)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_not_followed(run: Path, tmp_path: Path, name: str, there: bool) -> None:
    target = tmp_path / "target"
    if there:
        target.write_bytes(b"one\ntwo\nno end")
    put(run, name).symlink_to(target)
    refused(run, r"a link named '")
    assert target.exists() == there
    if there:
        assert target.read_bytes() == b"one\ntwo\nno end"


@pytest.mark.parametrize("name", ["keys", "networks", "checkpoints", "figures", "deep/er"])
def test_a_link_to_a_folder_is_not_followed(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    put(run, name).symlink_to(tmp_path / "elsewhere")
    refused(run, r"a link named '")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", WITHIN)
def test_a_pipe_is_not_waited_for(run: Path, name: str) -> None:
    os.mkfifo(put(run, name))
    refused(run, "a pipe, socket or device named '")


def test_a_second_name_of_a_file_elsewhere_is_not_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"no end")
    put(run, "records.jsonl").hardlink_to(tmp_path / "target")
    refused(run, r"a file with another name elsewhere \(a hard link\) named 'records.jsonl'")
    assert (tmp_path / "target").read_bytes() == b"no end"


@pytest.mark.parametrize("call", ["append", "records", "drop_torn_lines"])
def test_what_became_a_link_meanwhile_is_not_followed(run: Path, tmp_path: Path, call: str) -> None:
    (tmp_path / "target").write_bytes(b"no end")
    put(run, "injections.jsonl").symlink_to(tmp_path / "target")
    store = Store(run)
    record = invented(1, 1, 1, 1, 20).injections[0]
    actions = {
        "append": lambda: store.append(record),
        "records": lambda: store.records(InjectionRecord),
        "drop_torn_lines": store.drop_torn_lines,
    }
    with pytest.raises(RunError, match=r"injections\.jsonl: expected a regular file, got a link"):
        actions[call]()
    assert (tmp_path / "target").read_bytes() == b"no end"


def test_a_whole_folder_is_reported_and_may_be_a_link_itself(run: Path, tmp_path: Path) -> None:
    nnw.report(run)
    assert (run / "report.html").is_file()
    (tmp_path / "mine").symlink_to(run)
    nnw.report(tmp_path / "mine")


def test_files_are_replaced_and_links_to_others_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert (tmp_path / "link").read_bytes() == b"new"


def test_progress_cannot_command_a_terminal(run: Path) -> None:
    store = Store(run)
    store.tell_progress("a", "loss 1")
    store.tell_progress("b", "\x1b[2J\n\u202ex")
    (run / "progress" / "c").write_bytes(b"x" * 100_000)
    (run / "progress" / "d").symlink_to("/etc/passwd")
    os.mkfifo(run / "progress" / "e")
    assert store.progress() == ["loss 1", "\\x1b[2J \\u202ex"]


class TestArrays:
    def test_they_come_back(self, tmp_path: Path) -> None:
        arrays = {
            "a/../b": np.arange(6, dtype="<f8").reshape(2, 3), "": np.float32(3) * np.ones(()),
            "f": np.asfortranarray(np.arange(6).reshape(2, 3)), "none": np.zeros((0, 4), np.uint8),
            "half": np.ones(3, np.float16), "flags": np.array([True, False]),
        }  # fmt: skip
        write_arrays(tmp_path / "a.npz", arrays, "this")
        found = read_arrays(tmp_path / "a.npz", 1 << 20, "this")
        assert found.keys() == arrays.keys()
        for name, values in arrays.items():
            assert found[name].dtype == np.asarray(values).dtype
            np.testing.assert_array_equal(found[name], values)

    def test_those_of_something_else_are_refused(self, tmp_path: Path) -> None:
        write_arrays(tmp_path / "a.npz", {"w": np.ones(3)}, "this")
        with pytest.raises(RunError, match="got: those of something else; start"):
            read_arrays(tmp_path / "a.npz", 1 << 20, "that")

    def test_a_few_megabytes_do_not_become_gigabytes(self, tmp_path: Path) -> None:
        """256 MiB of zeros in less than 1, which `numpy.load` would unpack."""
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("names.npy", "w") as member:
                np.lib.format.write_array(
                    member, np.frombuffer(b'{"of":"","names":["w"]}', np.uint8)
                )
            with archive.open("w0.npy", "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 26,)}
                np.lib.format.write_array_header_1_0(member, header)
                for _ in range(256):
                    member.write(bytes(1 << 20))
        assert path.stat().st_size < 1 << 20
        with pytest.raises(RunError, match="got: a compressed member; start"):
            read_arrays(path, 1 << 40)

    @pytest.mark.parametrize("shape", [(1 << 40,), (1 << 32, 1 << 32), (4,), (-1,), (2, 2, 2)])
    def test_no_header_is_believed(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            with archive.open("names.npy", "w") as member:
                np.lib.format.write_array(
                    member, np.frombuffer(b'{"of":"","names":["w"]}', np.uint8)
                )
            with archive.open("w0.npy", "w") as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                member.write(bytes(12))
        with pytest.raises(RunError, match="expected the arrays that a run keeps"):
            read_arrays(tmp_path / "a.npz", 1 << 60)

    def test_more_than_is_wanted_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runs_arrays, "_MOST_NAMES_BYTES", 1000)
        write_arrays(tmp_path / "a.npz", {"w": np.zeros(1 << 20)})
        assert read_arrays(tmp_path / "a.npz", 8 << 20)["w"].size == 1 << 20
        with pytest.raises(RunError, match=r"bytes where at most \d+ can be"):
            read_arrays(tmp_path / "a.npz", (8 << 20) - 1000)

    def test_objects_are_never_read(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr(
                "names.npy",
                b"\x93NUMPY\x01\x00F\x00"
                + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69)
                + b"\n",
            )
        with pytest.raises(RunError, match="got: an array of object; start"):
            read_arrays(tmp_path / "a.npz", 1 << 20)


def test_a_network_of_a_run_is_no_larger_than_the_original(tmp_path: Path) -> None:
    original, store = open_network(MODEL), Store(tmp_path / "run")
    store.create()
    large = {"conv1.weight": np.zeros(1 << 24)}
    write_arrays(store.folder / "networks" / "x.npz", large, original.sha256)
    with pytest.raises(RunError, match=r"bytes where at most \d+ can be"):
        store.load_network("x", original)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_keys_and_states_are_for_their_owner_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    made = nnw.inject(MODEL, nnw.Payload.from_text("own"), seed=1)
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).unlink(missing_ok=True)
    old = os.umask(mask)
    try:
        nnw.save_key(made.claim, tmp_path / "a.npz")
        (tmp_path / "a.npz").chmod(0o644)
        nnw.save_key(made.claim, tmp_path / "a.npz")
        store = Store(tmp_path / "run")
        store.create()
        store.checkpoint("t", 1 << 20).save({"w": np.ones(3)})
        (store.folder / "keys").chmod(0o755)
        with store.locked():
            pass
        with work_folder(tmp_path / "work", "task") as folder:
            modes = [stat.S_IMODE(folder.stat().st_mode)]
        write_atomically(tmp_path / "c.txt", b"x")
    finally:
        os.umask(old)
    keys = [tmp_path / "a.npz", store.folder / "checkpoints" / "t.npz"]
    assert [stat.S_IMODE(p.stat().st_mode) for p in keys] == [0o600, 0o600]
    assert [*modes, stat.S_IMODE((store.folder / "keys").stat().st_mode)] == [0o700, 0o700]
    # What is no secret is as readable as its owner wants his files to be.
    assert stat.S_IMODE((tmp_path / "c.txt").stat().st_mode) == 0o666 & ~mask


def test_a_secret_is_in_no_text(tmp_path: Path) -> None:
    made = nnw.inject(MODEL, nnw.Payload.from_text("own"), seed=1)
    secret = made.key.secret
    for text in (repr(made.key), str(made.key), repr(made.claim), repr(made), f"{made.claim}"):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text


@pytest.mark.parametrize("content", [b"weights", b"", b"PK\x03\x04 another archive"])
def test_a_key_replaces_nothing_but_a_key(tmp_path: Path, content: bytes) -> None:
    made = nnw.inject(MODEL, nnw.Payload.from_text("own"), seed=1)
    path = tmp_path / "key.npz"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match="expected a new file or an older key to replace"):
        nnw.save_key(made.claim, path)
    assert path.read_bytes() == content
    path.unlink()
    nnw.save_key(made.claim, path)
    nnw.save_key(made.claim, path)
    assert nnw.load_key(path).key.secret == made.key.secret


class TestWorkFolders:
    def test_that_of_another_task_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), work_folder(tmp_path / "w", "one"):
            _ = 1 / 0
        with (
            pytest.raises(RunError, match="or that of this very training"),
            work_folder(tmp_path / "w", "other"),
        ):
            pass
        with work_folder(tmp_path / "w", "one"):
            pass
        assert not (tmp_path / "w").exists()

    @pytest.mark.parametrize("name", ["key.npz", "task.txt", "checkpoints"])
    def test_links_in_it_are_not_followed(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / "task.txt").write_text("one")
        (tmp_path / "w" / name).unlink(missing_ok=True)
        (tmp_path / "w" / name).symlink_to(tmp_path / "target")
        with pytest.raises(RunError, match=REFUSED + "a link"), work_folder(tmp_path / "w", "one"):
            pass
        assert not (tmp_path / "target").exists()

    def test_what_is_read_is_not_removed_with_it(self, tmp_path: Path) -> None:
        with (
            pytest.raises(RunError, match="a folder for the state of a training alone"),
            work_folder(tmp_path, "one", [tmp_path / "m.onnx"]),
        ):
            pass

    def test_a_state_is_of_one_training(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "run")
        store.create()
        store.checkpoint("one", 1 << 20).save({"w": np.ones(3)})
        folder = store.folder / "checkpoints"
        (folder / "one.npz").rename(folder / "other.npz")
        with pytest.raises(RunError, match="got: those of something else"):
            store.checkpoint("other", 1 << 20).load()


def test_records_that_are_torn_in_a_folder_of_ones_own_are_cut(run: Path) -> None:
    path = run / "injections.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"torn')
    with Store(run).locked():
        Store(run).drop_torn_lines()
    assert path.read_bytes() == whole
    assert json.loads(whole.splitlines()[0])["status"] == "done"
