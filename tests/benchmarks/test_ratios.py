"""The table of ratios and the figure of growth: what they say, not what they measure."""

from __future__ import annotations

import json

import bench_collusion
import bench_planning
import growth
import pytest
import ratios
from ratios import Ratio

PARTS = {
    "fine": """
print("not a line of the table")
def ratios():
    yield Ratio("reading", 1.0, "a copy", 4.0, asked=0.5)
    yield Ratio("writing", 3.0, "a copy", 2.0, unit="MB")
""",
    "slow": """
def ratios():
    yield Ratio("reading", 3.0, "a copy", 4.0, asked=0.5)
""",
    "broken": """
def ratios():
    yield Ratio("reading", 1.0, "a copy", 0.0)
    raise ValueError("no such thing")
""",
    "elsewhere": """
def ratios():
    raise ratios_module.NotMeasuredError("there is no GPU")
    yield
""",
    "poor": "def ratios():\n    import nobody_has_this\n    yield\n",
    "dead": "def ratios():\n    import os\n    os._exit(3)\n    yield\n",
}


@pytest.fixture
def folder(tmp_path):
    head = "import ratios as ratios_module\nfrom ratios import Ratio\n"
    for name, text in PARTS.items():
        (tmp_path / f"bench_{name}.py").write_text(head + text)
    (tmp_path / "bench_without.py").write_text("")
    return tmp_path


def cells(line: str) -> list[str]:
    return line.split()


def test_the_table_has_a_line_for_each_ratio(folder, capsys):
    assert ratios.main(["fine"], folder) == 0
    machine, _, heading, *lines = capsys.readouterr().out.splitlines()
    assert "Python" in machine
    assert "nnw-onnx" in machine
    assert machine.endswith("quick sizes")
    assert cells(heading) == ["ours", "baseline", "of", "that", "ratio", "asked"]
    assert [cells(line) for line in lines if line] == [
        ["fine"],
        ["reading", "1", "s", "a", "copy", "4", "0.250", "<=", "0.5", "yes"],
        ["writing", "3", "MB", "a", "copy", "2", "1.500"],
    ]


def test_what_misses_what_was_asked_is_told_and_fails(folder, capsys):
    assert ratios.main(["slow", "fine"], folder) == 1
    assert "0.750   <= 0.5 NO" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("broken", 1, "failed: ValueError: no such thing"),
        ("dead", 1, "failed: its process ended with status 3"),
        ("elsewhere", 0, "not measured: there is no GPU"),
        ("poor", 0, "not measured: nobody_has_this is not installed"),
    ],
)
def test_a_benchmark_that_does_not_end_well_is_a_line(folder, capsys, name, status, said):
    assert ratios.main([name, "fine"], folder) == status
    lines = capsys.readouterr().out.splitlines()
    assert said in lines
    assert "fine" in lines[lines.index(said) :]


def test_json_says_the_same(folder, capsys):
    assert ratios.main(["--json", "fine", "broken"], folder) == 1
    said = json.loads(capsys.readouterr().out)
    fine, broken = said["benchmarks"]
    assert said["full"] is False
    assert [(r["ratio"], r["met"]) for r in fine["ratios"]] == [(0.25, True), (1.5, None)]
    assert (broken["status"], broken["reason"]) == ("failed", "ValueError: no such thing")
    assert len(broken["ratios"]) == 1


def test_a_name_that_is_none_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        ratios.main(["nothing"], folder)
    assert "expected some of broken, dead, elsewhere, fine, poor, slow; got nothing" in (
        capsys.readouterr().err
    )


def test_full_sizes_are_asked_for_by_name(monkeypatch):
    assert not ratios.full()
    monkeypatch.setenv("NNW_BENCHMARKS_FULL", "1")
    assert ratios.full()


@pytest.mark.parametrize("path", sorted(ratios.HERE.glob("bench_*.py")), ids=lambda p: p.stem)
def test_every_benchmark_can_be_imported(path):
    try:
        found = ratios.module(path.stem.removeprefix("bench_"))
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    assert found.__doc__


def test_ratios_of_planning_and_of_collusion_can_be_formed():
    found = [*bench_planning.ratios(60), *bench_collusion.ratios(1)]
    assert all(isinstance(ratio, Ratio) and ratio.ours >= 0 for ratio in found)
    assert [ratio.what.partition(" ")[0] for ratio in found] == [
        *["planning"] * 2, *["resuming"] * 2, *["colluders"] * 3,
    ]  # fmt: skip


def test_slopes_are_those_of_the_upper_half():
    line = [(10, 1.0), (100, 1.0), (1000, 1.0), (10_000, 10.0), (100_000, 100.0)]
    assert growth.slope(line) == pytest.approx(1.0)
    assert growth.slope(line[:1]) is None


def test_the_figure_of_growth_is_the_same_for_the_same_points(tmp_path):
    found = [
        (what, name, 10**k, 10.0 ** (k - 4))
        for what in growth.SIZES
        for name in ("uchida, inject", "uchida, decode")
        for k in range(2, 5)
    ]
    for name in ("a.svg", "b.svg"):
        growth.drawn(found, tmp_path / name)
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in first
