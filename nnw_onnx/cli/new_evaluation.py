"""The text of a new evaluation: TOML with a reason beside every choice."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnw_onnx import plugins
from nnw_onnx.text import harmless
from nnw_onnx.vocabulary import Dataset, Method

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork

IMAGE_CHANNELS = (1, 3)

TEMPLATE = """\
# An evaluation for nnw-onnx: read it, change it, then run: nnw evaluate FILE
# 'nnw list' shows every method, Modification and data set with its options.
title = "My networks"

# M networks for the same task, before any watermark; the standard's limits want M >= 2.
networks = [
{networks}
]
# D payloads are injected into each, so there are M x D watermarked networks.
payloads = 5
# Bits of a payload; each size is reported as a technology of its own.
payload_sizes = [64]
# How often each random Modification is drawn anew.
repetitions = 1
# Everything random follows from this seed.
seed = 0
# Probability of "detected" for a network without the watermark, for one key.
false_positive_rate = 1e-6
# A loss of the headline measure up to this much counts as negligible; by default as the task says.
# margin = 0.005
# Modifications that many ask for together, behind those below; see 'nnw list presets'. What these
# networks and data cannot give is left out, and the report says why.
presets = [{presets}]

[dataset]
name = {dataset}
{dataset_options}
split = "test"

# What the networks take and answer:
{inputs}
{preprocessing}
# What quality means; see 'nnw list tasks'.
[task]
name = {task}

[[methods]]
name = "block-spread"
{block_spread}
#
# [methods.code]           # an error-correcting code between payload and symbols
# name = "repetition"

[[methods]]
name = "uchida"
{uchida}

# Modifications 0 to 3 at five Intensities each, inside and outside the standard's ranges.
# An Intensity may have its unit: "50%", "4 bits".
# layers: "all" kernels, the "carrier" of the watermark, or a list of names with wildcards.
# Layers that can be modified: {layers}
[[modifications]]
name = "gaussian-noise"   # S, the standard: 0.1 to 0.3
intensities = [0.1, 0.2, 0.3, 0.5, 1.0]
layers = "all"

[[modifications]]
name = "l1-pruning"       # P %, the standard: 1 to 90
intensities = [10, 50, 70, 90, 95]

[[modifications]]
name = "l1-pruning"       # one layer, the standard: 1 to 99.99
intensities = [50, 90, 95, 99, 99.9]
layers = "carrier"

[[modifications]]
name = "random-pruning"   # R %, the standard: 1 to 10
intensities = [1, 5, 10, 25, 50]

[[modifications]]
name = "quantizing"       # B bits, the standard: 32 to 2
intensities = [16, 8, 4, 3, 2]

# What an attacker does one after the other; of the steps one is swept.
# [[modifications]]
# label = "Pruned, then quantized"
# steps = [{{name = "l1-pruning", intensity = "50%"}}, {{name = "quantizing", intensities = [4]}}]
#
# What several recipients do together: the mean of so many copies, each with its own payload.
# [[modifications]]
# name = "averaging"
# copies = 2
#
# Keys that have nothing to do with a network, and must not be found in it.
# [control]
# wrong_keys = 1000

# Modifications 4 to 6, and watermarks put in by training, need a trainer: PyTorch.
# In a clone of nnw-onnx: pip install '.[torch]'. Then take the marks of the comments away.
#
# [training]                # what a training here and in [methods.training] has in common
# initial_epochs = 24       # of the networks' own training; fine-tuning relates to it
# batch_size = 128
# learning_rate = 0.01      # the largest one of the schedule; it decides what survives
# schedule = "linear"       # "constant", "linear", "cosine" or "triangular"
# augmentation = "crop-flip"
#
# [[methods]]               # triggers, verified from what the network answers
# name = "adi"
# payload_sizes = [100]
# [methods.training]
# epochs = 4
#
# [[modifications]]
# name = "fine-tuning"      # E / epochs of the initial training, the standard: up to 0.5
# intensities = [0.1, 0.5]
#
# [[modifications]]
# name = "distillation"     # E epochs of a fresh student, the standard: 1 to 100
# intensities = [10]
#
# [[modifications]]
# name = "overwriting"      # W further watermarks, the standard: 2 to 4
# intensities = [2, 4]

[session]
providers = ["CPUExecutionProvider"]
threads = 1
batch_size = 256
timeout = 600.0           # seconds for one trial; a network that hangs costs that trial only

[cost]
cells = 2                 # watermarked networks timed for each method; leave out for all M x D
repetitions = 30          # timed runs of an inference

