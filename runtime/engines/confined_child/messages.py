"""The messages between a program and the confined process that runs its engine, in addition to the shared memory.

The process reads messages of one size from a pipe: the operation, whether rates are counted (NEW), the number of the
session, and a count. It answers each but DROP with a record (runtime/formats/child/records.py): DONE, or E with the reason
in one line. It answers once before the first message, when it has opened the artifact.
"""

from __future__ import annotations

import struct

MESSAGE = struct.Struct("=c?xxIQ")
NEW = b"N"  # make a session of `count` rows
RUN = b"R"  # run `count` steps: x -> y, rates
PULL = b"G"  # copy the membranes to the array v
PUSH = b"P"  # copy the array v to the membranes
DROP = b"D"  # forget the session
DONE = b"Z"
EMPTY = (DONE, b"")  # the answer to a message that was obeyed
