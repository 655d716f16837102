"""Fuzzing of models, of the data beside them, and of other files; `campaign` does so at length."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest

from .asking import WATCH
from .files import FILES
from .mutants import LONG
from .trying import Trier


def tried(kind: str, folder: Path, few: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Try mutants until the time is over; how their answers end."""
    (folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    monkeypatch.setenv("NNW_CACHE", str(folder / "tmp"))
    ends: Counter[str] = Counter()
    with Trier(kind, folder, runs=LONG > 0) as trier:
        for number in trier.numbers(few):
            case = trier.try_one(number)
            assert not case.faults, (kind, number, case.faults)
            for (_, end), count in case.answers.items():
                ends[end] += count
    return ends


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = tried("model", tmp_path, 40, monkeypatch)
    assert min(ends["yes"], ends["refused"]) > 10


@pytest.mark.parametrize("kind", list(FILES))
def test_files(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = tried(kind, tmp_path, 12 if kind == "run folder" else 24, monkeypatch)
    assert ends["refused"]


def test_what_is_touched_elsewhere_is_seen(tmp_path: Path) -> None:
    """The fuzzers would not notice anything if this did not."""
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    with WATCH.within(tmp_path / "in") as seen:
        (tmp_path / "in" / "a").write_text("fine")
        (tmp_path / "in" / "a").unlink()
        assert seen == []
        (tmp_path / "link" / "b").write_text("not fine")
        (tmp_path / "b").rename(tmp_path / "in" / "b")
        (tmp_path / "c").mkdir()
        (tmp_path / "in" / "d").symlink_to(tmp_path)
        (tmp_path / "in" / "d" / "e").write_text("not fine")
    assert [line.split()[0] for line in seen] == ["open", "os.rename", "os.mkdir", "open"]
