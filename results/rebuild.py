"""Run the evaluations of this folder again and write everything else in it anew.

    python results/rebuild.py --data DIR [--check] [NAME ...]

DIR is the folder or archive of CIFAR-10. Without a NAME all evaluations run; those with training
need PyTorch. The runs themselves, with their secret keys, go to --runs. With --check nothing is
written: exit status 1 says that records differ from those of this folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import published

from nnw_onnx.cli.main import main as command

FOLDER = Path(__file__).parent
RECORDS = ("plan.json", "injections.jsonl", "records.jsonl")
"""What the same inputs and seed give byte for byte."""


def run(name: str, data: Path, runs: Path) -> Path:
    """Carry out an evaluation; goes on where an earlier one ended."""
    folder = runs / name
    evaluation = str(FOLDER / f"{name}.toml")
    status = command(["evaluate", evaluation, "--data", str(data), "--run-folder", str(folder)])
    if status == 2:
        sys.exit(2)
    return folder


def pack(folder: Path, target: Path) -> None:
    """Archive the records of a run, the same bytes for the same records."""
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for name in (*RECORDS, "environment.json"):
            content = (folder / name).read_bytes()
            entry = tarfile.TarInfo(f"{folder.name}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def digests(folder: Path) -> list[str]:
    """Lines of SHA256SUMS for the records of a run."""
    return [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {folder.name}/{name}"
        for name in RECORDS
    ]


def publish(folder: Path) -> None:
    """Write archive and pages of a run, and its tables into the README."""
    name = folder.name
    pack(folder, FOLDER / f"{name}.tar.xz")
    (FOLDER / f"{name}.html").write_bytes((folder / "report.html").read_bytes())
    put(name, folder / "tables", ("matrix.md", "imperceptibility.md", "visibility.md"))
    if name == "published":
        fill("published", published.table(folder))
        return
    with tempfile.TemporaryDirectory() as place:
        if command(["compare", str(folder), "--out", place, "--quiet"]) == 2:
            sys.exit(2)
        page = Path(place, "comparison.html").read_bytes()
        (FOLDER / f"{name}-claims.html").write_bytes(page)
        put(name, Path(place, "tables"), ("standings.md", "grid-64.md", "grid-256.md"))


def put(name: str, tables: Path, wanted: Sequence[str]) -> None:
    """Tables of a run into their places in the README."""
    for table in wanted:
        if (tables / table).exists():
            text = (tables / table).read_text(encoding="utf-8")
            fill(f"{name} {table.removesuffix('.md')}", text)


def fill(mark: str, text: str) -> None:
    """Replace what stands between two marks of the README, if it has them."""
    path = FOLDER / "README.md"
    begin, end = f"<!-- begin {mark} -->\n", f"<!-- end {mark} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    if found:
        after = rest.partition(end)[2]
        path.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def main() -> int:
    """Rebuild, or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("nnw-runs"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    names = options.names or sorted(path.stem for path in FOLDER.glob("*.toml"))
    sums = FOLDER / "SHA256SUMS"
    known = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
    differ = False
    for name in names:
        folder = run(name, options.data, options.runs)
        found = digests(folder)
        if options.check:
            differ |= not set(found) <= set(known)
            continue
        known = [line for line in known if f"  {name}/" not in line] + found
        publish(folder)
    if options.check:
        print("records differ" if differ else "records as published")
        return int(differ)
    sums.write_text("\n".join(sorted(known, key=lambda line: line[66:])) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
