"""Runs that are killed at random moments, and go on to the report of a run that nobody disturbed.

    python tests/benchmarks/kill_runs.py [KILLS] [SEED] [WORKERS]

The runs are of the engine `serial`, or of `processes` with so many workers, and are compared with
one of `serial`. Each run is killed once (SIGKILL) at a moment drawn uniformly from the time that an
undisturbed one takes: the main process, everything at once, or one worker. Then the same command is
given again. Plan, injections, records, keys, networks and the report must be the same byte for
byte; of costs and environment, which are measured times, the lines that were there must be kept,
none be double.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from nnw_onnx.cli.main import main
from nnw_onnx.inference import check_providers
from nnw_onnx.runs import prepare
from nnw_onnx.vocabulary import Outcome

EVALUATION = """
title = "Tiny"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 2
payload_sizes = [20]
[dataset]
name = "digits"
limit = 60
preprocessing = {{ scale = 0.0625 }}
[control]
wrong_keys = 4
[preview]
samples = 0
[engine]
{engine}
[cost]
cells = {cells}
sessions = 1
repetitions = 5
warmups = 1
[[methods]]
name = "block-spread"
[[modifications]]
name = "gaussian-noise"
intensities = [0.1, 1.0]
"""
LINES = ("injections.jsonl", "records.jsonl", "costs.jsonl")
KINDS = ("main", "all", "worker")
TIMES = ("cost", "cost_cells", "environment")
"""Parts of a report that tell measured times."""


def command(folder: Path) -> list[str]:
    """What is given, and given again."""
    return ["evaluate", str(folder.parent / "tiny.toml"), "--run-folder", str(folder)]


def start(folder: Path) -> int:
    """The process of a run, which leads a session of its own; a fork, so that it starts at once."""
    process = os.fork()
    if process == 0:
        os.setsid()
        told = os.open(folder.parent / "told.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(told, 1)
        os.dup2(told, 2)
        os._exit(main(command(folder)))
    return process


def ended(process: int) -> int:
    """Its exit status, or the negative number of its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def workers(process: int) -> list[int]:
    """Its worker processes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process).children()
        return [c.pid for c in children if "spawn_main" in " ".join(c.cmdline())]
    return []


def strike(process: int, kind: str, rng: np.random.Generator) -> bool:
    """Kill; False where the run was over before."""
    if kind == "main":
        os.kill(process, signal.SIGKILL)
        return True
    if kind == "all":
        for victim in (process, *workers(process)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return True
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if found := workers(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[rng.integers(len(found))], signal.SIGKILL)
                return True
        time.sleep(0.01)
    return False


def lasting(folder: Path) -> dict[str, Any]:
    """Everything that must be the same."""
    made = [path for name in ("keys", "networks") for path in sorted((folder / name).iterdir())]
    files = [*made, folder / "plan.json", *(folder / name for name in LINES[:2])]
    content: dict[str, Any] = {str(p.relative_to(folder)): p.read_bytes() for p in files}
    report = json.loads((folder / "report.json").read_text())
    content["report.json"] = json.dumps(without_times(report))
    content["costs"] = [(c["identity"], c["status"]) for c in lines(folder / LINES[2])]
    return content


def without_times(value: Any) -> Any:
    """A report without the parts that tell times."""
    if isinstance(value, dict):
        times = {*TIMES, "reason"} if str(value.get("id")).startswith("cost-") else {*TIMES}
        return {k: without_times(v) for k, v in value.items() if k not in times}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def lines(path: Path) -> list[Any]:
    """The whole records of a file."""
    text = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in text.split(b"\n")[:-1]]


def kept(before: dict[str, list[Any]], folder: Path) -> bool:
    """Whether what was recorded before is what the files begin with now."""
    return all(lines(folder / name)[: len(found)] == found for name, found in before.items())


def one(folder: Path, kind: str, moment: float, rng: np.random.Generator) -> dict[str, Any]:
    """Run, kill, go on; what was kept and what came out."""
    process = start(folder)
    time.sleep(moment)
    struck = strike(process, kind, rng)
    status = ended(process)
    before = {name: lines(folder / name) for name in LINES}
    stage = next((n for n, found in reversed(before.items()) if found), "nothing recorded")
    by_itself = status == 0 and struck
    status = 0 if status == 0 else ended(start(folder))
    return {
        "status": status,
        "kept": kept(before, folder),
        "content": lasting(folder) if status == 0 else None,
        "stage": stage,
        "by itself": by_itself,
        "left": len(list(folder.rglob(".*.tmp"))),
    }


def asked_once() -> None:
    """Ask the machine what it can do once, and not in a process of its own in each run."""
    outcome, asked = Outcome[None](None), prepare.run_isolated

    def remembered(question: Any, *about: Any, **limits: Any) -> Any:
        return outcome if question is check_providers else asked(question, *about, **limits)

    prepare.run_isolated = remembered


def undisturbed(place: Path, cells: int, workers: int) -> tuple[float, dict[str, Any]]:
    """Seconds that a run takes which nobody kills, and what it comes to; then the engine is set."""
    place.mkdir()
    serial = 'name = "serial"'
    engine = f'name = "processes"\nworkers = {workers}' if workers else serial
    (place / "tiny.toml").write_text(EVALUATION.format(cells=cells, engine=serial))
    began = time.monotonic()
    ended(start(place / "whole"))
    took = time.monotonic() - began
    (place / "tiny.toml").write_text(EVALUATION.format(cells=cells, engine=engine))
    return took, lasting(place / "whole")


def run(kills: int, seed: int, workers: int) -> int:
    """Kill so many runs; the exit status is 1 where one of them is not as the undisturbed one."""
    rng, count = np.random.Generator(np.random.PCG64(seed)), Counter[str]()
    asked_once()
    with tempfile.TemporaryDirectory(prefix="nnw-kills-") as name:
        places = [Path(name) / "trials", Path(name) / "costs"]
        whole = [undisturbed(place, cells, workers) for cells, place in enumerate(places)]
        print(f"undisturbed runs take {whole[0][0]:.1f} and {whole[1][0]:.1f} s", flush=True)
        for k in range(kills):
            cells, kind = int(k % 4 == 3), KINDS[k % 3]
            took, wanted = whole[cells]
            folder = places[cells] / f"run-{k}"
            got = one(folder, kind, float(rng.uniform(0, took)), rng)
            tell(k, kind, got, wanted, count)
            shutil.rmtree(folder, ignore_errors=True)
        told = "".join((place / "told.txt").read_text() for place in places)
        count["tracebacks"] = told.count("Traceback")
    for words, number in sorted(count.items()):
        print(f"{number:5} {words}")
    return int(count["the same"] != kills)


def tell(
    k: int, kind: str, got: dict[str, Any], wanted: dict[str, Any], count: Counter[str]
) -> None:
    """Count one run, and say what is wrong with it."""
    content = got["content"] or {}
    differ = [name for name in wanted if content.get(name) != wanted[name]]
    same = not differ and got["kept"] and not got["left"]
    count["the same"] += same
    count[f"killed: {kind}"] += 1
    count[f"when there were: {got['stage']}"] += 1
    count["went on by itself"] += got["by itself"]
    if not same:
        print(f"run {k} ({kind}): {got}, differs in {differ}"[:400], flush=True)
        if "report.json" in differ and content:
            ours, theirs = json.loads(content["report.json"]), json.loads(wanted["report.json"])
            print([key for key in theirs if ours.get(key) != theirs[key]], flush=True)
    if k % 10 == 9:
        print(f"{k + 1} killed, {count['the same']} went on to the same", flush=True)


if __name__ == "__main__":
    arguments = [int(word) for word in sys.argv[1:]]
    sys.exit(run(*(arguments + [20, 0, 0][len(arguments) :])))
