"""`scheme://HOST:PORT?key=value&...`: what network sources are told."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_size, read_query
from runtime.core.events.framing import parse_time_us


@dataclass(frozen=True)
class Address:
    """host may be a name, an IPv4 address or an IPv6 one (without its brackets)."""

    spec: str
    host: str
    port: int
    options: dict[str, str]

    @classmethod
    def parse(cls, spec: str, options: Sequence[str], example: str) -> Address:
        """PlifError names what is wrong. `options` are the keys that may stand after the question mark."""
        try:
            parts = urlsplit(spec)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or not port:
            raise PlifError(f"{spec}: expected a host and a port from 1 to 65535, as {example}")
        values = read_query(spec, parts.query, dict.fromkeys(options, str), example)
        if parts.path.strip("/") or parts.fragment or parts.username:
            what = spec.partition(f":{port}")[2]
            raise PlifError(f"{spec}: '{what}' is not understood; expected {'=, '.join(options)}= as in {example}")
        return cls(spec, host, port, values)

    def seconds(self, name: str, otherwise: float | None) -> float | None:
        """An option that is a time such as 2s or 500ms."""
        text = self.options.get(name)
        return otherwise if text is None else parse_time_us(self.spec, name, text) / 1e6

    def sensor(self, given: tuple[int, int] | None) -> tuple[int, int] | None:
        """`sensor=WxH` of the options, else what was given beside."""
        text = self.options.get("sensor")
        return given if text is None else parse_size(f"{self.spec}: sensor={text}", text)

    def resolve(self, kind: socket.SocketKind) -> tuple[socket.AddressFamily, tuple[object, ...]]:
        """(family, address) for a socket of that kind."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=kind)[0]
        except OSError as error:
            raise PlifError(f"{self.spec}: the host '{self.host}' is not known ({error.strerror or error})") from None
        return found[0], found[4]
