"""Small modules of data objects that are numbers in files, and who runs them step by step."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from nnw_onnx.aif import files
from nnw_onnx.aif.channels import Message
from nnw_onnx.aif.ports import Given, Module, module, port
from nnw_onnx.aif.running import Executor
from nnw_onnx.aif.types import CountErrorFile
from nnw_onnx.aif.workflows import Channel, End, Part, Workflow
from nnw_onnx.errors import ModelFileError

WAIT = 60.0
"""Seconds after which a test that hangs fails."""


@dataclass(frozen=True)
class One:
    number: CountErrorFile = port("Number")


@dataclass(frozen=True)
class Two:
    left: CountErrorFile = port("Left")
    right: CountErrorFile = port("Right")


@dataclass(frozen=True)
class Result:
    number: CountErrorFile = port("Result")


def double(given: One, setup: object, folder: Path) -> Result:
    """Twice the number."""
    return Result(files.write_count(folder / "r.json", 2 * files.read_count(given.number)))


def add(given: Two, setup: object, folder: Path) -> Result:
    """The sum."""
    total = files.read_count(given.left) + files.read_count(given.right)
    return Result(files.write_count(folder / "r.json", total))


def fail(given: One, setup: object, folder: Path) -> Result:
    """Nothing."""
    raise ModelFileError("m.onnx: expected a model,\ngot none; give one")


def err(given: One, setup: object, folder: Path) -> Result:
    """A bug."""
    raise ZeroDivisionError("a bug")


OWN = [
    replace(module(one, acronym, name, name), of="TST")
    for one, acronym, name in (
        (double, "DBL", "Double"), (add, "ADD", "Add"), (fail, "FAI", "Fail"), (err, "ERR", "Err"),
    )
]  # fmt: skip
DOUBLE, ADD, FAIL, ERR = OWN


def workflow(*lines: str, **parts: Module) -> Workflow:
    """Modules by their names here, joined by lines PART.PORT > PART.PORT."""
    ends = [tuple(_end(one) for one in line.split(" > ")) for line in lines]
    sources = dict.fromkeys(s.port for s, _ in ends if not s.part)
    targets = dict.fromkeys(t.port for _, t in ends if not t.part)
    made = Workflow(
        "FLW", "Flow", "Flow", "A flow.", (), (),
        tuple(Part(one, label=name) for name, one in parts.items()),
        tuple(Channel(*both) for both in ends), of="TST",
    )  # fmt: skip
    ports = DOUBLE.inputs[0], DOUBLE.outputs[0]
    return replace(
        made,
        inputs=tuple(replace(ports[0], name=name) for name in sources),
        outputs=tuple(replace(ports[1], name=name) for name in targets),
    )


def _end(text: str) -> End:
    part, _, name = text.partition(".")
    return End(part, name)


@dataclass
class Stepwise(Executor):
    """Runs a module when a test says so, and tells when it has begun."""

    free: bool = True
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ran: list[str] = field(default_factory=list)
    stopped: bool = False

    def run(self, module: Module, given: Given, folder: Path) -> Given:
        self.ran.append(module.acronym)
        if not self.free:
            self.begun.release()
            assert self.go.acquire(timeout=WAIT)
        return module.function(given, None, folder)

    def stop(self) -> None:
        self.stopped = True
        self.go.release(100)


def message(folder: Path, number: int) -> Message:
    return Message(files.write_count(folder / f"n{number}.json", number))


def number(told: Message) -> int:
    assert isinstance(told.data, CountErrorFile)
    return files.read_count(told.data)
