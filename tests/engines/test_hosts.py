"""Three hosts, each a network namespace: one has scheduler and client, two have a worker each.

Files of the run are hidden from the workers, so all of them travel. In the middle of the run one
worker's cable is pulled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .clusters import evaluated, expect_same

pytest.importorskip("distributed", reason="needs the package distributed")
NET = "10.87.65"
PORT = 8786
TAG = f"nnw{os.getpid() % 10000}"
FAST = {
    # A worker that is cut off says nothing; Dask waits minutes for it if it is not told otherwise.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def host(number: int) -> str:
    return f"{TAG}h{number}"


@contextmanager
def namespaces() -> Iterator[None]:
    """Hosts 0, 1, 2; the bridge between them is that of host 0."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root, Linux and iproute2, to make network namespaces")
    with ExitStack() as stack:
        try:
            for number in range(3):
                ip("netns", "add", host(number))
                stack.callback(subprocess.run, ["ip", "netns", "del", host(number)], check=False)
            ip("-n", host(0), "link", "add", "hub", "type", "bridge")
            for number in (1, 2):
                ip("-n", host(0), "link", "add", f"c{number}", "type", "veth",
                   "peer", "name", "eth", "netns", host(number))  # fmt: skip
                ip("-n", host(0), "link", "set", f"c{number}", "master", "hub", "up")
            for number, device in enumerate(("hub", "eth", "eth")):
                ip("-n", host(number), "address", "add", f"{NET}.{number + 1}/24", "dev", device)
                ip("-n", host(number), "link", "set", device, "up")
                ip("-n", host(number), "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield


def started(
    stack: ExitStack, folder: Path, number: int, command: list[str], **variables: str
) -> subprocess.Popen:
    log = stack.enter_context((folder / f"{number}-{len(list(folder.iterdir()))}.log").open("wb"))
    process = subprocess.Popen(
        ["ip", "netns", "exec", host(number), *command],
        env={**os.environ, **FAST, **variables},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def worker(stack: ExitStack, number: int, hidden: Path, folder: Path) -> None:
    own = folder / f"host{number}"
    own.mkdir()
    # `ip netns exec` gives a process a mount namespace of its own.
    options = f"--nthreads 1 --no-dashboard --local-directory {own} --death-timeout 60"
    command = f"-m distributed.cli.dask_worker tcp://{NET}.1:{PORT} {options}"
    script = f"mount -t tmpfs none {hidden} && exec {sys.executable} {command}"
    started(stack, folder, number, ["sh", "-c", script], NNW_CACHE=str(own / "cache"))


def test_a_run_completes_with_the_same_records_when_a_host_is_cut_off(configuration, tmp_path):
    folder, run = tmp_path / "hosts", tmp_path / "run"
    folder.mkdir()
    path = _many_trials(configuration)
    with ExitStack() as stack:
        stack.enter_context(namespaces())
        scheduler = ["-m", "distributed.cli.dask_scheduler", "--host", f"{NET}.1", "--no-dashboard"]
        started(stack, folder, 0, [sys.executable, *scheduler, "--port", str(PORT)])
        for number in (1, 2):
            worker(stack, number, configuration.parent, folder)
        client = started(
            stack, folder, 0,
            [sys.executable, "-m", "nnw_onnx", "evaluate", str(path), "--run-folder", str(run),
             "--engine", f"dask://{NET}.1:{PORT}"],
        )  # fmt: skip
        _wait_for(run / "records.jsonl", client, folder)
        ip("-n", host(0), "link", "set", "c1", "down")
        assert client.wait(timeout=300) == 0
        # What host 1 had was sent to it, and what it had not finished was done by host 2.
        assert all(list((folder / f"host{n}" / "cache" / "parcels").iterdir()) for n in (1, 2))
    expect_same(run, evaluated(path, tmp_path / "serial", "serial"))


def _many_trials(configuration: Path) -> Path:
    path = configuration.with_name("many.toml")
    text = configuration.read_text().replace("payloads = 2", "payloads = 3\nrepetitions = 2")
    path.write_text(text)
    return path


def _wait_for(path: Path, client: subprocess.Popen, logs: Path) -> None:
    """Until the run has some records."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and client.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= 4:
            return
        time.sleep(0.01)
    told = "\n".join(log.read_text()[-2000:] for log in sorted(logs.glob("*.log")))
    raise AssertionError(f"expected records, got none in time (exit {client.poll()}):\n{told}")
