"""Which share of the float weights of each model in a folder "all" layers reach, as a table.

Run: python tests/benchmarks/coverage_of_models.py FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import open_network

COLUMNS = ("model", "layers", "weights", "all reaches", "left")


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """One row for each model, those that cannot be opened with the reason."""
    for path in sorted(folder.rglob("*.onnx")):
        name = str(path.relative_to(folder))
        try:
            network = open_network(path)
        except ModelFileError as error:
            yield name, "", "", "", str(error)
            continue
        found = network.coverage()
        left = ", ".join(f"{reason} {count:,}" for reason, count in found.left.items())
        yield name, str(len(network.layers)), f"{found.total:,}", f"{found.share:.1%}", left


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    table = [COLUMNS, *rows(parser.parse_args().folder)]
    widths = [max(len(row[k]) for row in table) for k in range(len(COLUMNS) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


if __name__ == "__main__":
    main()
