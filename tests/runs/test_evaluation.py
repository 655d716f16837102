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
    if "net.onnx" in text:
        (tmp_path / "net.onnx").touch()
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
        (MINIMAL.replace('"block-spread"', '"uchda"'), "methods.0: expected one of"),
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
        (MINIMAL.replace('["net.onnx"]', "[]"), "networks: "),
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
        (MINIMAL + 'code = { name = "repetitoin" }\n', "methods.0.code: expected one of"),
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
    data = {**tomllib.loads(MINIMAL), "networks": ["nnw:digits/cnn-0.onnx"]}
    data |= {"modifications": [table], "training": {"initial_epochs": 4}}
    with pytest.raises(ConfigurationError) as caught:
        ev.evaluation_from(data, "e", tmp_path)
    assert str(caught.value).startswith(f"e: {message}"), str(caught.value)
    assert "\n" not in str(caught.value)


ALL_WRONG = """
payloads = "many"
networks = ["net.onnx", "absent.onnx"]
[sesion]
[dataset]
name = "digits"
limt = 3
[dataset.preprocessing]
meen = [0.5]
scale = "small"
[[methods]]
name = "uchda"
[[methods]]
name = "uchida"
margn = 3
strength = -1
payload_sizes = [0]
code = { name = "repetitoin" }
[[modifications]]
name = "l1-pruning"
intensities = [0.5]
[[modifications]]
name = "quantizing"
intensities = [8, 99, 4.5]
[[modifications]]
steps = [{ name = "gausian-noise", intensity = 3 }, { name = "averaging", layers = "all" }]
[training]
batch_sise = 3
learning_rate = -1
[engine]
name = "procesess"
"""


def test_all_faults_are_told_at_once(tmp_path):
    """Of the tables, of plug-ins and their options, and of files; each of them once."""
    with pytest.raises(ConfigurationError) as caught:
        ev.read_evaluation(written(tmp_path, ALL_WRONG))
    told = str(caught.value).splitlines()
    expected = [
        "payloads: expected a whole number",
        "sesion: expected one of the keys",
        "dataset: digits: expected an option among limit, preprocessing; got 'limt' (did you",
        "dataset: digits: option preprocessing.meen: expected one of the keys scale, mean, std, ",
        "dataset: digits: option preprocessing.scale: expected a number; got 'small'",
        "methods.0: expected one of",
        "methods.1: uchida: expected an option among margin, strength, carrier; got 'margn'",
        "methods.1: uchida: option strength: expected a number above 0, at most 1000000; got -1",
        "methods.1.payload_sizes.0: expected a number greater than or equal to 1; got 0",
        "methods.1.code: expected one of",
        "modifications.0: intensities: expected a percentage, got 0.5",
        "modifications.1: quantizing: option intensity: expected a whole number from 1 to 32; got",
        "modifications.2.steps.0: expected one of",
        "modifications.2.steps.1: expected no layers, because averaging",
        "modifications.2.steps.1: expected copies = 2 or more",
        "training: batch_sise: expected one of the keys",
        "training: learning_rate: expected a number greater than",
        "engine: expected one of",
        f"networks: expected an ONNX file for '{tmp_path / 'absent.onnx'}'",
    ]
    for words in expected:
        assert sum(line.startswith(f"e.toml: {words}") for line in told) >= 1, words
    assert len(told) == len(set(told)) == len(expected) + 1  # quantizing has two wrong Intensities


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("l1-pruning", [60, "50%", "0.5 %", "1e1%", "2 "], [60, 50, 0.5, 10, 2]),
        ("quantizing", ["4 bits", "1 bit", "8"], [4, 1, 8]),
        ("gaussian-noise", ["0.2 x sigma", "0.3 sigma", "10%", 0.05], [0.2, 0.3, 0.1, 0.05]),
        ("jpeg", ["50", 20], [50, 20]),
    ],
)
def test_an_intensity_may_have_its_unit(tmp_path, name, given, read):
    table = {"name": name, "intensities": given}
    data = {**tomllib.loads(MINIMAL), "modifications": [table]}
    data["networks"] = ["nnw:digits/cnn-0.onnx"]
    made = ev.evaluation_from(data, "e", tmp_path)
    assert made.modifications[0].intensities == tuple(read)
    assert made.modifications[0].stack[0].intensities == tuple(read)
    if name != "jpeg":
        stacked = {"steps": [{"name": name, "intensity": given[1]}]}
        made = ev.evaluation_from({**data, "modifications": [stacked]}, "e", tmp_path)
        assert made.modifications[0].stack[0].spec.options["intensity"] == read[1]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "l1-pruning",
            0.5,
            'expected a percentage, got 0.5, which is 0.5 % and not a share; write "0.5%" if it '
            "is meant, else 50",
        ),
        ("random-pruning", "0.05", "which is 0.05 % and not a share; write"),
        ("quantizing", "4 %", "expected a number in bits, such as 32 bits, got '4 %'; correct it"),
        ("l1-pruning", "4 bits", "expected a number in %, such as 90 %, got '4 bits'"),
        ("jpeg", "50%", "expected a number in no unit, such as 1, got '50%'"),
        ("l1-pruning", "half", "expected a number, such as 90 %, got 'half'; correct it"),
    ],
)
def test_an_intensity_that_may_mean_something_else_is_asked_back(tmp_path, name, given, message):
    table = {"name": name, "intensities": [given]}
    data = {**tomllib.loads(MINIMAL), "modifications": [table]}
    with pytest.raises(ConfigurationError) as caught:
        ev.evaluation_from(data, "e", tmp_path)
    assert message in str(caught.value)


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
        with pytest.raises(ConfigurationError, match="got: a folder or device"):
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
    [('"net.onx"', "expected an ONNX file for"), ('"a.onnx", "*.onnx"', "got one twice")],
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


def test_settings_change_a_file(tmp_path):
    path = written(tmp_path, MINIMAL)
    made = ev.read_evaluation(
        path,
        settings={
            "payloads": 3,
            "session.threads": 2,
            "methods.0.budget": 0.2,
            "payload_sizes": [8, 16],
            "dataset.preprocessing.scale": 0.5,
        },
    )
    assert (made.payloads, made.session.threads, made.payload_sizes) == (3, 2, (8, 16))
    assert made.methods[0].spec.options == {"budget": 0.2}
    assert made.dataset.spec.options["preprocessing"] == {"scale": 0.5}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("paylods", 3, "e.toml: paylods: expected one of the keys"),
        ("payloads", "many", "e.toml: payloads: expected a whole number; got 'many'"),
        (
            "methods.1.budget",
            1,
            "setting methods.1.budget: expected an entry '1', got a list of 1;",
        ),
        ("methods.first.budget", 1, "setting methods.first.budget: expected an entry 'first', got"),
        ("methods.3", {}, "setting methods.3: expected an entry '3', got a list of 1; use 0 to 0"),
        ("dataset.name.x", 1, "setting dataset.name.x: expected the dotted path of a key"),
        ("dataset.name.x.y", 1, "setting dataset.name.x.y: expected an entry 'x', got a value"),
        ("session.", 1, "setting session.: expected the dotted path of a key"),
    ],
)
def test_settings_that_cannot_be(tmp_path, key, value, message):
    with pytest.raises(ConfigurationError) as caught:
        ev.read_evaluation(written(tmp_path, MINIMAL), settings={key: value})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
