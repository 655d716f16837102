"""`nnw` and `python -m nnw_onnx`: one entry, ready before anything large is imported."""

from __future__ import annotations

import gc
import os
import sys

INTERRUPTED = 130
_THRESHOLDS = 200_000, 5, 2
"""When garbage is looked for: what a command loads stays, and looking takes a tenth of its time."""
_SETTINGS = {
    # OpenBLAS's threads wait so many cycles for work before they sleep, as a power of 2; with its
    # own 28, each takes 40 ms of the processor whenever numpy is imported.
    "OPENBLAS_THREAD_TIMEOUT": "20",
    # They are of use to none of ours, and to look for them reads what every package says of itself.
    "PYDANTIC_DISABLE_PLUGINS": "1",
}
"""Variables of the environment that are set where they are not."""


def run() -> int:
    """Run one command and return its exit status, also where the streams are closed.

    The interpreter's last look for garbage then finds none: it ends with the process anyway.
    """
    _open_streams()
    gc.set_threshold(*_THRESHOLDS)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from nnw_onnx.cli.main import main

        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.freeze()


def _open_streams() -> None:
    """Lead closed standard streams nowhere; a worker process inherits them and needs all three."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        # Python starts without a stream whose descriptor is closed, and the next file to be opened
        # would take its number.
        if vars(sys)[name] is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            os.set_inheritable(descriptor, True)
            vars(sys)[name] = os.fdopen(descriptor, mode, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run())
