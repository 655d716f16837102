"""The archive of a workflow for a Store: one AIW metadata file and one or more binaries.

Nothing of an archive is ever written to disk or executed: it is read in memory, within the limits
of `kit.sources`, and what its descriptor names are modules of this package or nothing.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.aif import files
from nnw_onnx.aif.codes import MPAI_ERROR_INIT
from nnw_onnx.aif.descriptors import PLACEHOLDER, Form, descriptor
from nnw_onnx.aif.ports import Module
from nnw_onnx.aif.reading import MOST_DESCRIPTOR, workflow_of
from nnw_onnx.aif.workflows import ALL_MODULES, Workflow
from nnw_onnx.errors import FrameworkError
from nnw_onnx.kit.sources import ARCHIVE_SUFFIXES, is_archive, open_source
from nnw_onnx.version import __version__

METADATA = "AIW.json"
_MOST_BINARY = 1 << 28
_LAUNCHER = '''#!/usr/bin/env python3
"""{title}: starts the workflow beside this file; it needs nnw-onnx {version}."""

import sys
from pathlib import Path

from nnw_onnx.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["aif", "run", str(Path(__file__).with_name("{metadata}")), *sys.argv[1:]]))
'''


@dataclass(frozen=True)
class Archive:
    """What an archive holds.

    Attributes:
        workflow: that its metadata describe.
        binaries: names of the other files.
    """

    workflow: Workflow
    binaries: tuple[str, ...]


def pack(
    workflow: Workflow,
    path: Path,
    form: Form = "v3",
    implementer: str = PLACEHOLDER,
    binaries: Sequence[Path] = (),
) -> tuple[str, ...]:
    """Write the archive of a workflow; returns the names of its files.

    The same workflow and binaries give the same bytes.

    Args:
        workflow: of the form that is asked for.
        path: the archive: .tar.gz, .tgz, .tar or .zip.
        form: of the descriptor.
        implementer: the ImplementerID.
        binaries: files beside the script that starts the workflow, such as a wheel.

    Raises:
        FrameworkError: another suffix, binaries of one name, or a place that cannot be written.
    """
    if not is_archive(path):
        raise FrameworkError(
            f"{path}: expected an archive named {', '.join(ARCHIVE_SUFFIXES)}, got another name; "
            "choose one"
        )
    held = {_script(workflow): _launcher(workflow), **_contents(binaries)}
    if len(held) != len(binaries) + 1 or METADATA in held:
        raise FrameworkError(
            f"{path.name}: expected binaries of different names, none of them {METADATA}, got "
            f"{', '.join(one.name for one in binaries)[:200]}; rename them"
        )
    described = files.as_json(descriptor(workflow, form, implementer, tuple(held)))
    held = {METADATA: described, **held}
    files.write(path, _zip(held) if path.name.endswith(".zip") else _tar(held, path))
    return tuple(held)


def read_archive(path: Path, modules: Sequence[Module] = ALL_MODULES) -> Archive:
    """What an archive holds (`MPAI_AIFS_GetAndParseArchive`).

    Args:
        path: .tar.gz, .tgz, .tar or .zip.
        modules: those that its descriptor may name.

    Raises:
        DatasetError: it is broken, too large, or holds links, devices or names that leave it.
        FrameworkError: it has no metadata file, several, no binary, or a broken descriptor.
    """
    source = open_source(path)
    described = [name for name in source.names if name.endswith(".json") and "/" not in name]
    binaries = tuple(name for name in source.names if name not in described)
    if len(described) != 1 or not binaries:
        raise FrameworkError(
            f"{path.name}: expected one AIW metadata file (.json) and at least one binary, got "
            f"{len(described)} and {len(binaries)}; pack it with 'nnw aif pack'",
            MPAI_ERROR_INIT,
        )
    content = b"".join(data for _, data in source.read(described))
    if len(content) > MOST_DESCRIPTOR:
        raise FrameworkError(
            f"{path.name}: {described[0]}: expected at most {MOST_DESCRIPTOR} bytes, got "
            f"{len(content)}; give a smaller one",
            MPAI_ERROR_INIT,
        )
    value = files.parsed(content, f"{path.name}: {described[0]}")
    return Archive(workflow_of(value, modules, f"{path.name}: {described[0]}"), binaries)


def _script(workflow: Workflow) -> str:
    return f"{workflow.short.lower()}.py"


def _launcher(workflow: Workflow) -> bytes:
    return _LAUNCHER.format(title=workflow.title, version=__version__, metadata=METADATA).encode()


def _contents(binaries: Sequence[Path]) -> dict[str, bytes]:
    return {path.name: files.content(path, _MOST_BINARY) for path in binaries}


def _tar(held: Mapping[str, bytes], path: Path) -> bytes:
    """A tar of members that tell nothing of this machine and this moment."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in held.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755 if name.endswith(".py") else 0o644
            archive.addfile(member, io.BytesIO(data))
    plain = buffer.getvalue()
    return plain if path.name.endswith(".tar") else gzip.compress(plain, mtime=0)


def _zip(held: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in held.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o755 if name.endswith(".py") else 0o644) << 16
            archive.writestr(member, data)
    return buffer.getvalue()
