"""Each workflow, started from its JSON on a real network, tells what an evaluation tells."""

from __future__ import annotations

import json
import shutil
import stat

import pytest

import nnw_onnx as nnw
from nnw_onnx.aif import agent, catalogue, descriptors, files
from nnw_onnx.aif.cells import Asked
from nnw_onnx.aif.types import PayloadFile
from nnw_onnx.aif.workflows import BY_FORM
from nnw_onnx.errors import FrameworkError
from nnw_onnx.records import InjectionRecord, TrialRecord
from nnw_onnx.runs import evaluate
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.places import models_folder
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.store import Store

pytestmark = pytest.mark.xdist_group("aif")

CONFIGURATION = """
title = "Two methods"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 2
payload_sizes = [24]
[dataset]
name = "digits"
limit = 200
preprocessing = { scale = 0.0625 }
[training]
batch_size = 32
learning_rate = 0.05
[[methods]]
name = "uchida"
[[methods]]
name = "adi"
[methods.training]
epochs = 2
[[modifications]]
name = "gaussian-noise"
intensities = [0.2, 2.0]
[control]
wrong_keys = 0
[preview]
samples = 0
[cost]
cells = 0
"""


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    path = tmp_path_factory.mktemp("configuration") / "two.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return read_evaluation(path)


@pytest.fixture(scope="module")
def store(evaluation, tmp_path_factory):
    """A finished evaluation."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    evaluate.run(prepare(evaluation, folder), progress=False, tell=lambda line: None)
    return Store(folder)


def carried_out(name, form, evaluation, folder, **asked):
    """What a workflow tells that is started from the JSON that describes it."""
    made = next(one for one in BY_FORM[form] if one.acronym == name)
    path = folder / "AIW.json"
    path.write_bytes(files.as_json(descriptors.descriptor(made, form)))
    read = catalogue.open_workflow(str(path))
    return agent.run(read, Asked(evaluation, **asked), folder / "out")


def injection(store, technology, payload=0, *, twin=False):
    return next(
        one
        for one in store.records(InjectionRecord)
        if (one.technology, one.twin) == (technology, twin) and one.payload_index == payload
    )


def trial(store, mark, intensity=None):
    wanted = mark and mark.identity
    return next(
        one
        for one in store.records(TrialRecord)
        if (one.injection, one.intensity) == (wanted, intensity)
    )


def errors(store, mark, intensity):
    verdicts = trial(store, mark, intensity).verdicts
    return next(one for one in verdicts if one.injection == mark.identity).errors


def test_imperceptibility_without_training(store, evaluation, tmp_path):
    told = carried_out("NTI", "v2", evaluation, tmp_path, payload=2)
    assert told.figures == {
        "UnwatermarkedInference": dict(trial(store, None).quality),
        "WatermarkedInference": dict(trial(store, injection(store, 0, 1)).quality),
    }


def test_imperceptibility_with_training(store, evaluation, tmp_path):
    told = carried_out("WTI", "v3", evaluation, tmp_path)
    assert told.figures == {
        "UnwatermarkedInference": dict(trial(store, injection(store, 1, twin=True)).quality),
        "WatermarkedInference": dict(trial(store, injection(store, 1)).quality),
    }


@pytest.mark.parametrize("intensity", [0.2, 2.0])
def test_robustness_without_inference(store, evaluation, tmp_path, intensity):
    told = carried_out(
        "NIR", "v3", evaluation, tmp_path, modification="gaussian-noise", intensity=intensity
    )
    wrong = errors(store, injection(store, 0), intensity)
    assert told.figures == {"symbols": 24, "count_error": wrong, "symbol_error_rate": wrong / 24}


def test_robustness_with_inference(store, evaluation, tmp_path):
    told = carried_out(
        "WIR", "v2", evaluation, tmp_path, modification="gaussian-noise", intensity=2.0
    )
    wrong = errors(store, injection(store, 1), 2.0)
    assert 0 < wrong <= 24
    assert told.figures == {"symbols": 24, "count_error": wrong, "symbol_error_rate": wrong / 24}


@pytest.fixture(scope="module")
def ran(evaluation, tmp_path_factory):
    """The same workflow twice."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    asked = {"modification": "quantizing", "intensity": "2 bits"}
    return [carried_out("NIR", "v3", evaluation, folder, **asked) for folder in folders]


def test_the_same_is_the_same_byte_for_byte(ran):
    one, other = (told.folder for told in ran)
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert {"figures.json", "messages.jsonl", "CountError.json"} <= set(map(str, names))
    for name in names:
        if name.parts[0] != "state":
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_messages_are_told_in_their_order_without_their_content(ran):
    lines = (ran[0].folder / "messages.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [(one["source"], one["target"]) for one in found] == [
        (".OriginalPayload", "NNW-CMP-V2.0.OriginalPayload"),
        (".WatermarkedParameters", "NNW-MFM-V2.0.WatermarkedParameters"),
        ("NNW-MFM-V2.0.ModifiedParameters", "NNW-NWD-V2.0.ModifiedParameters"),
        ("NNW-NWD-V2.0.RetrievedPayload", "NNW-CMP-V2.0.RetrievedPayload"),
        ("NNW-NWD-V2.0.RetrievedPayload", ".RetrievedPayload"),
        ("NNW-CMP-V2.0.CountError", ".CountError"),
    ]
    assert {tuple(one) for one in found} == {("source", "target", "type", "bytes", "sha256")}


