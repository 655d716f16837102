"""The plan of an evaluation: what a report needs, and what a resumed run is compared by."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.records import Plan
from nnw_onnx.runs import evaluate, sources
from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.vocabulary import Method

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
BASE = {
    "networks": [str(MODELS / "cnn-*.onnx")],
    "dataset": {"name": "digits", "limit": 100, "preprocessing": {"scale": 0.0625}},
    "methods": [{"name": "uchida", "payload_sizes": [16]}],
    "modifications": [
        {"name": "gaussian-noise", "intensities": [0.1, 0.2]},
        {
            "steps": [
                {"name": "l1-pruning", "intensity": 50, "layers": "carrier"},
                {"name": "quantizing", "intensities": [8, 4], "layers": ["conv*"]},
            ]
        },
    ],
}


def plan_of(folder: Path, **changes: object) -> Plan:
    data = {**copy.deepcopy(BASE), **changes}
    return prepare(evaluation_from(data, "test", folder), folder / "run").plan


def test_a_plan_holds_all_that_a_report_needs(tmp_path):
    plan = plan_of(tmp_path, margin=0.01)
    assert [n.name for n in plan.networks] == ["cnn-0.onnx", "cnn-1.onnx", "cnn-2.onnx"]
    assert (
        plan.networks[0].sha256 == hashlib.sha256((MODELS / "cnn-0.onnx").read_bytes()).hexdigest()
    )
    headline, *others = plan.measures
    assert (headline.name, headline.unit, headline.negligible) == ("top-1 accuracy", "%", 0.01)
    assert all(measure.negligible != 0.01 for measure in others)
    assert plan.guard in {measure.name for measure in plan.measures}
    noise, stack = plan.settings
    assert (noise.label, noise.intensities, noise.swept) == ("Gaussian noise", (0.1, 0.2), 0)
    assert (noise.parameter.letter, noise.parameter.high) == ("S", 0.3)
    assert (stack.swept, stack.intensities, stack.parameter.letter) == (1, (8, 4), "B")
    assert [(s.modification.name, s.aim, s.number) for s in stack.steps] == [
        ("l1-pruning", "carrier", 1), ("quantizing", "conv*", 3),
    ]  # fmt: skip
    assert stack.steps[0].modification.options["intensity"] == 50
    assert "intensity" not in stack.steps[1].modification.options
    assert all(step.summary for step in stack.steps)
    version = " ".join(plugins.origin(plugins.load(Method, "uchida")))
    assert plan.plugins == dict.fromkeys(
        ["datasets/digits", "tasks/image-classification", "methods/uchida",
         "modifications/gaussian-noise", "modifications/l1-pruning", "modifications/quantizing"],
        version,
    )  # fmt: skip
    assert (plan.dataset.entries, list(plan.dataset.shapes.values())) == (100, [(1, 8, 8)])
    assert plan.sources == {"data of the test": plan.dataset.digest}
    assert plan.wrong_keys == 1000


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = plan_of(tmp_path)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def images(folder: Path, seed: int = 0) -> Path:
    rng = np.random.Generator(np.random.Philox(seed))
    folder.mkdir(parents=True)
    for number in range(20):
        pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def triggered(folder: Path, **changes: object) -> Plan:
    methods = [{"name": "adi", "images": str(folder), "payload_sizes": [8], "training": {}}]
    return plan_of(folder.parent, methods=methods, modifications=[], **changes)


def test_contents_count_and_places_do_not(tmp_path):
    plan = triggered(images(tmp_path / "one" / "pictures"))
    elsewhere = triggered(images(tmp_path / "two" / "pictures"))
    other = triggered(images(tmp_path / "three" / "pictures", seed=1))
    assert plan == elsewhere
    assert plan.evaluation_sha256 != other.evaluation_sha256
    assert plan.sources["methods.0: pictures"] == sources.digest_of(tmp_path / "one" / "pictures")
    assert plan.sources["data of training"] != plan.sources["data of the test"]
    assert str(tmp_path) not in plan.model_dump_json()
    assert plan.technologies[0].method.options["images"] == "pictures"


def test_a_folder_has_the_digest_of_its_names_and_contents(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"1")
    (tmp_path / "a" / "y").write_bytes(b"2")
    lines = "".join(
        f"{name}\0{hashlib.sha256(data).hexdigest()}\n"
        for name, data in (("b/x", b"1"), ("y", b"2"))
    )
    assert sources.digest_of(tmp_path / "a") == hashlib.sha256(lines.encode()).hexdigest()
    assert sources.digest_of(tmp_path / "a" / "y") == hashlib.sha256(b"2").hexdigest()
    with pytest.raises(ConfigurationError, match="expected a file or folder that can be read, got"):
        sources.digest_of(tmp_path / "absent")


def test_a_student_is_known_by_its_digest(tmp_path):
    modification = {"name": "distillation", "intensities": [1], "student": "s.onnx"}
    found = []
    for network in ("cnn-1.onnx", "cnn-2.onnx"):
        shutil.copy(MODELS / network, tmp_path / "s.onnx")
        plan = plan_of(tmp_path, modifications=[modification])
        digest = hashlib.sha256((MODELS / network).read_bytes()).hexdigest()
        assert plan.sources["network s.onnx"] == digest
        found.append(plan.evaluation_sha256)
    assert len(set(found)) == 2


def test_what_changes_no_record_does_not_change_the_digest(tmp_path):
    plan = plan_of(tmp_path)
    same = plan_of(
        tmp_path, title="Other", summary="x", cost={"cells": 0}, session={"timeout": 5},
        engine={"name": "processes"},
    )  # fmt: skip
    assert same.evaluation_sha256 == plan.evaluation_sha256
    for changes in ({"seed": 1}, {"payloads": 2}, {"margin": 0.1}, {"session": {"threads": 2}}):
        assert plan_of(tmp_path, **changes).evaluation_sha256 != plan.evaluation_sha256


def test_a_run_is_not_resumed_with_another_version_of_a_plug_in(tmp_path):
    prepared = prepare(evaluation_from(copy.deepcopy(BASE), "test", tmp_path), tmp_path / "run")
    store = prepared.context.store
    store.create()
    store.write(prepared.plan)
    path = store.folder / "plan.json"
    plan = json.loads(path.read_text())
    plan["plugins"]["methods/uchida"] = "nnw-onnx 0.0.9"
    path.write_text(json.dumps(plan))
    got = " ".join(plugins.origin(plugins.load(Method, "uchida")))
    with pytest.raises(RunError) as caught:
        evaluate.run(prepared, progress=False, tell=print)
    assert str(caught.value) == (
        f"plugin methods/uchida: expected nnw-onnx 0.0.9, got {got}; install that version again, "
        "or start a new run with another --run-folder"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"methods": [{"name": "uchida", "payload_sizes": [16], "layer": "conv9.weight"}]},
            r"methods.0.layer: expected a layer of cnn-0.onnx, got 'conv9.weight' \(did you mean "
            r"'conv.\.weight'\?\); 'nnw layers' shows them",
        ),
        (
            {"modifications": [{"name": "l1-pruning", "intensities": [5], "layers": ["nope"]}]},
            "modifications.0: cnn-0.onnx: layers: expected a layer of the network, got 'nope'",
        ),
    ],
)
def test_layers_that_no_network_has_are_told_before_anything_runs(tmp_path, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        plan_of(tmp_path, **changes)
    assert not (tmp_path / "run").exists()
