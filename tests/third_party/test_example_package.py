"""A real third-party package: installed by pip, found by its entry points, checked by pytest."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("one installed package")

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).with_name("nnw-onnx-example")
USE = """
import numpy as np
from nnw_onnx import plugins
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArraySuspect
from nnw_onnx.vocabulary import Dataset, Method, Modification, Payload, Spec, Task
assert {"likeness", "order"} < set(plugins.names("methods")), plugins.names("methods")
method = plugins.create(Method, Spec("order"))
weights = np.sin(np.arange(900.0)).reshape(10, 10, 3, 3).astype("float32")
network = ArrayNetwork.of({"conv": weights})
payload = Payload.from_text("nnw")
key = method.make_key(network, len(payload), bytes(32), ArrayBench())
marked = method.inject(network, payload, key, ArrayBench())
print(method.decode(ArraySuspect(marked), key).payload.text)
shrink = plugins.create(Modification, Spec("shrinkage", {"intensity": 0.4}))
small = shrink.modify_weights({"conv": np.array([-7.0, -1.0, 1.0, 7.0])}, None)["conv"]
print(plugins.options(type(shrink))[0].name, np.allclose(small, [-5, 0, 0, 5]))
print(*plugins.origin(method))
print(plugins.create(Task, Spec("distance")).measures[0].better)
print(len(plugins.create(Dataset, Spec("sine", {"count": 5})).load("test")))
try:
    plugins.create(Modification, Spec("shrinkage", {"intensity": -1}))
except Exception as error:
    print(type(error).__name__)
"""
OUTPUT = "nnw intensity True nnw-onnx-example 1.0.0 lower 5 ConfigurationError"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The package outside the repository, so that nothing of the repository helps or is touched."""
    copy = tmp_path_factory.mktemp("source") / PACKAGE.name
    return shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory) -> Path:
    """Folder into which pip installed the example package, or its like without a builder."""
    target = tmp_path_factory.mktemp("site")
    if importlib.util.find_spec("hatchling") and importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
        done = _run([*command, "--no-index", "--quiet", "--target", str(target), str(source)])
        assert done.returncode == 0, done.stderr
    else:
        _install_by_hand(target)
    return target


def _install_by_hand(target: Path) -> None:
    """What an installer leaves behind, from the same pyproject.toml: for offline machines."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copytree(PACKAGE / "nnw_onnx_example", target / "nnw_onnx_example")
    info = target / f"nnw_onnx_example-{project['version']}.dist-info"
    info.mkdir()
    identity = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(identity)
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


def _run(command: list[str], *folders: Path) -> subprocess.CompletedProcess[str]:
    inherited = filter(None, [os.environ.get("PYTHONPATH")])
    path = os.pathsep.join(map(str, (*folders, REPOSITORY, *inherited)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False
    )


def test_the_plugins_are_found_and_work(installed):
    done = _run([sys.executable, "-c", USE], installed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == OUTPUT.split()


def _pytest(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # An installed nnw-onnx is loaded by its entry point; loading it twice is an error.
    from importlib.metadata import entry_points

    known = any(e.value == "nnw_onnx.testing.pytest_plugin" for e in entry_points(group="pytest11"))
    plugin = [] if known else ["-p", "nnw_onnx.testing.pytest_plugin"]
    options = [
        "--strict-markers",
        "-c",
        os.devnull,
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
    ]
    return _run([sys.executable, "-m", "pytest", *options, *plugin, *arguments], installed)


def test_its_own_two_line_test_runs_the_common_checks(installed, source):
    done = _pytest(installed, str(source / "tests"), "--rootdir", str(source), "-v")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    passed = re.findall(
        r"test_contract\[(likeness|order|shrinkage|distance|sine): .*PASSED", done.stdout
    )
    assert passed.count("order") > 15
    assert passed.count("likeness") > 8
    assert passed.count("shrinkage") > 8
    assert passed.count("distance") > 5
    assert passed.count("sine") > 5


def test_a_method_a_detector_and_a_modification_take_few_lines():
    for name in ("order", "likeness", "shrinkage"):
        lines = (PACKAGE / "nnw_onnx_example" / f"{name}.py").read_text().splitlines()
        assert len(lines) < 40, name


def test_a_test_without_the_marker_is_told_what_to_do(installed, tmp_path):
    (tmp_path / "test_lonely.py").write_text("def test_lonely(nnw_check): nnw_check()\n")
    done = _pytest(installed, str(tmp_path), "--rootdir", str(tmp_path))
    assert done.returncode == 1
    assert "expected the marker nnw_plugins(...) on this test" in done.stdout


def test_the_pytest_plugin_loads_nothing_heavy():
    code = "import sys, nnw_onnx.testing.pytest_plugin as p; print(*sys.modules)"
    done = _run([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "nnw_onnx.testing.pytest_plugin" in loaded
    assert loaded.isdisjoint({"numpy", "scipy", "onnx", "onnx_ir", "onnxruntime", "pydantic"})
