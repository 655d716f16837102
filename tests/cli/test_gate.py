"""`nnw gate` and `nnw evaluate --require`: answers, exit statuses, files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import nnw_onnx
from nnw_onnx.cli.main import main

Nnw = Callable[..., Any]

GATE = """
key = "key.npz"
reference = "model.onnx"

[payload]
bits = 64

[false_positives]
wrong_keys = 50
networks = ["model.onnx", "nnw:digits/cnn-1.onnx"]

[seal]
file = "marked.seal.json"

[quality]
loss = 2.0

[dataset]
name = "digits"
preprocessing = { scale = 0.0625 }

[[modifications]]
name = "l1-pruning"
intensities = ["50%"]

[[modifications]]
name = "gaussian-noise"
intensities = [0.2]
repetitions = 3

[[modifications]]
steps = [{ name = "l1-pruning", intensity = 50 }, { name = "int8", mode = "static" }]
"""


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, marked: tuple[Path, Path], model: Path
) -> Path:
    """A marked network with its key, its reference, a seal and a gate."""
    made = tmp_path_factory.mktemp("gate")
    for path in marked:
        shutil.copy(path, made / path.name)
    shutil.copy(model, made / "model.onnx")
    seal = ["-o", str(made / "marked.seal.json"), "--key", str(made / "key.npz")]
    assert main(["integrity", "seal", str(made / "marked.onnx"), *seal]) == 0
    (made / "gate.toml").write_text(GATE)
    return made


def gated(nnw: Nnw, folder: Path, text: str, *words: str, network: str = "marked.onnx") -> Any:
    (folder / "other.toml").write_text(text)
    return nnw("gate", folder / "other.toml", folder / network, *words)


def outcomes(answer: Any) -> dict[str, str]:
    return {c["name"]: c["outcome"] for c in json.loads(answer.out)["checks"]}


def test_a_network_that_meets_everything_goes_out(nnw: Nnw, folder: Path) -> None:
    files = [folder / f"checks.{suffix}" for suffix in ("json", "xml", "sarif", "md")]
    words = [word for file in files for word in ("--checks", file)]
    answer = nnw("gate", folder / "gate.toml", folder / "marked.onnx", *words)
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert lines[1] == (
        "passed: mark: 104 of 104 as the key says, p = 4.9e-32; required: found at a "
        "false-positive rate of 1e-06"
    )
    assert lines[2].startswith("passed: payload: 104 bits, 0 wrong; required: at least 64 bits")
    assert "0 of 50 wrong keys and 0 of 2 unmarked networks" in lines[3]
    assert "upper of the 90 % limits" in lines[4]
    assert "a loss of at most 2 points of top-1 accuracy" in lines[4]
    assert lines[6].startswith("passed: survives Gaussian noise at 0.2 x sigma: found in 3 of 3")
    assert lines[-1] == "8 of 8 checks passed"
    assert json.loads(files[0].read_text())["passed"] is True
    assert ElementTree.fromstring(files[1].read_text()).get("failures") == "0"
    assert "results" in json.loads(files[2].read_text())["runs"][0]
    assert files[3].read_text().startswith("### nnw gate: ")
    # Nothing that is secret leaves: neither secret nor payload.
    claim = nnw_onnx.load_key(folder / "key.npz")
    for text in (answer.out, *(file.read_text() for file in files)):
        assert claim.key.secret.hex() not in text
        assert "mine and mine" not in text


def test_the_same_network_gives_the_same_checks(nnw: Nnw, folder: Path) -> None:
    answers = [
        nnw("gate", folder / "gate.toml", folder / "marked.onnx", "--format", "sarif").out
        for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_an_unmarked_network_does_not_go_out(nnw: Nnw, folder: Path) -> None:
    answer = nnw("gate", folder / "gate.toml", folder / "model.onnx", "--format", "json")
    assert answer.status == 1
    found = outcomes(answer)
    assert found["mark"] == found["seal"] == "failed"
    assert found["survives L1 pruning at 50 %"] == "failed"
    assert found["false positives"] == found["quality"] == "passed"


def test_a_share_is_judged_by_its_lower_limit(nnw: Nnw, folder: Path) -> None:
    table = '[[modifications]]\nname = "gaussian-noise"\nintensities = [0.1]\n'
    start = 'key = "key.npz"\n'
    shown = gated(nnw, folder, f'{start}{table}repetitions = 5\nfound = "50%"\n')
    assert shown.status == 0
    assert "found in 5 of 5: at least 54.9 % (one-sided 95 % limit)" in shown.out
    counted = gated(nnw, folder, f'{start}{table}repetitions = 2\nfound = 1.0\nlimit = "mean"\n')
    assert "found in 2 of 2; required: found in at least 100 %, as counted" in counted.out
    few = gated(nnw, folder, f'{start}{table}repetitions = 5\nfound = "95%"\n')
    assert few.status == 2
    assert (
        "expected repetitions of at least 59, because no fewer can show a share of 0.95" in few.err
    )
    never = gated(nnw, folder, f"{start}{table}repetitions = 5\nfound = 1.0\n")
    assert "expected found below 1, because no fewer" in never.err


def test_too_much_lost_too_little_carried_and_wrong_hashes_fail(nnw: Nnw, folder: Path) -> None:
    text = GATE.replace("loss = 2.0", "loss = 0.0").replace("bits = 64", "bits = 105")
    text = text.replace(
        'file = "marked.seal.json"', f'file = "marked.seal.json"\nroot = "{"0" * 64}"'
    )
    text = f'commitment = "{"0" * 64}"\n{text}'
    answer = gated(nnw, folder, text, "--format", "json")
    found = outcomes(answer)
    assert answer.status == 1
    assert [n for n, outcome in found.items() if outcome == "failed"] == [
        "seal", "commitment", "payload", "quality",
    ]  # fmt: skip


def test_the_commitment_and_the_root_that_were_published(nnw: Nnw, folder: Path) -> None:
    commitment = nnw_onnx.load_key(folder / "key.npz").key.commitment
    sealed = nnw_onnx.seal(folder / "marked.onnx")
    sealed.save(folder / "open.json")
    text = (
        f'key = "key.npz"\nreference = "model.onnx"\ncommitment = "{commitment.upper()}"\n'
        f'[seal]\nfile = "open.json"\nroot = "{sealed.root}"\n'
    )
    answer = gated(nnw, folder, text, "--format", "json")
    assert (answer.status, set(outcomes(answer).values())) == (0, {"passed"})
    # A seal that anybody can have written, and no root that tells otherwise.
    without = gated(nnw, folder, text.replace(f'root = "{sealed.root}"', ""), "--format", "json")
    assert outcomes(without)["seal"] == "not measured"
    assert "which anybody can make" in without.out


def test_what_cannot_be_measured_has_not_passed(nnw: Nnw, folder: Path) -> None:
    table = '[[modifications]]\nname = "l1-pruning"\nintensities = [50]\nlayers = ["absent"]\n'
    answer = gated(nnw, folder, f'key = "key.npz"\n{table}', "--format", "junit")
    assert answer.status == 1
    error = ElementTree.fromstring(answer.out)[0][1][0]
    assert (error.tag, error.get("type")) == ("error", "not measured")
    assert "expected a layer" in error.get("message", "")


def test_a_permutation_takes_the_mark_unless_channels_are_put_back(nnw: Nnw, folder: Path) -> None:
    text = 'key = "key.npz"\nreference = "model.onnx"\n[[modifications]]\nname = "permutation"\n'
    assert gated(nnw, folder, text).status == 1
    assert gated(nnw, folder, f"resynchronise = true\n{text}").status == 0


def test_the_thresholds_may_name_the_network(nnw: Nnw, folder: Path) -> None:
    (folder / "named.toml").write_text('network = "marked.onnx"\nkey = "key.npz"\n')
    named = nnw("gate", folder / "named.toml", "--format", "json")
    assert (named.status, json.loads(named.out)["file"]) == (0, "marked.onnx")
    # What is given beside it comes first.
    assert nnw("gate", folder / "named.toml", folder / "model.onnx").status == 1
    assert nnw_onnx.gate(folder / "named.toml")
    nameless = nnw("gate", folder / "gate.toml")
    assert nameless.status == 2
    assert "network: expected the marked network, got none; add network, or name it" in nameless.err


def test_a_seal_alone_needs_no_key(nnw: Nnw, folder: Path) -> None:
    nnw_onnx.seal(folder / "marked.onnx").save(folder / "plain.json")
    text = '[seal]\nfile = "plain.json"\n'
    assert gated(nnw, folder, text).out.endswith("1 of 1 check passed\n")
    assert gated(nnw, folder, text, network="model.onnx").status == 1


def test_the_key_may_lie_elsewhere(nnw: Nnw, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "key.npz", tmp_path / "k.npz")
    text = "[payload]\nbits = 8\n"
    assert gated(nnw, folder, text, "--key", str(tmp_path / "k.npz")).status == 0
    bare = gated(nnw, folder, text)
    assert bare.status == 2
    assert "key: expected a key, a seal or quality to check, got none; add one" in bare.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'kye = "key.npz"',
            r"kye: expected one of the keys title, network, key, .*did you mean 'key'",
        ),
        (
            'key = "absent.npz"',
            "key: expected a file, got none for '.*absent.npz'; correct the path",
        ),
        ('key = "key.npz"\n[quality]\nloss = 1', "quality: expected the network before the mark"),
        (
            'key = "key.npz"\nreference = "model.onnx"\n[quality]\nloss = 1',
            r"quality: expected samples to measure it on, got none; add a table \[dataset\]",
        ),
        ('key = "key.npz"\nresynchronise = true', "resynchronise: expected the network before the"),
        ('key = "key.npz"\nreference = "gone.onnx"', "networks: expected an ONNX file for '.*gone"),
        (
            'key = "key.npz"\n[false_positives]\nmost = 1',
            "false_positives: expected wrong_keys or networks, got neither; add one",
        ),
        (
            'key = "key.npz"\n[[modifications]]\nname = "l1-prunning"\nintensities = [1]',
            r"modifications\.0: .*did you mean 'l1-pruning'",
        ),
        (
            'key = "key.npz"\n[[modifications]]\nname = "jpeg"\nintensities = [50]',
            r"modifications\.0: expected a Modification of the network, got jpeg, which changes",
        ),
        (
            'key = "key.npz"\n[[modifications]]\nname = "averaging"\ncopies = 2',
            r"modifications\.0: copies: expected 1 in a gate, which has one network, got 2",
        ),
        (
            'key = "key.npz"\n[[modifications]]\nname = "int8"\nmode = "static"',
            r"modifications\.0: expected data for int8, got none; add a table \[dataset\]",
        ),
        (
            'key = "key.npz"\n[[modifications]]\nname = "l1-pruning"\nintensities = [1]\n'
            'found = "much"',
            r'modifications\.0\.found: expected a share such as "95%" or 0\.95',
        ),
        ("key = ", "other.toml: expected TOML, got"),
    ],
)
def test_a_gate_that_cannot_be_is_told_before_any_work(
    nnw: Nnw, folder: Path, text: str, message: str
) -> None:
    answer = gated(nnw, folder, text)
    assert (answer.status, answer.out) == (2, "")
    assert re.search(message, answer.err), answer.err


def test_files_are_looked_at_before_any_work(nnw: Nnw, folder: Path) -> None:
    gate, marked = folder / "gate.toml", folder / "marked.onnx"
    unknown = nnw("gate", gate, marked, "--checks", folder / "checks.txt")
    assert unknown.status == 2
    assert "--checks: expected a file that ends in .json, .xml, .sarif, .md" in unknown.err
    assert nnw("gate", folder / "none.toml", marked).status == 2
    assert "expected a readable gate file" in nnw("gate", folder / "none.toml", marked).err
    broken = folder / "broken.onnx"
    broken.write_bytes(b"no network")
    assert nnw("gate", gate, broken).status == 2
    twice = nnw("gate", gate, marked, "--checks", folder / "a.md", "--checks", folder / "a.md")
    assert "--checks: expected a file of its own" in twice.err


EVALUATION = """
networks = ["nnw:digits/cnn-0.onnx", "nnw:digits/cnn-1.onnx"]
payloads = 1
[dataset]
name = "digits"
preprocessing = { scale = 0.0625 }
limit = 100
[[methods]]
name = "block-spread"
[[modifications]]
name = "l1-pruning"
intensities = [50]
[control]
wrong_keys = 5
[cost]
cells = 0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An evaluation and its finished run."""
    made = tmp_path_factory.mktemp("run")
    (made / "e.toml").write_text(EVALUATION)
    assert main(["evaluate", str(made / "e.toml"), "--run-folder", str(made / "run")]) == 0
    return made / "e.toml", made / "run"


def test_evaluate_says_whether_its_report_meets_what_is_required(
    nnw: Nnw, run: tuple[Path, Path], tmp_path: Path
) -> None:
    again = ("evaluate", run[0], "--run-folder", run[1])
    good = nnw(
        *again, "--require", "robustness[l1-pruning@50].detected.mean >= 95%",
        "--require", "controls.wrong_found <= 0", "--checks", tmp_path / "c.sarif",
    )  # fmt: skip
    assert good.status == 0
    assert good.out.splitlines()[-2:] == [
        "passed: controls.wrong_found <= 0: 0 of block-spread, 64 bits; required: <= 0",
        "2 of 2 checks passed",
    ]
    assert len(json.loads((tmp_path / "c.sarif").read_text())["runs"][0]["results"]) == 2
    bad = nnw(*again, "--require", "robustness[l1-pruning@50].detected >= 95%", "--format", "json")
    assert bad.status == 1
    (check,) = json.loads(bad.out)["checks"]
    assert (check["outcome"], check["limit"]) == ("failed", "low")
    unknown = nnw(*again, "--require", "cost.injection.mean <= 5")
    assert unknown.status == 1
    assert "not measured: cost.injection.mean <= 5" in unknown.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "robustness[float16].detected >= 1%",
            "expected a Modification of the evaluation: l1-prun",
        ),
        (
            "robustness[l1-pruning@60].detected >= 1%",
            "expected an Intensity that is tried: 50, got",
        ),
        (
            "cost[technology=uchida].detection <= 1",
            "expected a technology: one of block-spread, 64",
        ),
        ("quality[measure=iou].loss <= 1", "expected a measure: one of top-1 accuracy"),
        ("technologies.least >= 95", "expected a share with %"),
        ("quality.loss =< 1", "expected one of <=, >=, <, > after loss, got ="),
    ],
)
def test_what_the_report_cannot_tell_is_refused_before_the_run(
    nnw: Nnw, run: tuple[Path, Path], tmp_path: Path, text: str, message: str
) -> None:
    answer = nnw("evaluate", run[0], "--run-folder", tmp_path / "new", "--require", text)
    assert (answer.status, (tmp_path / "new").exists()) == (2, False)
    assert re.search(message, answer.err), answer.err
    looked = nnw("evaluate", run[0], "--dry-run", "--require", text)
    assert (looked.status, looked.out) == (2, "")
    assert re.search(message, looked.err), looked.err


def test_a_run_is_repeated_from_its_folder(
    nnw: Nnw, run: tuple[Path, Path], tmp_path: Path
) -> None:
    new = tmp_path / "new"
    again = ("evaluate", "--from", run[1], "--run-folder", new)
    done = nnw(*again, "--require", "controls.wrong_found <= 0")
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[-3].startswith("the same: all ")
    assert lines[-3].endswith(" records are those of the run, byte by byte")
    records = new / "records.jsonl"
    told = ('"outside_standard_range":false', '"outside_standard_range":true')
    records.write_text(records.read_text().replace(*told, 1))
    differing = nnw(*again, "--format", "json")
    assert differing.status == 1
    assert json.loads(differing.out)["repeated"] == {
        "same": False, "records": 10, "differing": 1, "versions": [],
    }  # fmt: skip
    assert "not the same: 1 of 10 records are others than the run's" in nnw(*again).out
    for words in ((run[0],), ("--set", "seed=1"), ("--preset", "deployment"), ("--dry-run",)):
        refused = nnw(*again, *words)
        assert refused.status == 2
        assert "--from: expected nothing beside it that changes the run, got " in refused.err
