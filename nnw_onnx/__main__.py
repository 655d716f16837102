"""`nnw` and `python -m nnw_onnx`: one entry, ready before anything large is imported."""

from __future__ import annotations

import io
import sys

INTERRUPTED = 130


def run() -> int:
    """Run one command and return its exit status, also where the streams are closed."""
    # Python starts without them where their descriptors are closed.
    for name in ("stdout", "stderr"):
        if vars(sys)[name] is None:
            vars(sys)[name] = io.StringIO()
    try:
        from nnw_onnx.cli.main import main

        return main()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(run())
