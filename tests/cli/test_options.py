"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnw_onnx.cli.options import check_outputs, parse_payload, parse_settings, write_text
from nnw_onnx.errors import ConfigurationError


def test_settings() -> None:
    assert parse_settings(None) == {}
    assert parse_settings(["margin=4", "some-name = a=b"]) == {"margin": "4", "some_name": "a=b"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["margin"], "--option: expected NAME=VALUE, got 'margin'; write for example margin=4"),
        (["=4"], "--option: expected NAME=VALUE, got '=4'; write for example margin=4"),
        (
            ["margin=4", "margin=5"],
            "--option: expected every name once, got 'margin' twice; leave one out",
        ),
    ],
)
def test_wrong_settings(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(settings)
    assert str(caught.value) == message
    with pytest.raises(ConfigurationError, match="^--code-option: expected"):
        parse_settings(settings, "--code-option")


def test_payloads() -> None:
    assert parse_payload("A", None, None, None).bits == "01000001"
    assert parse_payload(None, "f0", None, None).bits == "11110000"
    assert len(parse_payload(None, None, None, None)) == 64
    assert len(parse_payload(None, None, 7, None)) == 7
    assert len(parse_payload(None, None, None, None, carries=False)) == 0
    assert len(parse_payload(None, None, 7, None, carries=False)) == 7


def test_random_payloads_repeat_only_with_a_seed() -> None:
    assert parse_payload(None, None, 128, 3) == parse_payload(None, None, 128, 3)
    assert parse_payload(None, None, 128, 3) != parse_payload(None, None, 128, 4)
    assert parse_payload(None, None, 128, None) != parse_payload(None, None, 128, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("a", "f0", None),
            "payload: expected one of --payload, --payload-hex, --payload-bits; got --payload and "
            "--payload-hex; keep one",
        ),
        ((None, None, 0), "--payload-bits: expected 1 to 1048576 bits, got 0; give another number"),
        (("", None, None), "payload: expected at least one bit, got none; give a text"),
    ],
)
def test_wrong_payloads(given: tuple[str | None, str | None, int | None], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_payload(*given, None)
    assert str(caught.value) == message


def test_outputs_never_hurt(tmp_path: Path) -> None:
    model, old, new = (tmp_path / name for name in ("model.onnx", "old.onnx", "new.onnx"))
    model.touch()
    old.touch()
    (tmp_path / "link.onnx").symlink_to(model)

    def refusal(*, force: bool, **written: Path) -> str:
        with pytest.raises(ConfigurationError) as caught:
            check_outputs([model], {f"--{n}": path for n, path in written.items()}, force=force)
        return str(caught.value).replace(str(tmp_path), ".")

    check_outputs([model], {"--out": new}, force=False)
    check_outputs([model], {"--out": old}, force=True)
    assert refusal(force=False, out=old) == (
        "--out: expected a new file, got existing './old.onnx'; give another name or --force"
    )
    assert refusal(force=True, out=tmp_path) == (
        "--out: expected a new file, got existing '.'; give another name"
    )
    twice = "--{}: expected a file of its own, got './{}' twice; give another name"
    assert refusal(force=True, out=model) == twice.format("out", "model.onnx")
    assert refusal(force=True, out=tmp_path / "link.onnx") == twice.format("out", "link.onnx")
    assert refusal(force=True, out=new, key=new) == twice.format("key", "new.onnx")
    assert refusal(force=False, out=tmp_path / "no" / "x.onnx") == (
        "--out: expected a file in an existing folder, got './no/x.onnx'; make the folder first"
    )


def test_a_document_is_written_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a.toml", "title = 'ü'\n")
    assert (tmp_path / "a.toml").read_text(encoding="utf-8") == "title = 'ü'\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.toml"]
