"""The output sink: nothing that a terminal would obey, and data apart from messages."""

from __future__ import annotations

import io
import json
import sys

import pytest

from nnw_onnx.cli import output
from nnw_onnx.text import harmless

HOSTILE = "conv\x1b[31m\r\n\u202e[bold]x[/bold]"
Captured = pytest.CaptureFixture[str]


def test_control_characters_are_written_as_escapes() -> None:
    assert harmless(HOSTILE) == "conv\\x1b[31m\\r\\n\\u202e[bold]x[/bold]"
    assert harmless("Größe 100 %") == "Größe 100 %"


@pytest.mark.parametrize("write", [output.note, output.warning, output.error])
def test_messages_go_to_stderr_in_one_line(capsys: Captured, write: object) -> None:
    assert callable(write)
    write(HOSTILE)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nnw: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


def test_answers_go_to_stdout(capsys: Captured) -> None:
    output.text("one", HOSTILE)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == ["one", harmless(HOSTILE)]


def test_a_table_is_aligned_and_neither_wrapped_nor_interpreted(capsys: Captured) -> None:
    output.table(("name", "weights"), [("a", "1"), (HOSTILE + "y" * 300, "20")], right=["weights"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "weights"]
    assert harmless(HOSTILE) + "y" * 300 in lines[2]
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith(" 1")


def test_json_is_ascii_and_refuses_what_json_has_no_number_for(capsys: Captured) -> None:
    output.as_json({"name": HOSTILE})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"name": HOSTILE}
    output.as_json({"a": [1, -2.5e-7], "b": ["[", "1,"], "c": []})
    shown = capsys.readouterr().out
    assert '"a": [1, -2.5e-07]' in shown
    assert json.loads(shown) == {"a": [1, -2.5e-7], "b": ["[", "1,"], "c": []}
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.as_json({"p": float("nan")})


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    output.error("x")
    assert terminal.getvalue() == "nnw: \033[1;31merror:\033[0m x\n"
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    output.error("x")
    assert terminal.getvalue() == "nnw: error: x\n"


def test_a_terminal_without_unicode_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    output.text("Größe")
    stream.seek(0)
    assert stream.read() == "Gr\\xf6\\xdfe\n"
