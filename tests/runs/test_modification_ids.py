"""Numbers and letters of the reference software stand for the names and Intensities here."""

from __future__ import annotations

import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.runs.modification_ids import NAMES
from nnw_onnx.vocabulary import Modification

BASE = {
    "networks": ["nnw:digits/cnn-0.onnx"],
    "dataset": {"name": "digits"},
    "methods": [{"name": "block-spread"}],
}


def read(tmp_path, *tables, **more):
    data = {**BASE, **more, "modifications": list(tables)}
    return evaluation_from(data, "x.toml", tmp_path).modifications


def test_numbers_and_letters_are_those_of_the_plugins():
    by_number = {
        kind.number: (name, kind.parameter.letter)
        for name in plugins.names("modifications")
        if (kind := plugins.load(Modification, name)).number is not None
    }
    assert by_number == NAMES


@pytest.mark.parametrize(
    ("table", "name", "intensities"),
    [
        ({"M_ID": 0, "S": 0.2}, "gaussian-noise", (0.2,)),
        ({"M_ID": 1, "P": [50, 90]}, "l1-pruning", (50, 90)),
        ({"M_ID": 1, "P": "50%"}, "l1-pruning", (50,)),
        ({"M_ID": 2, "R": 10}, "random-pruning", (10,)),
        ({"M_ID": 3, "B": [8, 4]}, "quantizing", (8, 4)),
        ({"M_ID": 4, "E_ratio": 0.5}, "fine-tuning", (0.5,)),
        ({"M_ID": 4, "E": [2, 4]}, "fine-tuning", (0.25, 0.5)),
        ({"M_ID": 5, "E": 3, "D": 500}, "distillation", (3,)),
        ({"M_ID": 6, "W": 2}, "overwriting", (2,)),
    ],
)
def test_a_number_stands_for_a_name(tmp_path, table, name, intensities):
    (made,) = read(tmp_path, table, training={"initial_epochs": 8})
    assert (made.name, made.intensities) == (name, intensities)
    assert made.stack[0].spec.options.get("samples", 500) == 500


def test_names_are_the_layers_that_are_aimed_at(tmp_path):
    tables = read(
        tmp_path,
        {"M_ID": 0, "S": 0.1, "name": "all"},
        {"M_ID": 0, "S": 0.1, "name": ["conv1.weight"], "label": "one"},
    )
    assert [t.layers for t in tables] == ["all", ("conv1.weight",)]


def test_a_step_may_have_one_too(tmp_path):
    steps = [{"M_ID": 4, "E": 2}, {"M_ID": 3, "intensity": 4}]
    (made,) = read(tmp_path, {"steps": steps}, training={"initial_epochs": 8})
    assert [(s.name, s.intensities) for s in made.stack] == [
        ("fine-tuning", (0.25,)),
        ("quantizing", None),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"M_ID": 7, "P": 1}, "M_ID: expected a number from 0 to 6, got 7; 'nnw list"),
        ({"M_ID": "one", "P": 1}, "M_ID: expected a number from 0 to 6, got 'one'"),
        ({"M_ID": True, "P": 1}, "M_ID: expected a number from 0 to 6, got True"),
        ({"M_ID": 1}, "intensities: expected a value, got none; add it"),
        ({"M_ID": 1, "S": 0.1}, "M_ID 1: expected P, got S; correct it"),
        ({"M_ID": 1, "P": 0.5}, "expected a percentage, got 0.5"),
        (
            {"M_ID": 4, "E": 2},
            "E: expected numbers of epochs with training.initial_epochs, of which",
        ),
        ({"M_ID": 6, "W": 2, "name": "all"}, "expected no layers, because overwriting itself"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, table, message):
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, table)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
