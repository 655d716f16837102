"""doctor: what it says of a sound installation, and of broken ones."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import InferenceError
from nnw_onnx.runs import doctor

from .conftest import Nnw

SOUND = {
    "version": "1.31",
    "distributions": ["onnxruntime 1.31"],
    "available_providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "conflict": "",
    "threads": ["cores=4", "OMP_NUM_THREADS=3"],
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine on which CUDA does not work, without processes of its own."""
    made = SimpleNamespace(runtime=dict(SOUND), works={"CPUExecutionProvider"}, gpus=())

    def isolated(function, *arguments, timeout):
        asked = arguments[0]
        works = not isinstance(asked, tuple) or asked[0] in made.works
        return SimpleNamespace(error=None if works else "no driver", value=None)

    monkeypatch.setattr(doctor, "run_isolated", isolated)
    monkeypatch.setattr(doctor, "runtime_description", lambda: made.runtime)
    described = doctor.describe_environment

    def environment(settings, runtime):
        return described(settings, runtime).model_copy(update={"gpus": made.gpus})

    monkeypatch.setattr(doctor, "describe_environment", environment)
    return made


def test_a_sound_installation(nnw: Nnw, machine: SimpleNamespace) -> None:
    answer = nnw("doctor")
    lines = answer.out.splitlines()
    assert (answer.status, answer.err, lines[-1]) == (0, "", "nothing is wrong")
    assert f"numpy {np.__version__}" in lines[0]
    assert "onnxruntime 1.31" in lines[0]
    assert "runtime: CPUExecutionProvider works" in lines
    assert "runtime: CUDAExecutionProvider is compiled in and cannot be used here" in lines
    assert any(line.endswith("usable cores; OMP_NUM_THREADS=3") for line in lines)
    assert any(line.startswith("threads: libraries and their threads: ") for line in lines)
    count = sum(len(plugins.names(group)) for group in plugins.GROUPS)
    assert f"plug-ins: {count} of {count} can be used" in lines
    assert any(line.startswith("folders: decoded data are kept in ") for line in lines)


def test_two_runtimes_overwrite_each_other(nnw: Nnw, machine: SimpleNamespace) -> None:
    from nnw_onnx.inference.runtime import conflict

    machine.runtime["conflict"] = conflict(["onnxruntime", "onnxruntime-gpu"])
    answer = nnw("doctor")
    assert answer.status == 1
    assert (
        "runtime: FAULT: onnxruntime: expected one distribution, got onnxruntime and "
        "onnxruntime-gpu, which overwrite each other\n"
        "    cure: run 'pip uninstall -y onnxruntime onnxruntime-gpu' and install one\n"
    ) in answer.out
    assert answer.out.endswith("\n1 thing to mend\n")


def test_a_gpu_that_is_there_should_work(nnw: Nnw, machine: SimpleNamespace) -> None:
    machine.gpus = ({"name": "H100", "memory_bytes": 80e9},)
    answer = nnw("doctor")
    assert answer.status == 1
    assert "CUDAExecutionProvider is compiled in and does not work here: no driver" in answer.out
    assert "cure: pip install '.[cuda]'" in answer.out
    machine.works.add("CUDAExecutionProvider")
    assert nnw("doctor").status == 0


def test_a_cpu_that_does_not_work_is_a_fault(nnw: Nnw, machine: SimpleNamespace) -> None:
    machine.works.clear()
    assert "cure: install onnxruntime again" in nnw("doctor").out


def test_without_a_runtime_the_rest_is_still_told(
    nnw: Nnw, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise InferenceError("onnxruntime: expected a whole package, got an empty folder; again")

    monkeypatch.setattr(doctor, "runtime_description", broken)
    answer = nnw("doctor")
    assert answer.status == 1
    assert "versions: nnw-onnx " in answer.out
    assert "    cure: again\n" in answer.out


def test_broken_plug_ins_are_named(
    nnw: Nnw, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise ImportError("no module 'x'")

    entry = SimpleNamespace(
        name="broken", value="pack:Broken", module="pack", load=load,
        dist=SimpleNamespace(name="broken-pack", version="1"),
    )  # fmt: skip
    found = {"broken": [entry]}
    monkeypatch.setattr(plugins, "_third_party", lambda g: found if g == "methods" else {})
    answer = nnw("doctor")
    assert answer.status == 1
    assert "plug-ins: FAULT: methods: expected pack:Broken of broken-pack to be imp" in answer.out
    assert "    cure: reinstall or remove the package\n" in answer.out


def test_as_json(nnw: Nnw, machine: SimpleNamespace) -> None:
    told = json.loads(nnw("doctor", "--format", "json").out)
    assert told["sound"] is True
    assert {finding["topic"] for finding in told["findings"]} == {
        "versions", "machine", "runtime", "threads", "trainers", "plug-ins", "folders",
    }  # fmt: skip
    assert all(finding["cure"] is None for finding in told["findings"])
