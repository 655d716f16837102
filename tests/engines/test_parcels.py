"""Files that travel by their content: found where they are, sent in pieces, never elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import parcel_room, parcels
from nnw_onnx.kit.parcels import Piece, parcel_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NNW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    (root / "a").mkdir(parents=True)
    (root / "a" / "large").write_bytes(np.arange(3 * parcels.PIECE // 8).tobytes())
    (root / "empty").touch()
    (root / "small").write_bytes(b"small")
    return root


def sent(parcel) -> str:
    for portion in parcels.pieces(parcel):
        assert sum(len(piece.content) for piece in portion) <= parcels.PIECE
        parcels.receive(parcel, portion)
    return parcels.settle(parcel)


def test_a_folder_arrives_whole_and_only_its_owner_reads_it(folder):
    parcel = parcel_of(folder)
    assert parcels.place_of(parcel, look=False) is None
    assert sent(parcel) == ""
    place = parcels.place_of(parcel, look=False)
    assert place is not None
    assert place.endswith("/data")
    assert parcel_of(type(folder)(place)).digest == parcel.digest
    assert (type(folder)(place) / "small").stat().st_mode & 0o777 == 0o600


def test_a_file_is_found_at_its_own_path_only_with_its_own_content(folder):
    parcel = parcel_of(folder / "small")
    assert parcels.place_of(parcel, look=True) == str(folder / "small")
    (folder / "small").write_bytes(b"other")
    assert parcels.place_of(parcel, look=True) is None


def test_files_beside_another_travel_with_it(folder):
    parcel = parcel_of(folder / "small", [folder / "a" / "large"])
    assert parcel.beside == ("a/large",)
    assert sent(parcel) == ""
    message = f"empty: expected the files of its data in its folder, got '{folder / 'small'}'; move"
    (folder / "b").mkdir()
    (folder / "b" / "empty").touch()
    with pytest.raises(ConfigurationError, match=message):
        parcel_of(folder / "b" / "empty", [folder / "small"])


def test_what_changed_on_its_way_has_no_place(folder):
    parcel = parcel_of(folder / "small")
    parcels.receive(parcel, [Piece("small", 0, b"wrong")])
    assert parcels.settle(parcel) == "other content than was sent"
    assert parcels.place_of(parcel, look=False) is None


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ""])
def test_a_name_that_leads_elsewhere_is_refused(folder, name):
    with pytest.raises(ConfigurationError) as caught:
        parcels.receive(parcel_of(folder / "small"), [Piece(name, 0, b"")])
    assert str(caught.value) == (
        f"parcel: expected names of files within it, got {name!r}; send another"
    )


def test_what_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match="expected a file or folder that can be read, got"):
        parcel_of(tmp_path / "none")


HOUR = 3600 * 10**9


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Three parcels of 100 bytes, unused for 3, 2 and 1 days, in a folder that has room for two."""
    monkeypatch.setattr(parcel_room, "MOST_BYTES", 200)
    found = []
    for name, days in (("a", 3), ("b", 2), ("c", 1)):
        (tmp_path / name).write_bytes(name.encode() * 100)
        parcel = parcel_of(tmp_path / name)
        # One after the other there is room; each is old before the next one comes.
        monkeypatch.setattr(parcel_room, "MOST_BYTES", 1000)
        assert sent(parcel) == ""
        aged(place(parcel), 24 * days)
        found.append(parcel)
    monkeypatch.setattr(parcel_room, "MOST_BYTES", 200)
    yield found
    parcel_room.release()


def place(parcel) -> Path:
    return parcels._folder() / parcel.digest


def aged(path: Path, hours: int) -> None:
    then = path.stat().st_mtime_ns - hours * HOUR
    os.utime(path, ns=(then, then))


def left(found) -> str:
    parcel_room.make(parcels._folder())
    return "".join(Path(parcel.path).name for parcel in found if place(parcel).exists())


def test_what_was_not_used_for_the_longest_time_goes_first(three):
    assert left(three) == "bc"


def test_a_new_parcel_makes_room_and_stays(three, tmp_path):
    (tmp_path / "d").write_bytes(b"d" * 300)
    three.append(parcel_of(tmp_path / "d"))
    assert sent(three[-1]) == ""
    assert left(three) == "d"


def test_what_is_used_stays_until_it_is_given_back(three):
    for parcel in three:
        assert parcels.place_of(parcel, look=False) is not None
        aged(place(parcel), 100)
    assert left(three) == "abc"
    parcel_room.release()
    assert left(three) == "bc"
    assert list((parcels._folder() / ".used").iterdir()) == []


def test_what_another_process_uses_stays_and_the_mark_of_one_that_died_does_not_count(three):
    marks = parcels._folder() / ".used"
    marks.mkdir()
    (marks / f"{three[1].digest}-dead").touch()
    with FileLock(marks / f"{three[0].digest}-alive"):
        assert left(three) == "ac"
    assert not (marks / f"{three[1].digest}-dead").exists()


def test_what_was_used_lately_stays(three):
    for parcel in three:
        os.utime(place(parcel))
    assert left(three) == "abc"


def test_what_was_left_half_way_goes_too(three, tmp_path, monkeypatch):
    (tmp_path / "d").write_bytes(b"d" * 100)
    parcel = parcel_of(tmp_path / "d")
    parcels.receive(parcel, [Piece("d", 0, b"d" * 90)])
    aside = parcels._aside(parcel)
    assert left(three) == "c"
    aged(aside, 200)
    monkeypatch.setattr(parcel_room, "MOST_BYTES", 100)
    assert left(three) == ""
    assert aside.exists()
    monkeypatch.setattr(parcel_room, "MOST_BYTES", 10)
    aged(aside / "d", 200)
    assert left(three) == ""
    assert not aside.exists()


def test_a_folder_that_cannot_be_locked_still_gives_its_parcels(three, monkeypatch):
    def refused(*given, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parcel_room, "_mark", refused)
    assert parcels.place_of(three[0], look=False) is not None
    assert not parcel_room.hold(parcels._folder() / "none")
