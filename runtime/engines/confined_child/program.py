"""The program of the confined process: opens an artifact with an engine, and obeys messages (messages.py).

It has no rights but to read the artifact, and Python's own files. Its memory is limited to half of the machine's, and
MOST_MEMORY at most; the address space of its threads comes on top. Time is limited by the program that started it
(engine.py). Ctrl-C and a stopped service end that program, and the end of the pipe then ends this one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

from runtime import native
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine
from runtime.core.engines.available import load_engine_class
from runtime.core.engines.buffers import Buffers
from runtime.engines.confined_child.memory import CallArrays, SharedMemory
from runtime.engines.confined_child.messages import DONE, DROP, MESSAGE, NEW, PULL, PUSH, RUN
from runtime.formats.child.children import limit_resources
from runtime.formats.child.records import write_error, write_record

MOST_MEMORY = 8 << 30  # bytes; 64 rows of the paper's largest network take 0.7 GiB in the event engine
THREAD_MEMORY = 144 << 20  # bytes of address space: a stack, and what malloc reserves


def obey(engine: Engine, memory: SharedMemory, control: int) -> None:
    """Obey the messages that come through the pipe `control`, until it is closed."""
    sessions: dict[int, tuple[Buffers, CallArrays]] = {}
    while len(message := os.read(control, MESSAGE.size)) == MESSAGE.size:
        operation, rates, number, count = MESSAGE.unpack(message)
        if operation == DROP:
            sessions.pop(number, None)
            continue
        try:
            if operation == NEW:
                buffers = engine.buffers(count, rates)
                sessions[number] = buffers, memory.share_arrays(buffers, buffers.membranes())
            else:
                OPERATIONS[operation](*sessions[number], count)
            write_record(DONE)
        except Exception as error:
            refuse(error)


def run(buffers: Buffers, shared: CallArrays, count: int) -> None:
    """Run `count` steps of a session on the shared arrays."""
    if count == 1:
        buffers.x[...] = shared.x[0]
        buffers.run()
        y, rates = buffers.y[None], buffers.rates
    else:
        y, rates = buffers.run_steps(shared.x[:count])
    shared.y[:count] = y
    for array, values in zip(shared.rates, rates.values(), strict=True):
        array[:count] = values.reshape(count, -1)


def pull(buffers: Buffers, shared: CallArrays, _: int) -> None:
    """Copy the membranes of a session to the shared arrays."""
    for array, v in zip(shared.v, buffers.membranes(), strict=True):
        array[...] = v


def push(buffers: Buffers, shared: CallArrays, _: int) -> None:
    """Copy the shared arrays to the membranes of a session."""
    for array, v in zip(shared.v, buffers.membranes(), strict=True):
        v[...] = array


OPERATIONS = {RUN: run, PULL: pull, PUSH: push}


def refuse(error: Exception) -> None:
    """Answer with the reason of an error, in one line, without the path: the program that asked puts it before the reason."""
    text = "it asks for too much memory" if isinstance(error, MemoryError) else " ".join(str(error).split())
    write_error(text.removeprefix(f"{PATH}: ") if isinstance(error, PlifError) else f"it cannot be run ({text})")


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # no text of a library comes between the answers; 2 is /dev/null
    sys.stdout = open(answers, "w")  # noqa: SIM115  until the process ends
    memory, control = SharedMemory(int(sys.argv[2])), int(sys.argv[3])
    request = json.loads(os.pread(memory.descriptor, os.fstat(memory.descriptor).st_size, 0))
    PATH, options = Path(request["path"]), EngineOptions(**request["options"])
    engine_class = load_engine_class(request["engine"])
    threads = options.threads or native.count_cores()
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit_resources(resource.RLIM_INFINITY, min(MOST_MEMORY, machine // 2) + threads * THREAD_MEMORY)
    try:
        engine = engine_class(PATH, request["card"], options)
    except Exception as error:
        refuse(error)
    else:
        write_record(DONE)
        obey(engine, memory, control)
