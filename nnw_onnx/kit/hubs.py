"""Caches of the Hugging Face Hub: a snapshot is a folder of links to its repository's blobs."""

from __future__ import annotations

import re
from pathlib import Path

_REPOSITORY = re.compile(r"(models|datasets|spaces)--.+")
_REVISION = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def own_blob(link: Path) -> Path | None:
    """The blob that a file of a snapshot stands for, or None where it is another file.

    A file counts as `models--.../snapshots/<revision>/<name>` that leads straight to
    `models--.../blobs/<hash>` of the same repository. Neither the folders on the way nor the blob
    may be links themselves, so that a received cache cannot lead anywhere else.
    """
    link = link.absolute()
    for snapshots in link.parents:
        if snapshots.name == "snapshots" and _REPOSITORY.fullmatch(snapshots.parent.name):
            return _blob(link, snapshots)
    return None


def _blob(link: Path, snapshots: Path) -> Path | None:
    revision, *_ = link.relative_to(snapshots).parts
    repository = snapshots.parent.resolve()
    folder = link.parent.resolve()
    blob = link.resolve()
    straight = folder == repository / link.parent.relative_to(snapshots.parent)
    own = blob.parent == repository / "blobs" and _BLOB.fullmatch(blob.name)
    return blob if straight and own and _REVISION.fullmatch(revision) else None
