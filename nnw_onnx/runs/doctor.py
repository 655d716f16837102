"""Whether this installation is sound: versions, providers that really work, plug-ins, threads."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError, PluginError
from nnw_onnx.inference import check_providers, run_isolated, runtime_description, unwrap
from nnw_onnx.kit import cache
from nnw_onnx.measures.environment import describe_environment
from nnw_onnx.records import Environment
from nnw_onnx.runs.prepare import trainer_works
from nnw_onnx.vocabulary import Spec

PACKAGES = (
    "nnw-onnx", "numpy", "scipy", "scikit-learn", "onnx", "ml_dtypes", "pydantic", "typer",
    "matplotlib", "torch", "keras", "tensorflow", "lightning", "transformers", "mlflow", "pandas",
    "torchmetrics",
)  # fmt: skip
TIMEOUT = 120.0
"""Seconds that a provider or trainer may take to start."""
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_GIGABYTE = 1e9
_LITTLE = 1e9


@dataclass(frozen=True)
class Finding:
    """Something about this installation.

    Attributes:
        topic: "versions", "machine", "runtime", "threads", "trainers", "plug-ins" or "folders".
        words: what was found.
        cure: what to do; only where it is a fault.
    """

    topic: str
    words: str
    cure: str | None = None


def examine() -> Iterator[Finding]:
    """Everything there is to say, faults included; providers and trainers are really started."""
    try:
        runtime = runtime_description()
    except InferenceError as error:
        yield from _versions([])
        words, _, cure = str(error).rpartition("; ")
        yield Finding("runtime", words, cure)
        return
    machine = describe_environment({}, runtime)
    yield from _versions([str(entry) for entry in runtime["distributions"]])
    yield from _machine(machine)
    if conflict := str(runtime["conflict"]):
        words, _, cure = conflict.partition("; ")
        yield Finding("runtime", words, cure)
    for provider in runtime["available_providers"]:
        yield _provider(provider, gpus=bool(machine.gpus))
    yield from _threads([str(entry) for entry in runtime["threads"]])
    yield from _trainers()
    yield from _plugins()
    yield from _folders()


def _versions(runtime: list[str]) -> Iterator[Finding]:
    known = {name: _version(name) for name in PACKAGES}
    there = [f"{name} {number}" for name, number in known.items() if number]
    yield Finding("versions", ", ".join([*there, *runtime]))
    missing = [name for name, number in known.items() if not number]
    if missing:
        yield Finding(
            "versions", f"not installed, and needed for extras only: {', '.join(missing)}"
        )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _machine(machine: Environment) -> Iterator[Finding]:
    memory = machine.memory_bytes / _GIGABYTE
    yield Finding("machine", f"{machine.system}, {machine.cpu['model']}, {memory:.0f} GB")
    names = [f"{gpu['name']}, {gpu['memory_bytes'] / _GIGABYTE:.0f} GB" for gpu in machine.gpus]
    yield Finding("machine", f"GPU: {'; '.join(names) or 'none that a driver shows'}")


def _provider(provider: str, *, gpus: bool) -> Finding:
    """Whether a provider that is compiled in runs a model of one node here."""
    try:
        unwrap(run_isolated(check_providers, (provider,), timeout=TIMEOUT))
    except InferenceError as error:
        words = f"{provider} is compiled in and does not work here: {error}"
        if provider == _CPU:
            return Finding("runtime", words, "install onnxruntime again")
        if provider == _CUDA and gpus:
            return Finding("runtime", words, "pip install '.[cuda]', and see that the driver fits")
        return Finding("runtime", f"{provider} is compiled in and cannot be used here")
    return Finding("runtime", f"{provider} works")


def _threads(runtime: list[str]) -> Iterator[Finding]:
    # It has no types, and comes with scikit-learn.
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    usable = len(os.sched_getaffinity(0)) if "sched_getaffinity" in vars(os) else os.cpu_count()
    bounds = [entry for entry in runtime if not entry.startswith("cores=")]
    yield Finding("threads", "; ".join([f"{usable} usable cores", *bounds]))
    pools = [f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info()]
    yield Finding("threads", f"libraries and their threads: {', '.join(pools) or 'none loaded'}")


def _trainers() -> Iterator[Finding]:
    names = plugins.names("trainers")
    if not names:
        yield Finding("trainers", "none installed: networks are not trained")
    for name in names:
        try:
            unwrap(run_isolated(trainer_works, Spec(name), timeout=TIMEOUT))
        except InferenceError as error:
            yield Finding("trainers", f"{name} cannot be used: {error}")
        else:
            yield Finding("trainers", f"{name} works")


def _plugins() -> Iterator[Finding]:
    broken, count = [], 0
    for group in plugins.GROUPS:
        for name in plugins.names(group):
            count += 1
            try:
                plugins.load(plugins.base(group), name)
            except (PluginError, ConfigurationError) as error:
                broken.append(str(error))
    yield Finding("plug-ins", f"{count - len(broken)} of {count} can be used")
    for told in broken:
        words, _, cure = told.rpartition("; ")
        yield Finding("plug-ins", words, cure)


def _folders() -> Iterator[Finding]:
    kept = cache.place()
    yield Finding("folders", f"decoded data are kept in {kept or 'no folder (NNW_CACHE)'}")
    temporary = Path(tempfile.gettempdir())
    free = shutil.disk_usage(temporary).free
    words = f"temporary files go to {temporary}, {free / _GIGABYTE:.1f} GB free"
    little = free < _LITTLE
    yield Finding("folders", words, "make room, or set TMPDIR" if little else None)
