"""The watermark as a pass of Olive: what a workflow makes of it, and what it refuses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import nnw_onnx as nnw
import nnw_onnx_olive
from nnw_onnx.runs.seed_files import new_seed

MODEL = Path(__file__).resolve().parents[3] / "models" / "digits" / "cnn-0.onnx"
THERE = importlib.util.find_spec("olive") is not None

needs_olive = pytest.mark.skipif(not THERE, reason="olive-ai is not installed")

Marked = Callable[..., Any]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Marked:
    """A function that runs the pass alone on a model and gives the handler of what comes out."""
    monkeypatch.setenv("OLIVE_DISABLE_TELEMETRY", "1")
    from olive.hardware import DEFAULT_CPU_ACCELERATOR
    from olive.model import ONNXModelHandler
    from olive.passes.olive_pass import create_pass_from_dict

    def run(model: object = MODEL, **options: object) -> Any:
        given = {"payload": "mine, 2026", "key_out": str(tmp_path / "key.npz"), **options}
        made = create_pass_from_dict(
            nnw_onnx_olive.NnwWatermark, given, True, DEFAULT_CPU_ACCELERATOR
        )
        handler = ONNXModelHandler(str(model)) if isinstance(model, Path) else model
        return made.run(handler, str(tmp_path / "out"))

    return run


@needs_olive
def test_a_model_comes_out_marked_and_its_key_beside(mark: Marked, tmp_path: Path) -> None:
    out = mark(method="uchida", layer="conv3.weight", code="repetition", record=True)
    claim = nnw.load_key(tmp_path / "key.npz")
    assert nnw.verify(out.model_path, claim).payload.text == "mine, 2026"
    assert (claim.key.method.name, claim.key.code.name) == ("uchida", "repetition")
    assert claim.key.layers == ("conv3.weight",)
    assert nnw.verify_commitment(claim, MODEL, recorded=out.model_path)
    assert (tmp_path / "key.npz").stat().st_mode & 0o777 == 0o600


@needs_olive
def test_a_master_seed_makes_the_same_key_again(mark: Marked, tmp_path: Path) -> None:
    new_seed(tmp_path / "master.seed")
    words = {"seed_file": str(tmp_path / "master.seed"), "label": "net/1"}
    first = mark(**words, options={"budget": 0.2})
    again = mark(**words, options={"budget": 0.2}, key_out=str(tmp_path / "again.npz"))
    keys = [nnw.load_key(tmp_path / name) for name in ("key.npz", "again.npz")]
    assert keys[0] == keys[1]
    assert keys[0].key.method.options["budget"] == 0.2
    assert nnw.open(first.model_path).digest == nnw.open(again.model_path).digest


@needs_olive
def test_values_outside_the_model_stay_outside(mark: Marked, tmp_path: Path) -> None:
    onnx.save(
        onnx.load(MODEL), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0,
        location="m.data",
    )  # fmt: skip
    out = mark(tmp_path / "m.onnx")
    assert Path(out.model_path).with_name("m.onnx.data").is_file()
    assert nnw.detect(out.model_path, nnw.load_key(tmp_path / "key.npz"))


@needs_olive
def test_what_cannot_be_done_is_one_line(mark: Marked, tmp_path: Path) -> None:
    from olive.model import HfModelHandler

    (tmp_path / "old.npz").write_bytes(b"")
    for options, message in (
        ({"key_out": str(tmp_path / "old.npz")}, "key_out: expected a new file, got existing "),
        ({"label": "net/1"}, "seed_file: expected it with label, got one of them; give both"),
        ({"method": "uchidda"}, "expected one of"),
        (
            {"model": object.__new__(HfModelHandler)},
            "NnwWatermark: expected an ONNX model, got HfModelHandler; put a pass before it that",
        ),
    ):
        with pytest.raises(nnw.NnwError) as caught:
            mark(**options)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@needs_olive
def test_the_list_of_passes_has_those_of_olive_and_ours() -> None:
    from olive.package_config import OlivePackageConfig

    own = OlivePackageConfig.load_default_config().passes
    listed = OlivePackageConfig.model_validate(nnw_onnx_olive.package_config())
    assert set(listed.passes) == {*own, "nnwwatermark"}
    assert listed.import_pass_module("NnwWatermark") is nnw_onnx_olive.NnwWatermark


def test_importing_the_package_imports_no_olive() -> None:
    code = "import sys, nnw_onnx_olive; print('olive' in sys.modules, dir(nnw_onnx_olive))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False ['NnwWatermark', 'package_config']"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nnw_onnx_olive.nonsense  # noqa: B018 - the access is the test


def test_without_olive_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "olive.package_config", None)
    with pytest.raises(nnw.NnwError) as caught:
        nnw_onnx_olive.package_config()
    assert str(caught.value) == (
        "olive: expected the package olive-ai, got none; install it with "
        "pip install 'nnw-onnx[olive]'"
    )
