"""What somebody does wrong in his first hour: one line, the right status, and what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import nnw_onnx

from .conftest import Nnw

HERE = {
    "m.onnx": "model",
    "my model ü [1].onnx": "model",
    "marked.onnx": "marked",
    "key.npz": "key",
    "empty.onnx": b"",
    "empty.npz": b"",
    "empty.toml": b"",
    "text.onnx": b"hello",
    "dir": None,
}


@pytest.fixture
def folder(
    tmp_path: Path, model: Path, marked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with all kinds of files, which commands run in."""
    sources = {"model": model, "marked": marked[0], "key": marked[1]}
    for name, content in HERE.items():
        if content is None:
            (tmp_path / name).mkdir()
        elif isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            shutil.copy(sources[content], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


OUT = "-o out.onnx --key-out k.npz"
NOTHING_NEW = sorted(HERE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("layers", "Missing argument 'MODEL'; see 'nnw layers --help'"),
        ("layers m.onnx m.onnx", "Got unexpected extra argument(s) (m.onnx)"),
        ("layers dir", "expected an .onnx file, got a folder at 'dir'"),
        ("layers empty.onnx", "got an empty file at 'empty.onnx'"),
        ("layers text.onnx", "expected an ONNX file, got a text file at 'text.onnx'"),
        ("layers key.npz", "expected an ONNX file, got a zip archive"),
        ("layers absent.onnx", "got No such file or directory for 'absent.onnx'; check the path"),
        ("inject m.onnx", "Missing option '-o' / '--out'"),
        ("inject m.onnx -o out.onnx", "Missing option '--key-out'"),
        ("inject m.onnx -o dir --key-out k.npz", "--out: expected a new file, got existing 'dir'"),
        ("inject m.onnx -o no/x.onnx --key-out k.npz", "make the folder first"),
        ("inject m.onnx -o out.onnx --key-out out.onnx", "expected a file of its own"),
        (
            f"inject m.onnx {OUT} --layer conv3",
            "(did you mean 'conv3.weight'?); take for example "
            "conv3.weight (64x32x3x3), conv2.weight (32x16x3x3), head.weight",
        ),
        (f"inject m.onnx {OUT} --layer conv1.bias", "got a layer that is a bias; take for example"),
        (f"inject m.onnx {OUT} --payload-bits many", "'--payload-bits': expected a whole number"),
        (f"inject m.onnx {OUT} --method uchida --option margin", "expected NAME=VALUE"),
        (
            f"inject m.onnx {OUT} --method uchida --option margin=x",
            "option margin: expected a "
            "number above 0, at most 100; got 'x'; see 'nnw list methods'",
        ),
        (f"inject m.onnx {OUT} --data dir", "--data: expected --training beside it"),
        ("detect marked.onnx", "Missing option '--key'"),
        (
            "detect key.npz --key marked.onnx",
            "got the key file; write it as: nnw detect marked.onnx --key key.npz",
        ),
        ("decode key.npz --key marked.onnx", "nnw decode marked.onnx --key key.npz"),
        ("detect marked.onnx --key dir", "dir: expected a key file, got: a folder or device"),
        ("detect marked.onnx --key empty.npz", "expected a whole .npz key file"),
        ("detect marked.onnx --key key.npz --false-positive-rate 5", "between 0 and 1, got 5"),
        ("modify m.onnx -o out.onnx", "Missing option '--modification'"),
        ("modify m.onnx -o out.onnx --modification prunning", "(did you mean 'l1-pruning'?)"),
        (
            "modify m.onnx -o out.onnx --modification l1-pruning",
            "--intensity: expected a value (share of the weights of a layer that is removed), got "
            "none; give for example 90 %, the standard: 1 to 90 %",
        ),
        (
            "modify m.onnx -o out.onnx --modification l1-pruning --intensity 0.5",
            'got 0.5, which is 0.5 % and not a share; write "0.5%" if it is meant, else 50',
        ),
        ("modify m.onnx -o out.onnx --modification quantizing --intensity 4%", "in bits, such as"),
        (
            "modify m.onnx -o out.onnx --modification quantizing --intensity 4 --layer conv9",
            "its weights are in conv1.weight, conv2.weight, conv3.weight, head.weight",
        ),
        ("modify m.onnx -o out.onnx --modification jpeg --intensity 50", "one of its inputs"),
        ("evaluate m.onnx", "make an evaluation of it with 'nnw new-evaluation'"),
        ("evaluate dir", "dir: expected a readable evaluation file, got: a folder or device"),
        ("evaluate digits --run-folder m.onnx", "m.onnx: expected a run folder, got a file"),
        ("evaluate digits --set payloads", "--set: expected KEY=VALUE, got 'payloads'"),
        ("evaluate digits --set payloads=many", "payloads: expected a whole number; got 'many'"),
        ("evaluate digits --set a=1 --set a=2", "--set: expected every key once, got 'a' twice"),
        ("report dir", "give the folder that 'nnw evaluate' named"),
        ("list method", "(did you mean 'methods'?)"),
        ("new-evaluation dir", "expected an .onnx file, got a folder at 'dir'"),
        ("new-evaluation m.onnx --task nothing", "see 'nnw list tasks'"),
        ("frobnicate", "No such command 'frobnicate'"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    nnw: Nnw, folder: Path, line: str, message: str
) -> None:
    answer = nnw(*line.split())
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.splitlines()[-1].startswith("nnw: error: ")
    assert sum("error: " in told for told in answer.err.splitlines()) == 1
    assert "internal error" not in answer.err
    assert sorted(os.listdir(folder)) == NOTHING_NEW  # noqa: PTH208 - names only


def test_all_faults_of_a_file_are_told(nnw: Nnw, folder: Path) -> None:
    answer = nnw("evaluate", "empty.toml")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "nnw: error: empty.toml: networks: expected a value, got none; add it",
        "nnw: error: empty.toml: dataset: expected a value, got none; add it",
        "nnw: error: empty.toml: methods: expected one, or networks that are marked already, got "
        "none; add it",
    ]


def test_spaces_brackets_and_other_alphabets(nnw: Nnw, folder: Path) -> None:
    name = "my model ü [1].onnx"
    out, key = "out ü [2].onnx", "key [2] é.npz"
    done = nnw("inject", name, "-o", out, "--key-out", key, "--payload", "hällo wörld ✓")
    assert done.status == 0
    assert done.out.startswith(f"{out}: ")
    assert nnw("decode", out, "--key", key).out == "hällo wörld ✓\n"
    assert nnw("detect", out, "--key", key).status == 0


def test_options_may_come_first(nnw: Nnw, folder: Path) -> None:
    assert nnw("detect", "--key", "key.npz", "marked.onnx").status == 0
    assert nnw("layers", "--format", "json", "m.onnx").status == 0


def test_a_folder_that_cannot_be_written_is_told(
    nnw: Nnw, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "out.onnx")

    monkeypatch.setattr(nnw_onnx.open("m.onnx").__class__, "save", refuse)
    words = ("--modification", "quantizing", "--intensity", "4 bits")
    answer = nnw("modify", "m.onnx", "-o", "out.onnx", *words)
    assert answer.status == 2
    assert answer.err.splitlines()[-1].startswith("nnw: error: out.onnx: expected a file or folder")
    assert "Permission denied" in answer.err
