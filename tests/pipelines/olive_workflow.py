"""Optimise, watermark and quantize an exported network in one workflow of Olive; verify it."""

from olive.workflows import run

import nnw_onnx as nnw
import nnw_onnx_olive

workflow = {
    "input_model": {"type": "OnnxModel", "model_path": "model.onnx"},
    "passes": {
        "optimise": {"type": "OnnxPeepholeOptimizer"},
        "mark": {
            "type": "NnwWatermark",
            "payload": "mine, 2026",
            "key_out": "key.npz",
            "record": True,
        },
        "quantize": {"type": "OnnxDynamicQuantization"},
    },
    "output_dir": "optimised",
    "cache_dir": "cache",
}
made = run(workflow, package_config=nnw_onnx_olive.package_config())

released = nnw.open(made.get_best_candidate().model_path)
print(nnw.verify(released, nnw.load_key("key.npz")))
released.save("released.onnx")
