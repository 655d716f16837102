"""A synthetic run and its report."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.reports import build_report

from . import trained
from .synthetic import PARAMETERS, Run, make_run


def report_of(run: Run):
    rng = np.random.Generator(np.random.PCG64(0))
    return build_report(*run.parts, rng, PARAMETERS | trained.PARAMETERS)


@pytest.fixture(scope="session")
def run():
    return make_run()


@pytest.fixture(scope="session")
def report(run):
    return report_of(run)


@pytest.fixture(scope="session")
def reported():
    """From a run to its report."""
    return report_of


@pytest.fixture(scope="session")
def trained_run():
    return trained.make_trained_run()


@pytest.fixture(scope="session")
def trained_report(trained_run):
    return report_of(trained_run)
