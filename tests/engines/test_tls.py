"""Engine `dask` over TLS, with a folder of certificates."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import Engine, Outcome, Spec

distributed = pytest.importorskip("distributed", reason="needs the package distributed")
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture
def certificates(tmp_path) -> Path:
    """One self-signed certificate for all: those who have it trust each other."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(tmp_path / "cert.pem", tmp_path / "ca.pem")
    return tmp_path


def test_tasks_run_over_tls_and_nobody_is_let_in_without(certificates):
    from distributed.security import Security

    names = {kind: str(certificates / f"{kind}.pem") for kind in ("ca", "cert", "key")}
    ends = {f"tls_{role}_{kind}": names[kind]
            for role in ("scheduler", "worker", "client") for kind in ("cert", "key")}  # fmt: skip
    security = Security(require_encryption=True, tls_ca_file=names["ca"], **ends)
    with distributed.LocalCluster(
        n_workers=1, processes=False, dashboard_address=None, security=security, protocol="tls://"
    ) as cluster:
        options = {"address": cluster.scheduler_address, "patience": 5.0}
        assert options["address"].startswith("tls://")
        made = plugins.create(Engine, Spec("dask", {**options, "security": str(certificates)}))
        outcomes = made.map(abs, [-1, -2], timeout=60.0, memory_limit=None)
        assert list(outcomes) == [Outcome(1), Outcome(2)]
        plain = plugins.create(Engine, Spec("dask", options))
        with pytest.raises(ConfigurationError, match="engine dask: expected a scheduler at tls://"):
            list(plain.map(abs, [-1], timeout=60.0, memory_limit=None))
