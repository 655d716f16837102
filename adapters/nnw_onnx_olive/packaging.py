"""What Olive has to be told so that it knows the pass: it finds none by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnw_onnx.errors import ConfigurationError

_ANY = ["*"]


def package_config() -> dict[str, Any]:
    """Olive's own list of passes with `NnwWatermark` among them, for its `package_config`.

    Olive takes such a list in the place of its own, so that it has to hold both.

    Raises:
        ConfigurationError: olive-ai is not installed.
    """
    try:
        from olive.package_config import OlivePackageConfig
    except ImportError as error:
        raise ConfigurationError(
            "olive: expected the package olive-ai, got none; install it with "
            "pip install 'nnw-onnx[olive]'"
        ) from error
    listed = json.loads(Path(OlivePackageConfig.get_default_config_path()).read_text("utf-8"))
    own = {
        "module_path": "nnw_onnx_olive.watermark.NnwWatermark",
        "supported_providers": _ANY,
        "supported_accelerators": _ANY,
        "supported_precisions": _ANY,
    }
    return {**listed, "passes": {**listed["passes"], "NnwWatermark": own}}
