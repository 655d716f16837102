"""The Controller: starts workflows from descriptors; the interface of MPAI-AIF, Basic profile.

Names of methods are the standard's, as public implementations have them; what the standard only
groups and nobody shows is not here. Where C gives a code and fills a pointer, Python returns the
value and raises `FrameworkError`, whose `code` is the standard's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nnw_onnx.aif.archives import Archive, read_archive
from nnw_onnx.aif.channels import Message
from nnw_onnx.aif.codes import (
    MPAI_AIF_OK,
    MPAI_ERROR_INIT,
    MPAI_ERROR_MODULE_NOT_FOUND,
)
from nnw_onnx.aif.ports import Module
from nnw_onnx.aif.reading import read_workflow
from nnw_onnx.aif.running import Events, Executor, Running
from nnw_onnx.aif.workflows import ALL_MODULES, Workflow
from nnw_onnx.errors import FrameworkError


class Controller:
    """Runs workflows; use it as a context manager, which initializes and destroys it.

    Example:
        with Controller(executor, folder) as controller:
            workflow = controller.MPAI_AIFU_AIW_Start("nir.json")
            controller.MPAI_AIFM_Port_Input_Write("NNW-NIR", "OriginalPayload", message)
            answer = controller.MPAI_AIFM_Port_Output_Read("NNW-NIR", "CountError")
    """

    def __init__(
        self,
        executor: Executor,
        folder: Path | None = None,
        modules: Sequence[Module] = ALL_MODULES,
        events: Events | None = None,
    ) -> None:
        """Nothing is started.

        Args:
            executor: carries modules out, such as `executing.Isolated`.
            folder: where modules write; None for a temporary one.
            modules: all that a descriptor may name.
            events: who is told what happens.
        """
        self._executor, self._given, self._modules = executor, folder, modules
        self._events = events
        self._started: dict[int, Running] = {}
        self._next = 1
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        self.MPAI_AIFU_Controller_Initialize()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.MPAI_AIFU_Controller_Destroy()

    # Called by the Controller, of a Store.

    def MPAI_AIFS_GetAndParseArchive(self, filename: str | Path) -> Archive:  # noqa: N802 - the standard's
        """The workflow and the names of the binaries of an archive; see `archives.read_archive`."""
        return read_archive(Path(filename), self._modules)

    # Called by the User Agent.

    def MPAI_AIFU_Controller_Initialize(self) -> int:  # noqa: N802 - the standard's name
        """Make ready; returns `MPAI_AIF_OK`."""
        if self._folder is not None:
            raise FrameworkError(
                "Controller: expected one that is not initialized yet, got one that is; destroy it "
                "first",
                MPAI_ERROR_INIT,
            )
        if self._given is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="nnw-aif-")
            self._folder = Path(self._temporary.name)
        else:
            self._folder = self._given
        return MPAI_AIF_OK

    def MPAI_AIFU_Controller_Destroy(self) -> int:  # noqa: N802 - the standard's name
        """Stop every workflow, and what runs, at once; returns `MPAI_AIF_OK`."""
        for running in self._started.values():
            running.stop()
        self._executor.stop()
        for running in self._started.values():
            running.join()
        self._started.clear()
        if self._temporary is not None:
            self._temporary.cleanup()
        self._temporary = self._folder = None
        return MPAI_AIF_OK

    def MPAI_AIFU_AIW_Start(self, name: str | Path | Workflow) -> int:  # noqa: N802 - the standard's
        """Start a workflow from the JSON file that describes it; returns its AIW_ID.

        Args:
            name: the file, or a workflow that was read already.
        """
        if self._folder is None:
            raise FrameworkError(
                "Controller: expected one that is initialized, got one that is not; call "
                "MPAI_AIFU_Controller_Initialize",
                MPAI_ERROR_INIT,
            )
        read = name if isinstance(name, Workflow) else read_workflow(Path(name), self._modules)
        number, self._next = self._next, self._next + 1
        folder = self._folder / f"{number}-{read.short}"
        self._started[number] = Running(read, self._executor, folder, self._events)
        return number

    def MPAI_AIFU_AIW_Pause(self, aiw: int) -> int:  # noqa: N802 - the standard's name
        """Begin no further module; what runs is finished. Returns `MPAI_AIF_OK`."""
        self._of(aiw).pause()
        return MPAI_AIF_OK

    def MPAI_AIFU_AIW_Resume(self, aiw: int) -> int:  # noqa: N802 - the standard's name
        """Go on after a pause; returns `MPAI_AIF_OK`."""
        self._of(aiw).resume()
        return MPAI_AIF_OK

    def MPAI_AIFU_AIW_Stop(self, aiw: int) -> int:  # noqa: N802 - the standard's name
        """End a workflow: what runs is finished and lost, and what waits. Returns `MPAI_AIF_OK`."""
        self._of(aiw).stop()
        return MPAI_AIF_OK

    def MPAI_AIFU_AIM_GetStatus(self, aiw: int, name: str = "") -> int:  # noqa: N802 - the standard's
        """`MPAI_AIM_ALIVE` or `MPAI_AIM_DEAD`, of a module or ("") of the workflow itself."""
        return self._of(aiw).status(name)

    # Called by modules, and by a User Agent for the ports of a workflow.

    def MPAI_AIFM_AIM_Start(self, name: str) -> int:  # noqa: N802 - the standard's name
        """Run a module of the workflow that was started last; returns `MPAI_AIF_OK`."""
        self._having(name).set_part(name, "running")
        return MPAI_AIF_OK

    def MPAI_AIFM_AIM_Pause(self, name: str) -> int:  # noqa: N802 - the standard's name
        """Let a module begin nothing; returns `MPAI_AIF_OK`."""
        self._having(name).set_part(name, "paused")
        return MPAI_AIF_OK

    def MPAI_AIFM_AIM_Resume(self, name: str) -> int:  # noqa: N802 - the standard's name
        """Let it go on; returns `MPAI_AIF_OK`."""
        self._having(name).set_part(name, "running")
        return MPAI_AIF_OK

    def MPAI_AIFM_AIM_Stop(self, name: str) -> int:  # noqa: N802 - the standard's name
        """End a module alone; returns `MPAI_AIF_OK`."""
        self._having(name).set_part(name, "stopped")
        return MPAI_AIF_OK

    def MPAI_AIFM_Port_Input_Write(self, name: str, port: str, message: Message) -> int:  # noqa: N802 - the standard's
        """Write a message to an input of a module or workflow, without waiting.

        Raises:
            FrameworkError: it is of another type, there is no room, or no such port.
        """
        self._having(name).write(name, port, message)
        return MPAI_AIF_OK

    def MPAI_AIFM_Port_Output_Read(  # noqa: N802 - the standard's name
        self, name: str, port: str, timeout: float | None = None
    ) -> Message:
        """The oldest message at an output of a workflow, for which is waited.

        Args:
            name: of the workflow.
            port: name of the output.
            timeout: seconds; None for as long as it takes.
        """
        return self._having(name).read(name, port, timeout)

    def MPAI_AIFM_Port_Reset(self, name: str, port: str) -> int:  # noqa: N802 - the standard's name
        """Forget the messages that wait at a port; returns `MPAI_AIF_OK`."""
        self._having(name).reset(name, port)
        return MPAI_AIF_OK

    def MPAI_AIFM_Port_CountPendingMessages(self, name: str, port: str) -> int:  # noqa: N802 - the standard's
        """How many messages wait at a port."""
        return self._having(name).count(name, port)

    def MPAI_AIFM_Port_Probe(self, name: str, port: str) -> bool:  # noqa: N802 - the standard's name
        """Whether a message waits at a port."""
        return bool(self._having(name).count(name, port))

    def _of(self, aiw: int) -> Running:
        if aiw not in self._started:
            raise FrameworkError(
                f"AIW_ID: expected that of a workflow that was started, got {aiw}; give what "
                "MPAI_AIFU_AIW_Start returned",
                MPAI_ERROR_MODULE_NOT_FOUND,
            )
        return self._started[aiw]

    def _having(self, name: str) -> Running:
        """The newest workflow of this name, or with a module of this name."""
        for running in reversed(self._started.values()):
            own = running.workflow
            if name in (own.header, own.short, *(part.name for part in own.parts)):
                return running
        raise FrameworkError(
            f"{name}: expected a workflow or module that was started, got none of this name; "
            "correct it",
            MPAI_ERROR_MODULE_NOT_FOUND,
        )
