"""Whose fault it is that something failed: the trial's, which is a record, or the machine's.

A full disk, a folder that is gone or data that were taken away say nothing of a watermark. They
stop the run, so that it goes on once they are mended.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnw_onnx.errors import DatasetError, NnwError, UnavailableError

if TYPE_CHECKING:
    from nnw_onnx.runs.context import Context

CURE = "mend that and give the same command again, which goes on; what is done is kept"
_OF_THE_MACHINE = frozenset(
    vars(errno)[name]
    for name in (
        "ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ENODEV",
        "ENXIO", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH",
    )
    if name in vars(errno)
)  # fmt: skip
"""No rights are among them: code of a plug-in may ask for what it may not have."""


def expect_available(context: Context, error: NnwError) -> None:
    """Raise `UnavailableError` where an error of a task is none of its own.

    Args:
        context: of the run; what it reads must still be there.
        error: what a task ended with; what it was raised from counts.
    """
    if isinstance(error, UnavailableError):
        raise error
    if (reason := _reason_in(error, data=isinstance(error, DatasetError))) is not None:
        raise _stopped(reason) from error
    files = [Path(name) for name, _ in context.sources.files]
    for path in (context.folder, *context.networks, *files):
        if not path.exists():
            raise unavailable(path.name, "what the run reads to stay", "none any more") from error


@contextmanager
def stopping(folder: Path) -> Iterator[None]:
    """Tell in one line that the files of a run cannot be read or written any more.

    Raises:
        UnavailableError: instead of `OSError`.
    """
    try:
        yield
    except OSError as error:
        what = "a folder that can be read and written"
        raise unavailable(str(folder), what, _words(error)) from error


def unavailable(place: str, expected: str, got: str) -> UnavailableError:
    """The error that stops a run, with what to do."""
    return UnavailableError(f"{place}: expected {expected}, got: {got}; {CURE}")


def of_the_machine(error: OSError) -> UnavailableError:
    """The error that stops a run because of what the system said."""
    return _stopped(_words(error))


def _stopped(reason: str) -> UnavailableError:
    return unavailable("run", "a machine that goes on working", reason)


def _reason_in(error: BaseException, *, data: bool) -> str | None:
    """What the system said, if an error came of that; of data that were there, whatever it says."""
    cause: BaseException | None = error
    while cause is not None:
        # One without a number is a file that is no image, say: it was so from the start.
        if isinstance(cause, OSError) and cause.errno and (data or cause.errno in _OF_THE_MACHINE):
            return _words(cause)
        cause = cause.__cause__ or cause.__context__
    return None


def _words(error: OSError) -> str:
    where = f" ({Path(str(error.filename)).name})" if error.filename else ""
    return f"{error.strerror or error}{where}"
