"""Messages and the ports that hold them, first in, first out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from nnw_onnx.aif.codes import MPAI_ERROR_TOO_MANY_PENDING_MESSAGES, MPAI_ERROR_WRITE
from nnw_onnx.aif.ports import Port
from nnw_onnx.aif.types import Data
from nnw_onnx.errors import FrameworkError

DEPTH = 16
"""Messages that wait in a port at most, where its descriptor does not say."""


@dataclass(frozen=True)
class Message:
    """A data object on its way: a file by its name, and never its content."""

    data: Data


class Queue:
    """The messages at one port. It is not locked: who shares it holds the lock of its workflow."""

    def __init__(self, owner: str, port: Port) -> None:
        self.port, self._owner = port, owner
        self._waiting: deque[Message] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no further message has room."""
        return len(self._waiting) >= (self.port.depth or DEPTH)

    def put(self, message: Message) -> None:
        """Append a message.

        Raises:
            FrameworkError: it is of another type, or there is no room for it.
        """
        if type(message.data) is not self.port.kind:
            raise FrameworkError(
                f"{self._owner}.{self.port.name}: expected {self.port.kind.header()}, got "
                f"{message.data.header()}; give a data object of that type",
                MPAI_ERROR_WRITE,
            )
        if self.full:
            raise FrameworkError(
                f"{self._owner}.{self.port.name}: expected room for a message, got {len(self)} "
                "that wait; read or wait before you write more",
                MPAI_ERROR_TOO_MANY_PENDING_MESSAGES,
            )
        self._waiting.append(message)

    def take(self) -> Message:
        """The oldest message, which leaves; there is one."""
        return self._waiting.popleft()

    def clear(self) -> None:
        """Forget all messages."""
        self._waiting.clear()
