"""Away from the CPU: no operator mixes devices, a training gives the same weights and never waits.

In processes of their own: torch knows the devices that there are before it computes a gradient,
and libraries take one that is there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", minversion="2.10")

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["device_operators", "device_training"])
def test_on_a_device_that_is_none(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(HERE / f"{name}.py")],
        cwd=HERE.parents[2], capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
