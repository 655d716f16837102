"""Files that travel by their content: found where they are, sent in pieces, never elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import parcels
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
