"""Where networks are: files that are named, and those that come with the package."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from nnw_onnx.errors import ConfigurationError

SHIPPED_PREFIX = "nnw:"


def place_of(name: str, folder: Path) -> str:
    """The name of a network as seen from a folder; shipped ones are the same from everywhere."""
    return name if name.startswith(SHIPPED_PREFIX) else str(folder / name)


def models_folder() -> Path:
    """The folder of the shipped networks: in the package, or beside it in a source tree."""
    package = Path(str(files("nnw_onnx")))
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def network_paths(networks: Sequence[str]) -> list[Path]:
    """The M network files, wildcards expanded, each part sorted.

    Raises:
        ConfigurationError: a name or pattern matches nothing, or a file is named twice.
    """
    found: list[Path] = []
    for name in networks:
        base = Path(name)
        if name.startswith(SHIPPED_PREFIX):
            base = models_folder() / name.removeprefix(SHIPPED_PREFIX)
        matches = _matching(base) if any(c in base.name for c in "*?[") else [base]
        if not matches or not all(m.is_file() for m in matches):
            raise ConfigurationError(
                f"networks: expected an ONNX file for {name!r}, got none; correct the path"
            )
        found += matches
    if len(set(found)) != len(found):
        raise ConfigurationError("networks: expected each file once, got one twice; remove it")
    return found


def _matching(pattern: Path) -> list[Path]:
    """Files of one folder whose name fits; a wildcard never reaches into other folders."""
    if not pattern.parent.is_dir():
        return []
    return sorted(p for p in pattern.parent.iterdir() if fnmatch.fnmatchcase(p.name, pattern.name))
