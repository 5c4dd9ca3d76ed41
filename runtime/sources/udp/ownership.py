"""Decides whose datagrams a UDP stream takes: `from=first|HOST|any`, `owner=60s`.

    from=first   the first host that sends an event owns the stream, from whatever port. Another host may own it only after the
                 owner was silent for the time of owner=; then the next that sends an event does
    from=HOST    this IP address owns the stream, and no other ever does
    from=any     nobody owns the stream, and every host is accepted

The owner is silent for longer than lost= before any still scene, which an event camera answers with no events: that alone gives
the stream to nobody. Silence counts from the owner's last datagram, whatever it holds, and only where all that came since then
was read: datagrams that wait in the socket, or that the kernel dropped, may be the owner's.

The first hosts that are refused are said at once, and again each minute for as long as they send; the status has them, too, with
the from= that would accept each. UDP cannot prove a sender: a host is the address that stands in a datagram.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from runtime.core.base.errors import PlifError
from runtime.sources.udp.address import Address

OWNER_S = 60.0  # silence of the owner, after which another host may own the stream
AGAIN_US = 60_000_000  # refused hosts are said again after that long
HOSTS = 16  # so many refused hosts are remembered, those with the most datagrams: anybody can forge more
NAMED = 4  # so many are said at once, and stand in a line of those that are said again


class Ownership:
    """Whose datagrams a stream takes, and whose it refused.

    owner     the IP address that owns the stream, as the socket writes it; None: nobody does
    anybody   every host is accepted
    whose     the rule, for a person
    heard_us  when the owner's last datagram came
    refused   {address: (datagrams, when the last came in us)} since the owner owns the stream
    """

    def __init__(
        self,
        address: Address,
        family: socket.AddressFamily,
        lost_s: float,
        datagrams: dict[str, int],
        say: Callable[[str], None],
    ) -> None:
        """datagrams: counts by fate, of which this class counts `foreign` and `takeovers`. PlifError for options that
        contradict each other and for a host that is no address."""
        rule, silence_s = address.options.get("from", "first"), address.seconds("owner", None)
        if silence_s is not None and (rule != "first" or silence_s < lost_s):
            why = (
                f"is shorter than lost={lost_s:g}s, before which no other host may own the stream; expected at least that"
                if rule == "first"
                else f"is of from=first, and with from={rule} the stream never changes its owner; leave one of them out"
            )
            raise PlifError(f"{address.spec}: owner={address.options['owner']} {why}")
        self.silence_s = max(OWNER_S if silence_s is None else silence_s, lost_s)
        self.anybody, self._named = rule == "any", rule not in ("any", "first")
        self.whose = {"any": "every host", "first": "the first host that sends"}.get(rule, f"{rule} alone")
        self.owner = written_address(address.spec, rule, family) if self._named else None
        self.heard_us = 0
        self.refused: dict[str, tuple[int, int]] = {}
        self._datagrams, self._say = datagrams, say
        self._at_once, self._said_us = NAMED, 0
        self._dropped = self._dropped_us = 0  # datagrams that the kernel dropped, and when that was known

    def may_change(self, now_us: int, empty_us: int, lost: bool) -> bool:
        """Whether the next host that sends an event owns the stream.

        empty_us  when no datagram waited in the socket
        lost      whether the source counts as lost
        """
        if self.owner is None or self._named:
            return self.owner is None
        if self._dropped != self._datagrams["dropped_by_kernel"]:
            self._dropped, self._dropped_us = self._datagrams["dropped_by_kernel"], now_us
        silent_us = min(empty_us - self.heard_us, now_us - self._dropped_us if self._dropped else sys.maxsize)
        return lost and silent_us >= 1e6 * self.silence_s

    def change(self, host: str, now_us: int) -> None:
        """The stream belongs to this host from now on."""
        if self.owner is not None:
            self._datagrams["takeovers"] += 1
            self._say(
                f"nothing came from {plain_address(self.owner)} for {self.silence_s:g} s: the stream belongs to "
                f"{plain_address(host)} now"
            )
        self.owner, self.heard_us, self._at_once = host, now_us, NAMED
        self.refused.clear()

    def refuse(self, host: str, now_us: int) -> None:
        """A datagram of another host came, and is not taken."""
        self._datagrams["foreign"] += 1
        count, _ = self.refused.get(host, (0, 0))
        if not count and len(self.refused) >= HOSTS:
            del self.refused[min(self.refused, key=lambda known: self.refused[known])]
        self.refused[host] = count + 1, now_us
        if not count and self._at_once:
            self._at_once -= 1
            hosts = [plain_address(host)]
        elif now_us - self._said_us >= AGAIN_US:
            hosts = self._most()[:NAMED]
        else:
            return
        self._said_us = now_us
        self._say(
            f"datagrams of {', '.join(hosts)} are not taken: {self._belongs()}; from={hosts[0].split()[0]} names yours"
        )

    def note(self) -> str:
        """What was refused in all, for the end of the stream."""
        hosts = f" ({', '.join(self._most()[:NAMED])})" * bool(self.refused)
        return f"{self._datagrams['foreign']} datagrams of other hosts were not taken{hosts}: {self._belongs()}"

    def _most(self) -> list[str]:
        """The refused hosts, those with the most datagrams first, each with their number."""
        counts = sorted(((count, plain_address(host)) for host, (count, _) in self.refused.items()), reverse=True)
        return [f"{host} ({count} datagrams)" if count > 1 else host for count, host in counts]

    def _belongs(self) -> str:
        first = f", the first that sent, until it is silent for {self.silence_s:g} s" * (not self._named)
        return f"this stream belongs to {plain_address(self.owner)}{first}"

    def status(self, now_us: int) -> dict[str, object]:
        """The owner, and each refused host with the option that would accept it, for JSON."""
        hosts = [(plain_address(host), *seen) for host, seen in list(self.refused.items())]
        return {
            "owner": None if self.owner is None else plain_address(self.owner),
            "refused_hosts": [
                {
                    "host": host,
                    "datagrams": count,
                    "last_s": round((now_us - last_us) / 1e6, 3),
                    "accept": f"from={host}",
                }
                for host, count, last_us in hosts
            ],
        }


def written_address(name: str, host: str, family: socket.AddressFamily) -> str:
    """The address as a socket of that family writes it: an IPv4 one stands in ::ffff: for IPv6."""
    ways = (host, f"::ffff:{host}") if family == socket.AF_INET6 else (host.lower().removeprefix("::ffff:"),)
    for way in ways:
        with suppress(OSError, ValueError):
            if (packed := socket.inet_pton(family, way)).strip(b"\0\xff"):  # 0.0.0.0, 255.255.255.255: nobody's
                return socket.inet_ntop(family, packed)
    example = "192.168.1.7" if family == socket.AF_INET else "fd00::7"
    raise PlifError(f"{name}: from={host} is no sender's address here; expected first, any, or one such as {example}")


def plain_address(host: str | None) -> str:
    """The address as a person writes it."""
    return (host or "anybody").removeprefix("::ffff:")
