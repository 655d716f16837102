"""Where networks are: files that are named, and those that come with the package."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.network_tables import NetworkTable, file_names

SHIPPED_PREFIX = "nnw:"


def place_of(name: str, folder: Path) -> str:
    """The name of a network as seen from a folder; shipped ones are the same from everywhere."""
    return name if name.startswith(SHIPPED_PREFIX) else str(folder / name)


def models_folder() -> Path:
    """The folder of the shipped networks: in the package, or beside it in a source tree."""
    package = Path(str(files("nnw_onnx")))
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def network_paths(networks: Sequence[str | NetworkTable]) -> list[Path]:
    """The M network files, wildcards expanded, each part sorted; a file's own name is no pattern.

    Raises:
        ConfigurationError: a name or pattern matches nothing, or a file is named twice.
    """
    if faults := missing_networks(networks):
        raise ConfigurationError(*faults)
    found = [path for name in file_names(networks) for path in _files(name)]
    if len(set(found)) != len(found):
        raise ConfigurationError("networks: expected each file once, got one twice; remove it")
    return found


def single_network(where: str, name: str) -> Path:
    """The one file that a name stands for; raises `ConfigurationError`."""
    found = _files(name)
    if len(found) != 1:
        raise ConfigurationError(
            f"{where}: expected one ONNX file for {name!r}, got {len(found) or 'none'}; correct "
            "the path"
        )
    return found[0]


def missing_networks(networks: Sequence[str | NetworkTable]) -> list[str]:
    """A line for each name or pattern that no file fits."""
    return [
        f"networks: expected an ONNX file for {name!r}, got none; correct the path"
        for name in file_names(networks)
        if not _files(name)
    ]


def _files(name: str) -> list[Path]:
    """The files that a name or pattern stands for; none where one of them is no file."""
    path = Path(name)
    if name.startswith(SHIPPED_PREFIX):
        path = models_folder() / name.removeprefix(SHIPPED_PREFIX)
    # A name that is there is that file, whatever a pattern would make of its brackets.
    exact = path.is_file() or not any(c in path.name for c in "*?[")
    matches = [path] if exact else _matching(path)
    return matches if all(match.is_file() for match in matches) else []


def _matching(pattern: Path) -> list[Path]:
    """Files of one folder whose name fits; a wildcard never reaches into other folders."""
    if not pattern.parent.is_dir():
        return []
    return sorted(p for p in pattern.parent.iterdir() if fnmatch.fnmatchcase(p.name, pattern.name))
