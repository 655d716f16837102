import json
import os
import tomllib
from pathlib import Path

import jsonschema
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs import evaluation as ev
from nnw_onnx.runs import places

MINIMAL = """
networks = ["net.onnx"]
[dataset]
name = "digits"
[[methods]]
name = "block-spread"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "e.toml"
    path.write_text(text)
    return path


def test_minimal_evaluation_has_the_defaults_of_the_project(tmp_path):
    made = ev.read_evaluation(written(tmp_path, MINIMAL))
    assert (made.payloads, made.payload_sizes, made.margin) == (5, (64,), None)
    assert made.control.wrong_keys == 1000
    assert made.networks == (str(tmp_path / "net.onnx"),)
    assert made.false_positive_rate == 1e-6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "\n[sesion]\n", "e.toml: sesion: expected one of the keys"),
        (MINIMAL + "\n[sesion]\n", "(did you mean 'session'?)"),
        (MINIMAL + "\n[session]\nthread = 2\n", "session.thread: expected one of the keys"),
        (MINIMAL + "\n[session]\nthread = 2\n", "(did you mean 'threads'?)"),
        (MINIMAL + "\n[session]\nthreads = 0\n", "session.threads: expected a number greater"),
        (MINIMAL.replace('"block-spread"', '"uchda"'), "methods.0: methods: expected one of"),
        (MINIMAL + "layer = []\n", "methods.0.layer: "),
        (MINIMAL.replace('"block-spread"', '"uchda"'), "(did you mean 'uchida'?)"),
        (MINIMAL + "bugdet = 1\n", "methods.0: block-spread: expected an option among"),
        (MINIMAL + "bugdet = 1\n", "(did you mean 'budget'?)"),
        (
            MINIMAL + '[[modifications]]\nname = "quantizing"\nintensities = [8, 99]\n',
            "modifications.0: quantizing: option intensity",
        ),
        (
            MINIMAL + '[[modifications]]\nname = "quantizing"\n',
            "modifications.0.intensities: expected a value, got none",
        ),
        ("networks = []", "networks: "),
        ("networks = [", "expected TOML, got:"),
        (
            MINIMAL.replace('"digits"', '"cifar10"'),
            "dataset.path: expected the folder of the data set, got none",
        ),
        ("payload_sizes = [64, 64]\n" + MINIMAL, "expected different sizes"),
        (
            MINIMAL + "\n[dataset.preprocessing]\nmeen = [1]\n",
            "dataset: digits: option preprocessing.meen",
        ),
        ("profile = 'nnt-1.1'\n" + MINIMAL, "profile: expected one of the keys"),
        (MINIMAL + "\n[control]\nwrong_keys = -1\n", "control.wrong_keys: expected"),
        (MINIMAL + 'code = { name = "repetitoin" }\n', "methods.0.code: codes: expected one of"),
    ],
)
def test_a_mistake_is_one_line_with_its_dotted_path(tmp_path, text, message):
    with pytest.raises(ConfigurationError) as caught:
        ev.read_evaluation(written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


NOISE = {"name": "gaussian-noise", "intensities": [0.1]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"intensities": [1]}, "modifications.0: expected either name or steps; keep one of them"),
        (
            {"name": "gaussian-noise", "steps": [NOISE]},
            "modifications.0: expected either name or steps; keep one of them",
        ),
        (
            {"steps": [NOISE], "layers": "all"},
            "modifications.0: expected layers inside one of the steps; move it there",
        ),
        (
            {"steps": [NOISE], "intensity": 3},
            "modifications.0: expected intensity inside one of the steps; move it there",
        ),
        (
            {"steps": [NOISE, NOISE]},
            "modifications.0: expected at most one step with intensities; write the option of the "
            "others plainly",
        ),
        (
            {"steps": [NOISE, {"name": "quantizing"}]},
            "modifications.0.steps.1: quantizing: option intensity: expected a value, got none",
        ),
        (
            {"name": "fine-tuning", "intensities": [0.1], "layers": "carrier"},
            "modifications.0: expected no layers, because fine-tuning itself decides what it "
            "changes, got carrier; leave layers out",
        ),
        (
            {"steps": [NOISE, {"name": "fine-tuning", "intensity": 0.1, "layers": ["a", "b"]}]},
            "modifications.0.steps.1: expected no layers, because fine-tuning itself decides what "
            "it changes, got a, b; leave layers out",
        ),
        (
            {"name": "gaussian-noise", "intensity": 0.1},
            "modifications.0.intensity: expected intensities, got a value by itself; write it as "
            "intensities = [...]",
        ),
        (
            {"name": "gaussian-noise"},
            "modifications.0.intensities: expected a value, got none; add it",
        ),
        (
            {**NOISE, "copies": 6},
            "modifications.0: copies: expected at most payloads = 5, because each recipient has a "
            "payload, got 6; use fewer copies or more payloads",
        ),
        (
            {**NOISE, "copies": 2},
            "modifications.0: copies: expected a Modification that takes several copies, got "
            "gaussian-noise; leave copies out",
        ),
        (
            {"name": "gaussian-noise", "intensities": [0.1, 0.1]},
            "modifications.0: expected settings that differ, got gaussian-noise twice; remove one",
        ),
        ({**NOISE, "layers": "some"}, "modifications.0.layers: expected 'all' or 'carrier'"),
    ],
)
def test_a_modification_that_cannot_be_is_one_line(tmp_path, table, message):
    data = {**tomllib.loads(MINIMAL), "modifications": [table]}
    with pytest.raises(ConfigurationError) as caught:
        ev.evaluation_from(data, "e", tmp_path)
    assert str(caught.value).startswith(f"e: {message}"), str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_are_each_others_only(tmp_path):
    tables = [{**NOISE, "label": "x"}, {"name": "quantizing", "intensities": [8], "label": "x"}]
    data = {**tomllib.loads(MINIMAL), "modifications": tables}
    with pytest.raises(ConfigurationError, match=r"modifications\.1\.label: expected labels that"):
        ev.evaluation_from(data, "e", tmp_path)


def test_a_plug_in_gets_its_paths_from_the_folder_of_the_configuration(tmp_path):
    """Whatever the option is called, and wherever the table stands: only its type counts."""
    data = {
        **tomllib.loads(MINIMAL),
        "methods": [{"name": "adi", "images": "pictures", "training": {}}],
        "training": {"transfer": {"name": "mnist", "path": "../idx"}},
    }
    made = ev.evaluation_from(data, "e", tmp_path / "here")
    assert made.methods[0].spec.options["images"] == str(tmp_path / "here" / "pictures")
    assert made.training.transfer.spec.options["path"] == str(tmp_path / "here" / ".." / "idx")
    absolute = {**data, "methods": [{"name": "adi", "images": "/pictures", "training": {}}]}
    made = ev.evaluation_from(absolute, "e", tmp_path)
    assert made.methods[0].spec.options["images"] == "/pictures"


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 2000,
        "x = " + "{a=" * 3000,
        "seed = " + "9" * 5000,
        "payloads = 1000000000000\n" + MINIMAL,
        "payload_sizes = [100000000]\n" + MINIMAL,
        MINIMAL + "\n[session]\nmemory_limit = 1\n",
        MINIMAL.replace("net.onnx", "*" * 5000),
    ],
    ids=["lists", "tables", "digits", "payloads", "sizes", "memory", "name"],
)
def test_a_hostile_configuration_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(ConfigurationError) as caught:
        ev.read_evaluation(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_configuration_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path, tmp_path / "pipe.toml", Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match="expected a regular file of at most 1 MiB"):
            ev.read_evaluation(path)


def test_a_wildcard_stays_in_its_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("deep/a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    made = ev.read_evaluation(written(tmp_path, MINIMAL.replace("net.onnx", "**.onnx")))
    assert [p.name for p in places.network_paths(made.networks)] == ["b.onnx"]
    made = ev.read_evaluation(written(tmp_path, MINIMAL.replace("net.onnx", "absent/*.onnx")))
    with pytest.raises(ConfigurationError, match="expected an ONNX file for"):
        places.network_paths(made.networks)


def test_missing_file_names_the_shipped_ones(tmp_path):
    with pytest.raises(ConfigurationError, match="nnw list evaluations"):
        ev.read_evaluation(tmp_path / "absent.toml")
    with pytest.raises(ConfigurationError, match="did you mean 'digits'"):
        ev.find_evaluation("digts")


def test_shipped_evaluations_are_valid_and_described(tmp_path):
    shipped = ev.shipped()
    assert set(shipped) >= {"digits", "reference"}
    for name, path in shipped.items():
        assert ev.read_evaluation(path, None if name.startswith("digits") else tmp_path).summary


def test_a_bundled_data_set_takes_no_folder(tmp_path):
    with pytest.raises(ConfigurationError, match="which is bundled; leave --data out"):
        ev.read_evaluation(ev.shipped()["digits"], tmp_path)


def test_reference_is_the_demonstration_of_the_reference_software(tmp_path):
    made = ev.read_evaluation(ev.shipped()["reference"], tmp_path)
    assert made.dataset.spec.options["path"] == str(tmp_path)
    assert [m.name for m in made.methods] == ["uchida"]
    assert [(m.name, m.intensities) for m in made.modifications] == [("quantizing", (16, 8, 4))]


def test_the_shipped_schema_is_that_of_the_configuration():
    path = Path(ev.__file__).parents[1] / "evaluations" / "evaluation.schema.json"
    schema = json.loads(path.read_text())
    assert schema == json.loads(json.dumps(ev.configuration_schema()))
    for shipped in ev.shipped().values():
        jsonschema.validate(tomllib.loads(shipped.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError, match="sesion"):
        jsonschema.validate({**tomllib.loads(shipped.read_text()), "sesion": {}}, schema)


def test_network_paths_expand_wildcards_in_order(tmp_path):
    for name in ("b.onnx", "a.onnx"):
        (tmp_path / name).touch()
    made = ev.read_evaluation(written(tmp_path, MINIMAL.replace("net.onnx", "*.onnx")))
    assert [p.name for p in places.network_paths(made.networks)] == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize(
    ("names", "message"),
    [('"net.onnx"', "expected an ONNX file for"), ('"a.onnx", "*.onnx"', "got one twice")],
)
def test_network_paths_refuse(tmp_path, names, message):
    (tmp_path / "a.onnx").touch()
    made = ev.read_evaluation(written(tmp_path, MINIMAL.replace('"net.onnx"', names)))
    with pytest.raises(ConfigurationError, match=message):
        places.network_paths(made.networks)


def test_dataset_path_is_relative_to_the_file(tmp_path):
    text = MINIMAL.replace('"digits"', '"image-folder"\npath = "pictures"')
    made = ev.read_evaluation(written(tmp_path, text))
    assert made.dataset.spec.options["path"] == str(tmp_path / "pictures")
