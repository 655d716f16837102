"""Messages of another process, of which nothing is believed."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from nnw_onnx.inference import Server, frames


def framed(told: object, content: bytes = b"") -> io.BytesIO:
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return io.BytesIO(len(text).to_bytes(8, "little") + text + content)


def test_heads_and_arrays_come_back_as_they_went():
    stream = io.BytesIO()
    arrays = {
        "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
        "none": np.zeros((0, 4), np.int64),
        "flags": np.array([True, False]),
        "big": np.array([1, 2], ">u2"),
        "number": np.float64(3.5) * np.ones(()),
    }
    frames.write(stream, {"kind": "done", "list": [1, None]}, arrays)
    stream.seek(0)
    head, found = frames.read(stream, 1 << 10)
    assert head == {"kind": "done", "list": [1, None]}
    for name, values in arrays.items():
        assert np.array_equal(found[name], values)
        assert found[name].shape == values.shape


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (io.BytesIO(b""), "got its end"),
        (io.BytesIO(b"\xff" * 8), "got something else"),
        (io.BytesIO(b"\x10" + bytes(7) + b"short"), "got its end"),
        (framed(b"no json at all"), "got something else"),
        (framed([]), "got something else"),
        (framed({"head": 3, "arrays": []}), "got something else"),
        (framed({"head": {}, "arrays": [["x", "<f4"]]}), "got something else"),
        (framed({"head": {}, "arrays": [["x", "|O", [1]]]}), "got something else"),
        (framed({"head": {}, "arrays": [["x", "<f4", [-1]]]}), "got something else"),
        (framed({"head": {}, "arrays": [["x", "<f4", [True]]]}), "got something else"),
        (framed({"head": {}, "arrays": [["x", "<f4", [1] * 17]]}), "got something else"),
        (framed({"head": {}, "arrays": [["x", "<f8", [1 << 20]]]}), "where 1024 are allowed"),
        (framed({"head": {}, "arrays": [["x", "<f8", [4]]]}, b"few"), "got its end"),
        (framed(b"[" * 100_000), "got something else"),
    ],
)
def test_what_is_no_frame_is_told(stream, message):
    with pytest.raises(frames.BrokenFrameError, match=message):
        frames.read(stream, 1024)


@pytest.mark.parametrize("values", [np.array([object()]), np.array(["text"]), np.array([1j])])
def test_only_plain_numbers_are_sent(values):
    with pytest.raises(frames.BrokenFrameError, match="expected plain numbers, got"):
        frames.write(io.BytesIO(), {}, {"x": values})


def test_a_program_that_does_not_start_is_told():
    server = Server("nnw_onnx.nothing_of_this_name")
    with pytest.raises(
        frames.InferenceError, match="expected an answer, got an end of its process"
    ):
        list(server.ask({}, {}, timeout=60, most=0))
