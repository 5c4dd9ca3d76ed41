"""The receiving socket of a UDP source, and its buffer: the only queue before decoding."""

from __future__ import annotations

import errno
import socket
import sys

from runtime.core.base.errors import PlifError

WANTED_BUFFER = 8 << 20
RXQ_OVFL = 40  # socket.SO_RXQ_OVFL of Linux, which Python's module does not name
RCVBUFFORCE = 33


def bind_socket(name: str, family: socket.AddressFamily, address: tuple[object, ...]) -> tuple[socket.socket, int]:
    """Bind a socket that receives datagrams without waiting; return it and the size of its buffer in bytes."""
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        buffer_bytes = _enlarge_buffer(bound)
        if sys.platform == "linux":
            bound.setsockopt(socket.SOL_SOCKET, RXQ_OVFL, 1)
        bound.bind(address)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        hint = {
            errno.EADDRINUSE: "another program listens there; stop it or take another port",
            errno.EADDRNOTAVAIL: "that is no address of this machine; use 0.0.0.0 for all of its own",
        }.get(error.errno or 0, "see who may listen there")
        raise PlifError(f"{name}: cannot listen ({error.strerror}): {hint}") from None
    return bound, buffer_bytes


def name_remedy(buffer_bytes: int) -> str:
    """Return what to do where the kernel dropped datagrams, with a buffer of this size."""
    if sys.platform != "linux" or buffer_bytes >= 2 * WANTED_BUFFER:  # Linux reports twice the requested size
        return "as large as we ask for; send less, or leave this program more of the processor"
    return f"raise it: sysctl -w net.core.rmem_max={WANTED_BUFFER}"


def _enlarge_buffer(sock: socket.socket) -> int:
    """Enlarge a socket's receive buffer as far as the kernel allows; return its size in bytes."""
    for option in (RCVBUFFORCE, socket.SO_RCVBUF) if sys.platform == "linux" else (socket.SO_RCVBUF,):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, WANTED_BUFFER)
            break
        except OSError:  # no privilege to exceed rmem_max: use the other option
            continue
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
