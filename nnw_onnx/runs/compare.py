"""Compare finished runs: read their folders, and fix what chance decides by their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from nnw_onnx.errors import RunError
from nnw_onnx.measures.compared import ClaimRule, Comparison
from nnw_onnx.measures.comparison import Asked
from nnw_onnx.measures.comparison import compare as compared
from nnw_onnx.measures.run import Run
from nnw_onnx.records import InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs.seeds import generator
from nnw_onnx.runs.store import Store


def compare(
    folders: Sequence[Path], rule: ClaimRule = "overall", bits: Sequence[int] = ()
) -> Comparison:
    """The technologies of one or several run folders side by side.

    Nothing is run, and no plug-in is needed. The same records give the same comparison.

    Args:
        folders: of 'nnw evaluate'; their networks, data and level must be the same.
        rule: "overall" claims something of each pair of technologies; "settings" of each pair in
            each setting, which takes more networks.
        bits: payloads that are compared, such as (64, 256); all of them where it is empty.

    Raises:
        RunError: a folder is no run, is given twice, or differs in what has to be equal.
    """
    if not folders or len({folder.resolve() for folder in folders}) < len(folders):
        raise RunError(
            f"runs: expected different run folders, got {', '.join(map(str, folders)) or 'none'}; "
            "give each of them once"
        )
    read = [_read(folder) for folder in folders]
    digests = tuple(_digest(run) for run in read)
    rng = generator(purpose="comparison", rule=rule, bits=list(bits), records=list(digests))
    asked = Asked(rule, tuple(bits), digests)
    return compared(list(zip(_names(folders), read, strict=True)), asked, rng)


def _read(folder: Path) -> Run:
    store = Store(folder)
    return Run(
        store.read(Plan),
        tuple(store.records(InjectionRecord)),
        tuple(store.records(TrialRecord)),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path; with those before where two are called the same."""
    paths = [folder.resolve() for folder in folders]
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _digest(run: Run) -> str:
    """SHA-256 (hex) over the records as JSON lines, sorted by identity, as in a report."""
    records: list[InjectionRecord | TrialRecord] = [*run.injections, *run.trials]
    lines = sorted((r.identity, r.model_dump_json()) for r in records)
    return hashlib.sha256("\n".join(line for _, line in lines).encode()).hexdigest()
