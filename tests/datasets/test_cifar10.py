"""CIFAR-10 in its three forms; the Python version without unpickling."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.datasets._cifar_batches import python_batch
from nnw_onnx.datasets.cifar10 import CLASSES, Cifar10
from nnw_onnx.errors import DatasetError

from .conftest import png, raw, write_files, write_tar

NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def _batches(count=4):
    rng = np.random.Generator(np.random.PCG64(7))
    return {
        name: (rng.integers(0, 10, count), rng.integers(0, 256, (count, 3072), dtype=np.uint8))
        for name in NAMES
    }


def _binary(batches):
    rows = {n: np.column_stack([y.astype(np.uint8), x]).tobytes() for n, (y, x) in batches.items()}
    return {f"cifar-10-batches-bin/{n}.bin": content for n, content in rows.items()}


def _pickled(batches, protocol=2, order="C"):
    return {
        f"cifar-10-batches-py/{n}": pickle.dumps(
            {
                b"batch_label": b"a batch",
                b"labels": y.tolist(),
                b"data": np.asarray(x, order=order),
                b"filenames": [b"x.png"] * len(y),
            },
            protocol,
        )
        for n, (y, x) in batches.items()
    }


def _python_two_text(value: bytes) -> bytes:
    short = len(value) < 256
    return (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<I", len(value))) + value


def _by_python_two(labels, pixels) -> bytes:
    """The very opcodes of the official files, which Python 2 wrote."""
    text = _python_two_text
    integers = b"".join(b"K" + bytes([v]) for v in labels)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85"
        + text(b"b")
        + b"\x87Rq\x07(K\x01M"
        + struct.pack("<H", len(labels))
        + b"M\x00\x0c\x86cnumpy\ndtype\nq\x08"
        + text(b"u1")
        + b"K\x00K\x01\x87Rq\x09(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + text(pixels.tobytes())
        + b"tb"
    )
    items = [
        text(b"batch_label") + b"q\x01" + text(b"training batch 1 of 5"),
        text(b"labels") + b"q\x02]q\x03(" + integers + b"e",
        text(b"data") + b"q\x04" + array,
        text(b"filenames") + b"]q\x0a(" + text(b"x.png") * len(labels) + b"e",
    ]
    return b"\x80\x02}q\x00(" + b"".join(items) + b"u."


def _check(found, batches, names):
    expected = np.concatenate([batches[n][1] for n in names])
    assert raw(found)[0].shape == (len(expected), 32, 32, 3)
    for i, c, y, x in ((0, 0, 0, 0), (1, 1, 2, 3), (-1, 2, 31, 30)):
        assert raw(found)[0][i, y, x, c] == expected[i, (c * 32 + y) * 32 + x]
    planes = raw(found)[0].transpose(0, 3, 1, 2).reshape(-1, 3072)
    np.testing.assert_array_equal(planes, expected)
    np.testing.assert_array_equal(raw(found)[1], np.concatenate([batches[n][0] for n in names]))
    assert raw(found)[2] == list(CLASSES)


@pytest.mark.parametrize("make", [_binary, _pickled])
@pytest.mark.parametrize("form", ["folder", "inner", "tar.gz", "folder of tar.gz"])
def test_official_forms_are_found(tmp_path: Path, make, form):
    batches = _batches()
    files = make(batches)
    if form == "tar.gz":
        path = write_tar(tmp_path / "cifar.tar.gz", files)
    elif form == "folder of tar.gz":
        path = write_tar(tmp_path / "cifar.tar.gz", files).parent
    else:
        path = write_files(tmp_path, files)
        path = path / Path(next(iter(files))).parent if form == "inner" else path
    _check(Cifar10(path).load("train"), batches, NAMES[:5])
    _check(Cifar10(path).load("test"), batches, NAMES[5:])
    assert len(Cifar10(path, limit=3).load("train")) == 3


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_python_batches_of_several_protocols(protocol, order):
    labels, pixels = _batches()["test_batch"]
    content = _pickled({"b": (labels, pixels)}, protocol, order)["cifar-10-batches-py/b"]
    found = python_batch("b", content)
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_array_equal(found[1], pixels)


def test_python_batches_as_python_two_wrote_them():
    labels, pixels = _batches(300)["test_batch"]
    content = _by_python_two(labels.tolist(), pixels)
    official = pickle.loads(content, encoding="bytes")
    np.testing.assert_array_equal(official[b"data"], pixels)
    found = python_batch("b", content)
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_array_equal(found[1], pixels)


class _Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("key", [b"data", b"labels", b"other", "whole"])
def test_a_hostile_pickle_runs_nothing(tmp_path, key):
    made = tmp_path / "made"
    hostile = _Hostile(os.mkdir, str(made))
    fields = {b"labels": [1], b"data": np.zeros((1, 3072), np.uint8), key: hostile}
    content = pickle.dumps(hostile if key == "whole" else fields, 2)
    if key == b"other":
        assert python_batch("b", content)[0].tolist() == [1]
    else:
        with pytest.raises(DatasetError, match=r"b: expected a batch of CIFAR-10's Python version"):
            python_batch("b", content)
    assert not made.exists()


def _fields(**changes):
    fields = {"labels": [1], "data": np.zeros((1, 3072), np.uint8)}
    return pickle.dumps({**fields, **changes}, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got a broken pickle"),
        (b"\x80\x02}", "got a broken pickle"),
        (b"\x80\x02.", "got a broken pickle"),
        (b"\x80\x02h\x05.", "got a broken pickle"),
        (b"\x80\x02e.", "got a broken pickle"),
        (b"\x80\x02K\x01K\x02R.", "got a call of something unknown"),
        (b"cos\nsystem\n(S'true'\ntR.", "got the opcode STRING"),
        (b"(ios\nsystem\n.", "got the opcode INST"),
        (pickle.dumps([1], 2), "got no dictionary"),
        (pickle.dumps({3: 4}, 2), "got a key that is no text"),
        (_fields(labels=3), "got no list of labels"),
        (_fields(labels=[True]), "got no list of labels"),
        (_fields(labels=[10]), "got a label that is no digit"),
        (_fields(labels=[2**70]), "got a label that is no digit"),
        (_fields(data=[1]), "got no array of pixels"),
        (_fields(data=np.zeros((1, 3072))), "got pixels that are no unsigned bytes"),
        (_fields(data=np.zeros(3072, np.uint8)), "got an array of another form"),
        (_fields(data=np.zeros((1, 3071), np.uint8)), r"1 labels and pixels \(1, 3071\)"),
        (_fields(labels=[1, 2]), r"2 labels and pixels \(1, 3072\)"),
        (pickle.dumps(_Hostile(int, "3"), 5), "got no dictionary"),
    ],
)
def test_other_pickles_are_one_line(content, message):
    with pytest.raises(DatasetError, match=message) as caught:
        python_batch("b", content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(200))
def test_damaged_pickles_never_do_more_than_raise_our_error(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    content = bytearray(_fields(labels=[1] * 3, data=np.zeros((3, 3072), np.uint8)))
    head = rng.integers(0, 250, 3)
    for position in (*head, *(len(content) - 1 - head)):
        content[position] = rng.integers(0, 256)
    try:
        labels, pixels = python_batch("b", bytes(content))
    except DatasetError:
        return
    assert pixels.shape == (len(labels), 3072)
    assert labels.max() <= 9


def test_a_batch_larger_than_any_official_one_is_refused(monkeypatch):
    monkeypatch.setattr("nnw_onnx.datasets._cifar_batches.MAX_BATCH_BYTES", 100)
    with pytest.raises(DatasetError, match=r"Python version, got 3.* bytes; get the file again"):
        python_batch("b", _fields())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(3072), "expected records of 3073 bytes, got 3072 bytes"),
        (b"", "expected records of 3073 bytes, got 0 bytes"),
        (b"\x0a" + bytes(3072), "expected one label below 10 for each row"),
    ],
)
def test_broken_binary_batches_are_said(tmp_path, content, message):
    write_files(tmp_path, {"test_batch.bin": content})
    with pytest.raises(DatasetError, match=rf"test_batch.bin: {message}"):
        Cifar10(tmp_path).load("test")


def _image_files(classes=CLASSES, side=32):
    image = png(np.full((side, side, 3), 7, np.uint8))
    return {f"{split}/{c}/0.png": image for split in ("train", "test") for c in classes}


@pytest.mark.parametrize("form", ["folder", "tar", "folder of tar"])
def test_class_folders_are_found(tmp_path: Path, form):
    files = _image_files()
    path = tmp_path / "data.tar"
    path = write_files(tmp_path, files) if form == "folder" else write_tar(path, files)
    found = Cifar10(path.parent if form == "folder of tar" else path).load("test")
    assert raw(found)[1].tolist() == list(range(10))
    assert raw(found)[2] == list(CLASSES)


@pytest.mark.parametrize(("classes", "side"), [(CLASSES[:9], 32), (CLASSES, 31)])
def test_other_class_folders_are_refused(tmp_path, classes, side):
    write_files(tmp_path, _image_files(classes, side))
    with pytest.raises(
        DatasetError,
        match=r"10 classes of CIFAR-10 in 32 x 32 pixels, got other .* in 3. x 3.; use",
    ):
        Cifar10(tmp_path).load("test")


def test_nothing_of_the_kind_is_said(tmp_path):
    (tmp_path / "readme.txt").write_text("x", encoding="utf-8")
    message = r"expected CIFAR-10 \(cifar-10-batches-bin, .*\), got none of them; correct"
    with pytest.raises(DatasetError, match=message):
        Cifar10(tmp_path).load("test")


def test_a_hostile_tar_is_refused(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link, io.BytesIO())
    with pytest.raises(DatasetError, match=r"cifar.tar.gz: expected plain files and folders"):
        Cifar10(path).load("test")
