"""The pass: an ONNX model in, the same with a watermark out, and the key beside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.passes import Pass
from olive.passes.pass_config import PassConfigParam

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError


class NnwWatermark(Pass):  # type: ignore[misc]  # olive-ai has no types
    """Put a payload into an ONNX model, without training.

    Olive keeps the result of a pass by its options and its model, and does not run it again: then
    no key is written either, and the file of the first run is the one that holds. Its footprints
    and its cache hold the payload, and never the key.
    """

    @classmethod
    def _default_config(cls, accelerator_spec: Any) -> dict[str, Any]:
        told = PassConfigParam
        return {
            "payload": told(type_=str, required=True, description="Text to be put in."),
            "key_out": told(
                type_=str, required=True, description="Key file to write; it must not be there yet."
            ),
            "method": told(type_=str, default_value="block-spread", description="Method."),
            "options": told(type_=dict, default_value=None, description="Options of the method."),
            "code": told(type_=str, default_value=None, description="Error-correcting code."),
            "layer": told(type_=str, default_value=None, description="Layer; chosen if left out."),
            "seed_file": told(
                type_=str, default_value=None, description="Master seed; a secret is drawn if none."
            ),
            "label": told(type_=str, default_value=None, description="Beside seed_file."),
            "record": told(
                type_=bool, default_value=False, description="Name the commitment in the metadata."
            ),
        }

    def _run_for_config(self, model: Any, config: Any, output_model_path: str) -> Any:
        """The handler of the marked model.

        Raises:
            ConfigurationError: the model is no ONNX model, the key file is there, or an option is
                wrong.
            NnwError: what `nnw_onnx.inject` and `save_key` raise.
        """
        _expect_onnx(model)
        _expect_new(Path(config.key_out))
        marked = nnw.inject(
            model.model_path,
            config.payload,
            method=config.method,
            options=config.options,
            code=config.code,
            layer=config.layer,
            secret=_secret(config.seed_file, config.label),
            record=config.record,
        )
        out = Path(resolve_onnx_path(output_model_path, Path(model.model_path).name))
        marked.network.save(out)
        nnw.save_key(marked.claim, config.key_out)
        if len(marked.network.files_at(out)) == 1:
            return ONNXModelHandler(str(out))
        return ONNXModelHandler(str(out.parent), onnx_file_name=out.name)


def _expect_onnx(model: Any) -> None:
    if not isinstance(model, ONNXModelHandler):
        raise ConfigurationError(
            f"NnwWatermark: expected an ONNX model, got {type(model).__name__}; put a pass before "
            "it that converts, such as OnnxConversion"
        )


def _expect_new(key_out: Path) -> None:
    # The model of a key that is written over could never be told again.
    if os.path.lexists(key_out):
        raise ConfigurationError(
            f"key_out: expected a new file, got existing {str(key_out)!r}; keep it with the model "
            "that it was made for, and give another name"
        )


def _secret(seed_file: str | None, label: str | None) -> bytes | None:
    if seed_file is None and label is None:
        return None
    if seed_file is None or label is None:
        raise ConfigurationError(
            "seed_file: expected it with label, got one of them; give both or none"
        )
    return nnw.secret_of(nnw.read_seed(seed_file), label)
