"""Configurations that are no person's: refused before the parser sees them."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs import toml
from nnw_onnx.runs.evaluation import shipped

KEY = {"bare": "a", "basic": '"a"', "literal": "'a'", "empty": '""', "dotted inside": '"a.b"'}
MANY = 20_000


def written(folder: Path, text: str) -> Path:
    path = folder / "e.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("key", KEY.values(), ids=list(KEY))
@pytest.mark.parametrize(
    "form", ["{} = 1", "[{}]", "[[{}]]", "x = {{ {} = 1 }}", "a = 1\n\n  {} = '''x'''", "# c\n{}=1"]
)
@pytest.mark.parametrize("between", [".", " . ", "\t.\t"])
def test_long_keys_are_refused_in_no_time(
    tmp_path: Path, key: str, form: str, between: str
) -> None:
    path = written(tmp_path, form.format(between.join([key] * MANY)))
    began = time.process_time()
    with pytest.raises(ConfigurationError, match=r"e\.toml: expected keys of at most 16 parts"):
        toml.parsed(path)
    assert time.process_time() - began < 2


def test_the_line_is_told(tmp_path: Path) -> None:
    text = 'a = """\nx.y\n"""\nb = [\n1,\n]\n' + ".".join("a" * 17) + " = 1\n"
    with pytest.raises(ConfigurationError, match="got more in line 7; correct it"):
        toml.parsed(written(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        '"""' + '\\"""' * MANY,
        "'''" + "''x" * MANY,
        '"' * 3 * MANY,
        "x = " + "[" * MANY,
        "x = " + "{a=" * MANY,
        "x = " + "9" * MANY,
        "a" * MANY,
        "a.b " * MANY,
        '"\\' * MANY,
        "x = 1\nx = 2",
        "\x00",
    ],
)
def test_what_is_no_toml_is_one_line_in_no_time(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    began = time.process_time()
    with pytest.raises(ConfigurationError, match=r"e\.toml: expected TOML, got: ") as caught:
        toml.parsed(path)
    assert "\n" not in str(caught.value)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "text",
    [
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p = 1",
        f'x = "{".".join("a" * 99)}"',
        f"x = '{'.'.join('a' * 99)}'",
        f'x = """\n{".".join("a" * 99)}"""',
        f"# {'.'.join('a' * 99)}\nx = 1",
        f"x = [{', '.join(['1.5'] * 99)}]",
        'x = "\\"a.b" # "\ny = "#"',
    ],
)
def test_what_a_person_writes_is_read_as_before(tmp_path: Path, text: str) -> None:
    assert toml.parsed(written(tmp_path, text)) == tomllib.loads(text)


def test_the_shipped_ones_are_read_as_before() -> None:
    for path in shipped().values():
        assert toml.parsed(path) == tomllib.loads(path.read_text(encoding="utf-8"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected a readable .*, got: more than 256 KiB"):
        toml.parsed(written(tmp_path, "#" * (1 << 18) + "\n"))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(
            ConfigurationError, match="expected a readable .* got: a folder or device"
        ):
            toml.parsed(path)
    (tmp_path / "latin.toml").write_bytes(b"x = '\xe9'")
    with pytest.raises(ConfigurationError, match="expected a readable evaluation file, got: not U"):
        toml.parsed(tmp_path / "latin.toml")
    with pytest.raises(ConfigurationError, match="got: No such file or directory"):
        toml.parsed(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "value", [str(2**63), str(-(2**63) - 1), "1" + "0" * 400, "[[0x1" + "0" * 20]
)
def test_integers_have_64_bits(tmp_path: Path, value: str) -> None:
    """As TOML says; Python would read larger ones, which no float holds."""
    path = tmp_path / "e.toml"
    path.write_text(f"a = [{{ b = {value}{']' * value.count('[')} }}]\n")
    words = r"^e\.toml: expected TOML, got: an integer of more than 64 bits; correct it$"
    with pytest.raises(ConfigurationError, match=words):
        toml.parsed(path)
    path.write_text(f"a = {2**63 - 1}\nb = {-(2**63)}\n")
    assert toml.parsed(path) == {"a": 2**63 - 1, "b": -(2**63)}
