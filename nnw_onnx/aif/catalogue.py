"""Finding what is described: by name, in a JSON file, in an archive."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from nnw_onnx.aif.archives import read_archive
from nnw_onnx.aif.codes import MPAI_ERROR_MODULE_NOT_FOUND
from nnw_onnx.aif.descriptors import Form, descriptor
from nnw_onnx.aif.ports import Module
from nnw_onnx.aif.reading import read_workflow, workflow_of
from nnw_onnx.aif.workflows import ALL_MODULES, BY_FORM, Workflow
from nnw_onnx.errors import FrameworkError
from nnw_onnx.kit.sources import is_archive
from nnw_onnx.plugins import closest

Named = TypeVar("Named", Workflow, Workflow | Module)


def open_workflow(name: str) -> Workflow:
    """The workflow of this name, of a descriptor in a .json file, or of an archive."""
    path = Path(name)
    if path.suffix == ".json":
        return read_workflow(path)
    if is_archive(path):
        return read_archive(path).workflow
    # From its JSON as everything else, so that what is described is what is started.
    return workflow_of(descriptor(named(BY_FORM["v3"], name)))


def described(name: str, form: Form) -> Workflow | Module:
    """The workflow or module of this name, as a form describes it."""
    return named(listed(form), name)


def listed(form: Form) -> list[Workflow | Module]:
    """Every workflow, then every module."""
    return [*BY_FORM[form], *ALL_MODULES]


def named(things: Iterable[Named], name: str) -> Named:
    """The thing of this name, such as NNW-NIR, NIR or NNW-NIR-V2.0.

    Raises:
        FrameworkError: there is none.
    """
    known = {alias: one for one in things for alias in (one.acronym, one.header, one.short)}
    found = known.get(name.upper())
    if found is None:
        shorts = sorted({one.short for one in known.values()})
        raise FrameworkError(
            f"{name}: expected one of {', '.join(shorts)}, a .json file or an archive, got another "
            f"name{closest(name, shorts)}; correct it",
            MPAI_ERROR_MODULE_NOT_FOUND,
        )
    return found
