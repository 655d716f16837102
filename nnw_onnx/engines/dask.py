"""Engine `dask`: tasks on the workers of a cluster of dask.distributed that is already there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Gt

from nnw_onnx.engines import _cluster, _worker
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.plugins import option

if TYPE_CHECKING:
    from distributed import Client

_WAIT = 1.0


@dataclass(frozen=True, kw_only=True)
class Dask(_cluster.ClusterEngine):
    """Tasks on the workers of a Dask cluster; see `_cluster.ClusterEngine`."""

    name = "dask"
    summary = "tasks on the workers of a cluster of dask.distributed (dask://HOST:PORT)"

    address: str = option(help="of the scheduler: dask://HOST:PORT, tcp://... or tls://...")
    security: Path | None = option(
        None, help="folder with ca.pem, cert.pem and key.pem for tls://; else Dask's own settings"
    )
    patience: Annotated[float, Gt(0)] = option(
        30.0, help="seconds to wait for the scheduler and a first worker"
    )

    @contextlib.contextmanager
    def cluster(self, gpu: bool) -> Iterator[_cluster.Cluster]:
        """The cluster at the address."""
        with self._client() as client:
            found = _OnDask(client, {"GPU": 1} if gpu else {})
            self._expect_workers(found)
            yield found

    @contextlib.contextmanager
    def _client(self) -> Iterator[Client]:
        try:
            from distributed import Client
        except ImportError as error:
            raise ConfigurationError(
                "engine dask: expected the package distributed, got none; run "
                "pip install 'nnw-onnx[dask]'"
            ) from error
        try:
            client = Client(
                self._place, timeout=self.patience, security=self._security(), set_as_default=False
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            words = " ".join(str(error).split())[:200]
            raise ConfigurationError(
                f"engine dask: expected a scheduler at {self.address}, got: {words}; start one "
                "with 'dask scheduler', or use another engine, which goes on with the same run"
            ) from error
        with client:
            yield client

    @property
    def _place(self) -> str:
        """The scheduler as Dask calls it."""
        return self.address.replace("dask://", "tcp://", 1)

    def _security(self) -> Any:
        if self.security is None:
            return None
        from distributed.security import Security

        return Security(
            require_encryption=True,
            tls_ca_file=str(self.security / "ca.pem"),
            tls_client_cert=str(self.security / "cert.pem"),
            tls_client_key=str(self.security / "key.pem"),
        )

    def _expect_workers(self, cluster: _OnDask) -> None:
        if not cluster.wait_for_one(self.patience):
            what, options = (
                (" with a GPU", "--resources 'GPU=1' ") if cluster.resources else ("", "")
            )
            raise ConfigurationError(
                f"engine dask: expected a worker{what} at {self.address}, got none; start one "
                f"with 'dask worker {options}{self._place}'"
            )


class _OnDask:
    """See `_cluster.Cluster`; a handle is a Future."""

    def __init__(self, client: Client, resources: dict[str, float]) -> None:
        self.client, self.resources = client, resources

    def at_once(self) -> int:
        told = self.client.scheduler_info(n_workers=-1)["workers"].values()
        if self.resources:
            return int(sum(worker.get("resources", {}).get("GPU", 0) for worker in told))
        return int(sum(worker["nthreads"] for worker in told))

    def wait_for_one(self, patience: float) -> bool:
        """Whether there is a worker before long."""
        with contextlib.suppress(TimeoutError):
            self.client.wait_for_workers(1, timeout=patience)
        return self.at_once() > 0

    def submit(self, task: _worker.Task) -> Any:
        return self.client.submit(_carry_out, task, pure=False, resources=self.resources or None)

    def done(self, handles: Iterable[Any]) -> list[Any]:
        from distributed import CancelledError, wait

        waiting = list(handles)
        try:
            with self.client.as_current():
                return list(wait(waiting, timeout=_WAIT, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            return []
        except CancelledError as error:
            raise _lost(error) from error

    def answer(self, handle: Any) -> _worker.Answer:
        from distributed import CancelledError, KilledWorker

        try:
            answer: _worker.Answer = handle.result()
        except (CancelledError, KilledWorker, OSError) as error:
            raise _lost(error) from error
        except ModuleNotFoundError as error:
            raise _not_installed(error) from error
        return answer

    def at(self, where: str, function: Callable[..., Any], *args: object) -> Any:
        try:
            return self.client.run(function, *args, workers=[where])[where]
        except (OSError, KeyError, ValueError) as error:
            raise _cluster.LostError(where) from error

    def cancel(self, handles: Iterable[Any]) -> None:
        if waiting := list(handles):
            with contextlib.suppress(OSError, RuntimeError):
                self.client.cancel(waiting, force=True)


def _carry_out(task: _worker.Task) -> _worker.Answer:
    from distributed import get_worker

    return _worker.carry_out(task, get_worker().address)


def _lost(error: BaseException) -> RunError:
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return RunError(
        f"engine dask: expected the cluster to finish every task, got: {words}; start the run "
        "again, with this or another engine, which resumes it"
    )


def _not_installed(error: ModuleNotFoundError) -> ConfigurationError:
    return ConfigurationError(
        f"engine dask: expected workers with nnw-onnx installed, got: {error}; install the same "
        "version on every host"
    )
