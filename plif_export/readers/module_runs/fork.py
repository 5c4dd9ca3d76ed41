"""A call in a fork of this process: what it changes ends with it, and a crash is one line."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

FAILED = b"!"  # the first byte of an answer that is an error
DONE = b"="


class ForkError(Exception):
    """The error of a call in a forked process: the first line of its own error, or how the process ended."""


def can_fork() -> bool:
    """Return whether a fork of this process can run PyTorch: no driver of a GPU is open in it."""
    return hasattr(os, "fork") and not torch.cuda.is_initialized()


def fork_call(call: Callable[[], bytes]) -> bytes:
    """Run a function in a fork of this process, silently and on one thread; return the bytes that it returned.

    Raises ForkError if it raises an error, or if its process ends.
    """
    receive, send = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, of which the child uses none
        child = os.fork()
    if not child:
        _answer(call, receive, send)
    os.close(send)
    try:
        with os.fdopen(receive, "rb") as pipe:
            answer = pipe.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not answer:
        raise ForkError(f"its process ended: {signal.Signals(-ended).name if ended < 0 else f'exit code {ended}'}")
    if answer[:1] == FAILED:
        raise ForkError(answer[1:].decode())
    return answer[1:]


def fork_tensors(call: Callable[[], Iterable[Tensor]]) -> list[Tensor]:
    """Run a function in a fork of this process; return the tensors [...] on the CPU that it returned.

    Raises ForkError as fork_call does.
    """

    def write() -> bytes:
        answer = io.BytesIO()
        for tensor in call():
            np.lib.format.write_array(answer, np.ascontiguousarray(tensor.numpy()), allow_pickle=False)
        return answer.getvalue()

    data = fork_call(write)
    answer, tensors = io.BytesIO(data), list[Tensor]()
    while answer.tell() < len(data):
        tensors.append(torch.from_numpy(np.lib.format.read_array(answer, allow_pickle=False)))
    return tensors


def _answer(call: Callable[[], bytes], receive: int, send: int) -> None:
    """Run a function in a forked process, write its result into a pipe, and end the process."""
    try:
        gc.freeze()  # a collection would write to every object, and so copy all memory of this process
        os.close(receive)
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        torch.set_num_threads(1)
        try:
            message = DONE + call()
        except Exception as error:  # whatever the user's own Python raises
            message = FAILED + first_line(error).encode()
        view = memoryview(message)
        while view:
            view = view[os.write(send, view) :]
    finally:
        os._exit(0)


def first_line(error: Exception) -> str:
    """Return the message of an error in one line, or its class if it has none."""
    return " ".join(str(error).split())[:160] or type(error).__name__
