"""`python -m nnw_onnx`: the same as the console script `nnw`."""

import sys

from nnw_onnx.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