def test_the_key_is_for_its_owner_alone_and_in_no_message(ran):
    folder = ran[0].folder
    (key,) = (folder / "state" / "keys").iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    from nnw_onnx.runs.keys import load_key

    secret = load_key(key).key.secret
    for path in folder.rglob("*"):
        if path.is_file() and path != key:
            content = path.read_bytes()
            assert secret not in content
            assert secret.hex().encode() not in content
            assert key.stem.encode() not in content or path.parts[-3] == "state", path


def test_a_file_of_ones_own_goes_into_a_port(ran, evaluation, tmp_path):
    """Another payload is compared: half of its bits differ from those that are read."""
    retrieved = files.read_payload(PayloadFile(ran[0].folder / "RetrievedPayload.json"))
    flipped = "".join("01"[bit == "0"] for bit in retrieved.bits)
    own = files.described(PayloadFile, "mine", flipped)
    (tmp_path / "mine.json").write_bytes(files.as_json(own))
    told = carried_out(
        "NIR", "v3", evaluation, tmp_path, modification="quantizing", intensity="2 bits",
        inputs={"OriginalPayload": tmp_path / "mine.json"},
    )  # fmt: skip
    assert told.figures["count_error"] == 24


def test_a_module_that_fails_is_named_in_one_line(evaluation, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(
        FrameworkError, match="^NNW-MFM-V2.0: model: expected an ONNX file, got "
    ) as caught:
        carried_out(
            "NIR", "v3", evaluation, tmp_path,
            inputs={"WatermarkedParameters": tmp_path / "broken.onnx"},
        )  # fmt: skip
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "asked", "line"),
    [
        ("NTI", {"method": "adi"}, "NNW-NTI: expected a method named adi of the evaluation that"),
        ("NIR", {"method": "adi"}, "NNW-NIR: expected a method named adi of the evaluation that"),
        ("NTI", {"payload": 3}, "payload: expected a number from 1 to 2, got 3; correct it"),
        ("NTI", {"network": 2}, "network: expected a number from 1 to 1, got 2; correct it"),
        ("NTI", {"inputs": {"Key": "k"}}, "Key: expected an input of NNW-NTI, one of Training"),
        (
            "NIR",
            {"modification": "jpeg", "intensity": 50},
            "NNW-MFM-V2.0: expected a Modification of the parameters, got one of what the",
        ),
    ],
)
def test_what_cannot_be_is_one_line(evaluation, tmp_path, name, asked, line):
    with pytest.raises(FrameworkError, match=line):
        carried_out(name, "v3", evaluation, tmp_path, **asked)


ELSEWHERE = """
title = "Made elsewhere"
payloads = 1
[[networks]]
file = "plain.onnx"
marked = "marked.onnx"
key = "key.npz"
[dataset]
name = "digits"
preprocessing = { scale = 0.0625 }
"""


def test_a_mark_made_elsewhere_is_read_with_the_symbols_of_its_code(tmp_path):
    plain = models_folder() / "digits" / "cnn-0.onnx"
    made = nnw.inject(plain, "mine", method="uchida", seed=1, code="repetition")
    shutil.copyfile(plain, tmp_path / "plain.onnx")
    made.network.save(tmp_path / "marked.onnx")
    nnw.save_key(made.claim, tmp_path / "key.npz")
    (tmp_path / "e.toml").write_text(ELSEWHERE, encoding="utf-8")
    evaluation = read_evaluation(tmp_path / "e.toml")
    told = carried_out("NIR", "v3", evaluation, tmp_path)
    size = made.claim.key.size
    assert told.figures == {"symbols": size, "count_error": 0, "symbol_error_rate": 0.0}
    original = told.folder / "inputs" / "OriginalPayload.json"
    assert files.read_payload(PayloadFile(original)) == nnw.Payload.from_text("mine")
    (tmp_path / "nti").mkdir()
    with pytest.raises(FrameworkError, match="NNW-NTI: expected a method of the evaluation that"):
        carried_out("NTI", "v3", evaluation, tmp_path / "nti")


CIFAR = """
title = "CIFAR-10"
networks = ["nnw:cifar10/fast-0.onnx"]
payloads = 1
payload_sizes = [64]
dataset = {{ name = "cifar10", path = {path}, limit = 200, preprocessing = {{ scale = 0.00392156862745098, mean = [0.4914, 0.4822, 0.4465], std = [0.2470, 0.2435, 0.2616] }} }}
methods = [{{ name = "uchida" }}]
modifications = [{{ name = "quantizing", intensities = [2] }}]
control = {{ wrong_keys = 0 }}
preview = {{ samples = 0 }}
cost = {{ cells = 0 }}
"""  # noqa: E501 - a TOML table is one line


@pytest.mark.shared_data
def test_the_same_figures_on_cifar10(shared_data, tmp_path):
    path = tmp_path / "cifar.toml"
    path.write_text(CIFAR.format(path=json.dumps(str(shared_data / "cifar10"))), encoding="utf-8")
    evaluation = read_evaluation(path)
    evaluate.run(prepare(evaluation, tmp_path / "run"), progress=False, tell=lambda line: None)
    store = Store(tmp_path / "run")
    told = carried_out("NTI", "v3", evaluation, tmp_path)
    assert told.figures == {
        "UnwatermarkedInference": dict(trial(store, None).quality),
        "WatermarkedInference": dict(trial(store, injection(store, 0)).quality),
    }
    (tmp_path / "nir").mkdir()
    told = carried_out("NIR", "v2", evaluation, tmp_path / "nir", modification="quantizing")
    assert told.figures["count_error"] == errors(store, injection(store, 0), 2)
