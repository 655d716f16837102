"""The program of the process in which a class runs.

It loads PyTorch once. Each question is then answered in a fork of it, where there are forks: what a
class leaves behind, in globals, in libraries or in random generators, is gone with its answer.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import IO

import torch

from nnw_onnx.errors import NnwError
from nnw_onnx.inference import frames, limit_memory
from nnw_onnx.inference.isolation import death
from nnw_onnx.vocabulary import Array, Json
from nnw_onnx_torch.reference import classes
from nnw_onnx_torch.reference.answers import Question, WrongAnswerError, answered

_ANSWERED = 86
"""Exit code of a fork that has answered; any other is an end that nobody wanted."""
_MOST = 1 << 40
_POLL_MS = 10


def serve() -> None:
    """Answer one question after another until nobody asks any more."""
    questions, answers = _channels()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # it imports much, once here instead of in every fork
    frames.write(answers, {"kind": "ready"}, {})
    while True:
        try:
            head, arrays = frames.read(questions, _MOST)
        except frames.BrokenFrameError:
            return
        if sys.platform == "win32":
            _answer(head, arrays, answers)
            return
        if not _in_fork(head, arrays, questions, answers):
            return


def _channels() -> tuple[IO[bytes], IO[bytes]]:
    """Where questions come from and answers go; what a class prints goes nowhere."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    return questions, answers


def _in_fork(
    head: dict[str, Json], arrays: dict[str, Array], questions: IO[bytes], answers: IO[bytes]
) -> bool:
    """Answer in a process of its own; False where whoever asked is gone meanwhile."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(questions.fileno())
            _answer(head, arrays, answers)
            code = _ANSWERED
        finally:
            os._exit(code)
    ended = _waited(pid, questions)
    if ended is None:
        os.killpg(0, signal.SIGKILL)  # the fork may hang; it is of the same group
    elif ended != _ANSWERED:
        told: dict[str, Json] = {"kind": "failed", "whose": "class", "member": head.get("what")}
        told["words"] = f"expected an answer, got an end: {death(ended)}"
        frames.write(answers, told, {})
    return ended is not None


def _waited(pid: int, questions: IO[bytes]) -> int | None:
    """Exit code of a fork; None where whoever asks has gone before."""
    asker = select.poll()
    asker.register(questions, 0)  # of a pipe this tells its end, and not that something can be read
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if asker.poll(_POLL_MS):
            return None


def _answer(head: dict[str, Json], arrays: dict[str, Array], answers: IO[bytes]) -> None:
    """Write the frames of one answer; whatever happens is one of them."""
    question = Question(head, arrays, Path(str(head["file"])))
    memory = head.get("memory")
    limit_memory(memory if isinstance(memory, int) else None)
    try:
        told, found = answered(question, lambda epoch: frames.write(answers, *epoch))
        frames.write(answers, {"kind": "done", **told, **question.spent}, found)
    except (WrongAnswerError, NnwError) as error:
        whose = "class" if isinstance(error, WrongAnswerError) else "network"
        _failed(answers, question, whose, str(error))
    except MemoryError:
        _failed(answers, question, "class", "expected an answer, got none: it ran out of memory")
    # An exit of the class would be taken for an answer.
    except BaseException as error:  # noqa: BLE001 - the edge of a process: the asker is told
        words = f"expected an answer, got {classes.told(error, question.path)}"
        _failed(answers, question, "class", words)


def _failed(answers: IO[bytes], question: Question, whose: str, words: str) -> None:
    told: dict[str, Json] = {"member": question.member, "whose": whose, "words": words}
    frames.write(answers, {"kind": "failed", **told}, {})
