"""The published table of benchmarks says what its own figures say, of benchmarks that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import ratios

FOLDER = Path(__file__).parents[2] / "results"
NUMBER = r"[\d.e+-]+"
LINE = re.compile(
    rf"(?P<what>.{{46,}}?) +(?P<ours>{NUMBER}) (?P<unit>\S+) +(?P<name>.+?) +(?P<theirs>{NUMBER}) +"
    rf"(?P<ratio>[\d.]+)( +<= (?P<asked>{NUMBER}) (?P<verdict>yes|NO))?"
)


def test_every_line_is_a_ratio_and_its_verdict_follows():
    machine, _, heading, *lines = (FOLDER / "benchmarks.txt").read_text().splitlines()
    assert machine.endswith("sizes")
    assert heading.split()[0] == "ours"
    told = [line for line in lines if line]
    names = [line for line in told if line in ratios.known()]
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    size = "--full " * machine.endswith("full sizes")
    assert f"`python tests/benchmarks/ratios.py {size}{' '.join(names)}`" in readme
    for line in (line for line in told if line not in names):
        found = LINE.fullmatch(line)
        assert found is not None, line
        said = float(found["ratio"])
        assert said == pytest.approx(float(found["ours"]) / float(found["theirs"]), 2e-3, 1e-3)
        if found["asked"]:
            assert (said <= float(found["asked"])) == (found["verdict"] == "yes")