[engine]
name = "serial"           # or "processes": one process a core
"""

PREPROCESSING = """
# How an image becomes an input; what is wrong here shows as a quality at chance.
[dataset.preprocessing]
# scale = 0.00392156862745098  # by default 1/255 for bytes, 1 for everything else
# mean = [0.485, 0.456, 0.406] # subtracted after scaling, one number a channel
# std = [0.229, 0.224, 0.225]  # divisor after that
# layout = "NCHW"              # by default the one that fits the input
# channels = "BGR"             # by default as the images have them
# resize = [32, 32]            # height, width
"""

MOST_LAYERS = 8


def evaluation_text(
    networks: Sequence[OnnxNetwork],
    dataset: type[Dataset],
    task: str,
    data: Path | None,
    folder: Path,
    presets: Sequence[str] = (),
) -> str:
    """A commented evaluation that `read_evaluation` accepts.

    Args:
        networks: the unwatermarked networks, at least one.
        dataset: class of the data set plug-in.
        task: name of the task.
        data: where the data set lies; "data" beside the evaluation if None.
        folder: folder of the evaluation, which its paths are relative to.
        presets: names of shipped ones, or files as seen from the folder.
    """
    first = networks[0]
    kernels = [layer.name for layer in first.layers if layer.role == "kernel" and layer.replaceable]
    return TEMPLATE.format(
        networks="\n".join(f"  {_quoted(relative_path(n.path, folder))}," for n in networks),
        dataset=_quoted(dataset.name),
        dataset_options=_dataset_options(dataset, data, folder, _image_size(first)),
        inputs="\n".join(_input_lines(first)),
        preprocessing=PREPROCESSING if _is_preprocessed(dataset) else "",
        task=_quoted(task),
        presets=", ".join(map(_quoted, presets)),
        block_spread=_defaults("block-spread"),
        uchida=_defaults("uchida"),
        layers=_shortened(kernels),
    )


def _is_preprocessed(dataset: type[Dataset]) -> bool:
    return any(option.name == "preprocessing" for option in plugins.options(dataset))


def _dataset_options(
    dataset: type[Dataset], data: Path | None, folder: Path, size: tuple[int, int] | None
) -> str:
    """Path and size where the data set takes them; what its other options mean, as comments."""
    lines, paths = [], plugins.path_options(dataset)[:1]
    for option in plugins.options(dataset):
        if option.name in paths:
            given = "data" if data is None else relative_path(data, folder)
            lines.append(f"{option.name} = {_quoted(given)}")
        elif option.name == "size" and size is not None:
            lines.append(f"size = {list(size)}  # height, width of the network's input")
        elif option.required and option.type == "list of texts":
            lines.append(f'{option.name} = ["..."]  # {harmless(option.help)}')
        elif option.name != "preprocessing":
            lines.append(f"# {option.name}: {harmless(option.help)}")
    return "\n".join(lines)


def _defaults(method: str) -> str:
    found = plugins.options(plugins.load(Method, method))
    return "\n".join(
        f"# {o.name} = {json.dumps(o.default)}  # {o.help}"
        if o.default is not None
        else f"# {o.name}: {o.help}"
        for o in found
    )


def _input_lines(network: OnnxNetwork) -> list[str]:
    return [
        harmless(f"# {kind} {tensor.name}: {tensor.dtype} ({', '.join(map(_size, tensor.shape))})")
        for kind, tensors in (("input", network.inputs), ("output", network.outputs))
        for tensor in tensors
    ]


def _image_size(network: OnnxNetwork) -> tuple[int, int] | None:
    """Height and width that the first input fixes, where it looks like an image."""
    shape: Sequence[int | str | None] = network.inputs[0].shape[1:] if network.inputs else []
    if len(shape) != 3:
        return None
    height, width = shape[1:] if shape[0] in IMAGE_CHANNELS else shape[:2]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _size(size: int | str | None) -> str:
    return "?" if size is None else str(size)


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(harmless(name) for name in names[:MOST_LAYERS]) or "none"
    return shown + (f" and {len(names) - MOST_LAYERS} more" if len(names) > MOST_LAYERS else "")


def relative_path(path: Path, folder: Path) -> str:
    """The path as seen from the folder; absolute where they share no drive."""
    real = path.parent.resolve() / path.name  # a link among links to blobs stays one
    try:
        return Path(os.path.relpath(real, folder.resolve())).as_posix()
    except ValueError:
        return real.as_posix()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
