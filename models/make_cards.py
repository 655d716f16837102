"""Measure every model of this folder through onnxruntime and write cards.json and the README.

Example:
    python models/make_cards.py --cifar10 cifar10.tar.gz --lossless lossless.npz
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from model_data import (
    DataError,
    Split,
    cifar10_lossless_test,
    cifar10_split,
    digits_split,
    normalise_cifar10,
)
from model_export import evaluate_onnx, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    Card = dict[str, str | int | float]

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- cards: begin (written by make_cards.py) -->", "<!-- cards: end -->"
TESTS = {
    "digits": "odd indices of load_digits",
    "cifar10": "test split of the JPEG folders",
    "cifar10_lossless": "test images of the lossless subset",
}


class CardError(Exception):
    """A model does not match the record of its training."""


def make_card(path: Path, tests: Mapping[str, Split]) -> Card:
    """Measure one model and gather what its file and its training record say.

    Args:
        path: the model; its training record lies beside it.
        tests: test sets by name, images as the networks take them.

    Returns:
        The card, ready for JSON; accuracies are shares in [0, 1].

    Raises:
        CardError: the file is not the one that the record describes.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    record = json.loads(path.with_suffix(".training.json").read_text())
    model = onnx.load_from_string(content)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    test = tests[notes["data"]]
    card: Card = {
        "file": path.relative_to(FOLDER).as_posix(),
        "sha256": digest,
        "bytes": len(content),
        "task": notes["task"],
        "dataset": notes["data"],
        "split": notes["data_variant"],
        "preprocessing": notes["preprocessing"],
        "architecture": notes["architecture"],
        "weights": _count_weights(model),
        "opset": model.opset_import[0].version,
        "seed": int(notes["seed"]),
        "accuracy": evaluate_onnx(content, test).accuracy,
        "accuracy_on": TESTS[notes["data"]],
        "n_test": len(test.labels),
        "training_command": record["command"],
        "training_cpu_seconds": record["cpu_seconds"],
        "licence": notes["licence"],
    }
    if notes["data"] == "cifar10":
        lossless = tests["cifar10_lossless"]
        card["accuracy_lossless"] = evaluate_onnx(content, lossless).accuracy
        card["n_test_lossless"] = len(lossless.labels)
    if (digest, card["accuracy"]) != (record["sha256"], record["accuracy"]):
        message = f"{card['file']}: sha256 or accuracy differs from its training record"
        raise CardError(message)
    return card


def render(cards: list[Card]) -> str:
    """Return the cards as Markdown: one table of all models, then one for each that is shipped."""
    lines = [
        "| file | weights | seed | top-1 on the test set | on lossless CIFAR-10 | CPU minutes |",
        "|---|---|---|---|---|---|",
    ]
    for card in cards:
        lossless = "-"
        if "accuracy_lossless" in card:
            lossless = f"{card['accuracy_lossless']:.2%} of {card['n_test_lossless']:,}"
        minutes = float(card["training_cpu_seconds"]) / 60
        lines.append(
            f"| `{card['file']}` | {card['weights']:,} | {card['seed']} "
            f"| {card['accuracy']:.2%} of {card['n_test']:,} | {lossless} | {minutes:.1f} |"
        )
    shipped = [card for card in cards if not str(card["file"]).startswith("comparison/")]
    for card in shipped:
        lines += [
            "",
            f"### `{card['file']}`",
            "",
            "| | |",
            "|---|---|",
            f"| task | {card['task']} |",
            f"| data and split | {card['dataset']}: {card['split']} |",
            f"| preprocessing | {card['preprocessing']} |",
            f"| architecture | {card['architecture']} |",
            f"| weights | {card['weights']:,} (opset {card['opset']}, {card['bytes']:,} bytes) |",
            f"| top-1 | {_accuracy_text(card)} |",
            f"| seed | {card['seed']} |",
            f"| sha256 | `{card['sha256']}` |",
            f"| training | `{card['training_command']}` |",
            f"| licence | {card['licence']} |",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure all models and rewrite cards.json and the cards in README.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cifar10", type=Path, required=True, help="tar or folder of JPEG")
    parser.add_argument("--lossless", type=Path, required=True, help=".npz of lossless images")
    options = parser.parse_args()
    jpeg = cifar10_split(options.cifar10, "test")
    lossless = cifar10_lossless_test(options.lossless)
    tests = {
        "digits": digits_split("test"),
        "cifar10": Split(normalise_cifar10(jpeg.images), jpeg.labels),
        "cifar10_lossless": Split(normalise_cifar10(lossless.images), lossless.labels),
    }
    cards = [make_card(path, tests) for path in sorted(FOLDER.rglob("*.onnx"))]
    write_atomically(FOLDER / "cards.json", (json.dumps(cards, indent=2) + "\n").encode())
    readme = FOLDER / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n\n{render(cards)}\n\n{END}{after}"
    write_atomically(readme, text.encode())
    for card in cards:
        print(f"{card['file']}: top-1 {_accuracy_text(card)}")


def _accuracy_text(card: Card) -> str:
    """Return the accuracies of a card with what they were measured on."""
    text = f"{card['accuracy']:.2%} of {card['n_test']:,} images ({card['accuracy_on']})"
    if "accuracy_lossless" in card:
        other = f"{card['accuracy_lossless']:.2%} of {card['n_test_lossless']:,} images"
        text += f"; {other} ({TESTS['cifar10_lossless']})"
    return f"{text}, through onnxruntime"


def _count_weights(model: onnx.ModelProto) -> int:
    """Count trained values: all initializers but the running statistics of BatchNormalization."""
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if not tensor.name.endswith(("running_mean", "running_var"))
    )


if __name__ == "__main__":
    try:
        main()
    except (CardError, DataError, OSError, tarfile.TarError) as error:
        sys.exit(f"error: {error}")
