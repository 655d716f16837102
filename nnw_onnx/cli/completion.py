"""What the Tab key proposes: names of plug-ins, of their options, of evaluations and of layers."""

from __future__ import annotations

from pathlib import Path

import typer

from nnw_onnx.errors import NnwError


def methods(incomplete: str) -> list[str]:
    """Names of methods."""
    return _plugins("methods", incomplete)


def codes(incomplete: str) -> list[str]:
    """Names of error-correcting codes."""
    return _plugins("codes", incomplete)


def modifications(incomplete: str) -> list[str]:
    """Names of Modifications."""
    return _plugins("modifications", incomplete)


def datasets(incomplete: str) -> list[str]:
    """Names of data sets."""
    return _plugins("datasets", incomplete)


def tasks(incomplete: str) -> list[str]:
    """Names of tasks."""
    return _plugins("tasks", incomplete)


def engines(incomplete: str) -> list[str]:
    """Names of engines."""
    return _plugins("engines", incomplete)


def groups(incomplete: str) -> list[str]:
    """What `nnw list` can list."""
    from nnw_onnx import plugins

    return _begun([*plugins.GROUPS, "evaluations", "presets"], incomplete)


def listed(context: typer.Context, incomplete: str) -> list[str]:
    """Names in the group that stands on the command line already."""
    from nnw_onnx import plugins
    from nnw_onnx.runs.evaluation import shipped

    group = str(context.params.get("what"))
    if group == "presets":
        return presets(incomplete)
    if group == "evaluations":
        return _begun([*shipped()], incomplete)
    return _plugins(group, incomplete) if group in plugins.GROUPS else []


def evaluations(incomplete: str) -> list[str]:
    """Evaluations that come with the package, and TOML files."""
    from nnw_onnx.runs.evaluation import shipped

    folder = Path(incomplete).parent
    files = [str(path) for path in sorted(folder.glob("*.toml"))] if folder.is_dir() else []
    return _begun([*shipped(), *files], incomplete)


def presets(incomplete: str) -> list[str]:
    """Presets that come with the package."""
    from nnw_onnx.runs.presets import shipped

    return _begun([*shipped()], incomplete)


def profiles(incomplete: str) -> list[str]:
    """Documents of the standard whose clauses can be asked."""
    from nnw_onnx.reports.conformance import names

    return _begun([*names()], incomplete)


def providers(incomplete: str) -> list[str]:
    """Short names of execution providers."""
    from nnw_onnx.inference.providers import SHORT

    return _begun([*SHORT], incomplete)


def layers(context: typer.Context, incomplete: str) -> list[str]:
    """Layers of the network that stands on the command line already, kernels first."""
    import nnw_onnx as nnw

    # While an option still lacks its value, typer leaves the words before it unread.
    words = map(str, [context.params.get("model"), *context.args])
    model = next((word for word in words if Path(word).is_file()), None)
    if model is None:
        return []
    try:
        network = nnw.open(model)
    except NnwError:
        return []
    ordered = sorted(network.layers, key=lambda layer: layer.role != "kernel")
    return _begun([layer.name for layer in ordered], incomplete)


def options(context: typer.Context, incomplete: str) -> list[str]:
    """Options of the method or Modification that stands on the command line already."""
    from nnw_onnx import plugins
    from nnw_onnx.vocabulary import Method, Modification

    given = context.params
    try:
        found = (
            plugins.load(Modification, str(given["modification"]))
            if "modification" in given
            else plugins.load(Method, str(given.get("method") or "block-spread"))
        )
    except NnwError:
        return []
    return _begun([f"{option.name}=" for option in plugins.options(found)], incomplete)


def _plugins(group: str, incomplete: str) -> list[str]:
    from nnw_onnx import plugins

    return _begun(plugins.names(group), incomplete)


def _begun(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
