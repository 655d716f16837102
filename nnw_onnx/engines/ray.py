"""Engine `ray`: tasks on the workers of a cluster of Ray, or on a local one that it starts."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nnw_onnx.engines import _cluster, _worker
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.plugins import option

_WAIT = 1.0
_CONNECT = 30.0
_RETRIES = 8
"""Times that Ray gives a task to another worker after the one that had it was lost."""


@dataclass(frozen=True, kw_only=True)
class Ray(_cluster.ClusterEngine):
    """Tasks on the workers of a Ray cluster; see `_cluster.ClusterEngine`."""

    name = "ray"
    summary = "tasks on the workers of a Ray cluster (ray://HOST:PORT), or of a local one"

    address: str = option(
        "", help='of the cluster: ray://HOST:PORT, HOST:PORT or "auto"; else one that is there'
    )

    @contextlib.contextmanager
    def cluster(self, gpu: bool) -> Iterator[_cluster.Cluster]:
        """The cluster at the address, the one that is there, or a local one."""
        found = _OnRay(self._connected(), gpu)
        if not found.at_once():
            raise ConfigurationError(
                f"engine ray: expected a {'GPU' if gpu else 'CPU'} among the resources of the "
                f"cluster{self._at}, got none; add a node with "
                f"'ray start --num-{'gpus' if gpu else 'cpus'}=1'"
            )
        yield found

    @property
    def _at(self) -> str:
        return f" at {self.address}" if self.address else ""

    def _connected(self) -> Any:
        """Ray, connected until this process ends: to start a cluster takes seconds."""
        # Ray would tell its makers of every cluster that it starts.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise ConfigurationError(
                "engine ray: expected the package ray, got none; run pip install 'nnw-onnx[ray]'"
            ) from error
        try:
            self._expect_somebody()
            if ray.is_initialized():
                return ray
            ray.init(
                address=self.address or None,
                include_dashboard=None if self.address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError, RuntimeError, ImportError, SystemExit) as error:
            words = " ".join(str(error).split())[:200]
            raise ConfigurationError(
                f"engine ray: expected a cluster{self._at}, got: {words}; start one with "
                "'ray start --head', or use another engine, which goes on with the same run"
            ) from error
        return ray

    def _expect_somebody(self) -> None:
        """Raise `OSError` where nobody listens; Ray takes minutes for it, and ends the process."""
        place = urlsplit(self.address if "//" in self.address else f"//{self.address}")
        if place.hostname is not None and place.port is not None:
            socket.create_connection((place.hostname, place.port), _CONNECT).close()


class _OnRay:
    """See `_cluster.Cluster`; a handle is an ObjectRef, a worker is known by its node."""

    def __init__(self, ray: Any, gpu: bool) -> None:
        self.ray, self.gpu = ray, gpu
        needs = {"num_cpus": 1, "num_gpus": 1 if gpu else 0}
        self._carry_out = ray.remote(_carry_out).options(max_retries=_RETRIES, **needs)
        self._at = ray.remote(num_cpus=0, max_retries=0)(_call)

    def at_once(self) -> int:
        told = self.ray.cluster_resources()
        return int(min(told.get("CPU", 0), told.get("GPU", 0)) if self.gpu else told.get("CPU", 0))

    def submit(self, task: _worker.Task) -> Any:
        return self._carry_out.remote(task)

    def done(self, handles: Iterable[Any]) -> list[Any]:
        found, _ = self.ray.wait(list(handles), num_returns=1, timeout=_WAIT)
        return list(found)

    def answer(self, handle: Any) -> _worker.Answer:
        try:
            answer: _worker.Answer = self.ray.get(handle)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ModuleNotFoundError):
                raise ConfigurationError(
                    f"engine ray: expected workers with nnw-onnx installed, got: {error.cause}; "
                    "install the same version on every host"
                ) from error
            raise error.cause from error
        except (self.ray.exceptions.RayError, OSError) as error:
            words = " ".join(str(error).split())[:200] or type(error).__name__
            raise RunError(
                f"engine ray: expected the cluster to finish every task, got: {words}; start the "
                "run again, with this or another engine, which resumes it"
            ) from error
        return answer

    def at(self, where: str, function: Callable[..., Any], *args: object) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_node = NodeAffinitySchedulingStrategy(node_id=where, soft=False)
        try:
            ref = self._at.options(scheduling_strategy=on_node).remote(function, args)
            return self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self.ray.exceptions.RayError as error:
            raise _cluster.LostError(where) from error

    def cancel(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            with contextlib.suppress(self.ray.exceptions.RayError, OSError, ValueError):
                self.ray.cancel(handle, force=False)


def _carry_out(task: _worker.Task) -> _worker.Answer:
    import ray

    return _worker.carry_out(task, ray.get_runtime_context().get_node_id())


def _call(function: Callable[..., Any], args: tuple[object, ...]) -> Any:
    return function(*args)
