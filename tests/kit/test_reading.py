"""Small files of others: whole, regular and bounded, or `OSError` that says which it is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nnw_onnx.kit.reading import content


def test_a_file_comes_whole_with_its_mode(tmp_path):
    (tmp_path / "a").write_bytes(b"one\r\ntwo")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        found, mode = content(tmp_path / name, 8)
        assert (found, stat.S_IMODE(mode)) == (b"one\r\ntwo", 0o640)


@pytest.mark.parametrize(
    ("size", "words"), [(7, "7 bytes"), (1 << 10, "1 KiB"), (3 << 20, "3 MiB"), (1025, "1025 byt")]
)
def test_a_larger_file_is_refused(tmp_path, size, words):
    (tmp_path / "a").write_bytes(bytes(size + 1))
    with pytest.raises(OSError, match=f"more than {words}"):
        content(tmp_path / "a", size)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="a folder or device"):
            content(path, 8)
    with pytest.raises(OSError, match="embedded null"):
        content(Path("a\0b"), 8)
    with pytest.raises(FileNotFoundError):
        content(tmp_path / "absent", 8)
