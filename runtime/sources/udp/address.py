"""Addresses of network sources, `scheme://HOST:PORT?key=value&...`, and the socket that receives datagrams at one.

Its buffer is the only queue before decoding.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_query, parse_size
from runtime.core.events.framing import parse_time_us

WANTED_BUFFER = 8 << 20
RXQ_OVFL = 40  # socket.SO_RXQ_OVFL of Linux, which Python's module does not name
RCVBUFFORCE = 33


@dataclass(frozen=True)
class Address:
    """The parsed address of a network source: host, port and options.

    host may be a name, an IPv4 address or an IPv6 address without its brackets.
    """

    spec: str
    host: str
    port: int
    options: dict[str, str]

    @classmethod
    def parse(cls, spec: str, options: Sequence[str], example: str) -> Address:
        """Parse an address `scheme://HOST:PORT?key=value`, with `options` as the allowed keys. Raises PlifError."""
        try:
            parts = urlsplit(spec)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or not port:
            raise PlifError(f"{spec}: expected a host and a port from 1 to 65535, as {example}")
        values = parse_query(spec, parts.query, dict.fromkeys(options, str), example)
        if parts.path.strip("/") or parts.fragment or parts.username:
            extra = spec.partition(f":{port}")[2]
            raise PlifError(f"{spec}: '{extra}' is not understood; expected {'=, '.join(options)}= as in {example}")
        return cls(spec, host, port, values)

    def seconds(self, name: str, default: float | None) -> float | None:
        """Return an option of the address that is a time, such as 2s or 500ms, in seconds; else `default`."""
        text = self.options.get(name)
        return default if text is None else parse_time_us(self.spec, name, text) / 1e6

    def sensor(self, default: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the sensor's (width, height) from the address's option `sensor=WxH`, else `default`."""
        text = self.options.get("sensor")
        return default if text is None else parse_size(f"{self.spec}: sensor={text}", text)

    def resolve(self, kind: socket.SocketKind) -> tuple[socket.AddressFamily, tuple[object, ...]]:
        """Resolve the host of the address; return (family, address) for a socket of this kind."""
        try:
            info = socket.getaddrinfo(self.host, self.port, type=kind)[0]
        except OSError as error:
            raise PlifError(f"{self.spec}: the host '{self.host}' is not known ({error.strerror or error})") from None
        return info[0], info[4]


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
