"""The accepted senders of a UDP stream: `from=first|HOST|any`, `owner=60s`.

    from=first   the first host that sends an event owns the stream, from any port. Another host may own it only after the
                 owner was silent for the time of owner=; then the next host that sends an event does
    from=HOST    this IP address owns the stream, and no other host ever does
    from=any     no host owns the stream, and every host is accepted

An event camera sends no events for a still scene, so the owner may be silent for longer than lost=. That alone gives the stream
to no other host. Silence counts from the owner's last datagram, with any content, and only if all later datagrams
were read: datagrams that wait in the socket, or that the kernel dropped, may be the owner's.

Messages name the first refused hosts at once, and again each minute while they send. The status lists them, too, with the
from= that would accept each. UDP cannot prove a sender: a host is the address in a datagram.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from runtime.core.base.errors import PlifError
from runtime.sources.udp.address import Address

OWNER_SILENCE_S = 60.0  # silence of the owner, after which another host may own the stream
REPORT_EVERY_US = 60_000_000  # refused hosts are reported again after that time
MAX_HOSTS = 16  # refused hosts in memory, those with the most datagrams; anybody can forge more
MAX_NAMED = 4  # refused hosts that are reported at once, and that a repeated report names


class Ownership:
    """The owner of a UDP stream (the only host whose datagrams are accepted), and the hosts that were refused.

    owner     the IP address that owns the stream, as the socket writes it; None: no host does
    anybody   every host is accepted
    rule_text the rule, for a person
    heard_us  time of the owner's last datagram
    refused   {address: (datagrams, time of the last in us)} since the owner owns the stream
    """

    def __init__(
        self,
        address: Address,
        family: socket.AddressFamily,
        lost_s: float,
        datagrams: dict[str, int],
        say: Callable[[str], None],
    ) -> None:
        """Check the options from= and owner= of a UDP address, and set the rule by which a host owns the stream.

        `datagrams` counts datagrams by fate; this class counts `foreign` and `takeovers`. Raises PlifError for options that
        contradict each other and for an invalid host address.
        """
        rule, silence_s = address.options.get("from", "first"), address.seconds("owner", None)
        if silence_s is not None and (rule != "first" or silence_s < lost_s):
            why = (
                f"is shorter than lost={lost_s:g}s, before which no other host may own the stream; expected at least that"
                if rule == "first"
                else f"is of from=first, and with from={rule} the stream never changes its owner; leave one of them out"
            )
            raise PlifError(f"{address.spec}: owner={address.options['owner']} {why}")
        self.silence_s = max(OWNER_SILENCE_S if silence_s is None else silence_s, lost_s)
        self.anybody, self._is_fixed = rule == "any", rule not in ("any", "first")
        self.rule_text = {"any": "every host", "first": "the first host that sends"}.get(rule, f"{rule} alone")
        self.owner = to_socket_address(address.spec, rule, family) if self._is_fixed else None
        self.heard_us = 0
        self.refused: dict[str, tuple[int, int]] = {}
        self._datagrams, self._say = datagrams, say
        self._reports_left, self._reported_us = MAX_NAMED, 0
        self._dropped = self._dropped_us = 0  # datagrams that the kernel dropped, and the time of that count

    def may_change(self, now_us: int, empty_us: int, lost: bool) -> bool:
        """Return whether the next host that sends a usable event becomes the owner of the UDP stream.

        empty_us  the last time at which no datagram waited in the socket
        lost      True when the source counts as lost
        """
        if self.owner is None or self._is_fixed:
            return self.owner is None
        if self._dropped != self._datagrams["dropped_by_kernel"]:
            self._dropped, self._dropped_us = self._datagrams["dropped_by_kernel"], now_us
        silent_us = min(empty_us - self.heard_us, now_us - self._dropped_us if self._dropped else sys.maxsize)
        return lost and silent_us >= 1e6 * self.silence_s

    def change(self, host: str, now_us: int) -> None:
        """Change the owner of the UDP stream to `host`, whose datagrams are accepted from now on."""
        if self.owner is not None:
            self._datagrams["takeovers"] += 1
            self._say(
                f"nothing came from {to_plain_address(self.owner)} for {self.silence_s:g} s: the stream belongs to "
                f"{to_plain_address(host)} now"
            )
        self.owner, self.heard_us, self._reports_left = host, now_us, MAX_NAMED
        self.refused.clear()

    def refuse(self, host: str, now_us: int) -> None:
        """Count a datagram of a host that is not the UDP stream's owner, and report the host from time to time."""
        self._datagrams["foreign"] += 1
        count, _ = self.refused.get(host, (0, 0))
        if not count and len(self.refused) >= MAX_HOSTS:
            del self.refused[min(self.refused, key=lambda address: self.refused[address])]
        self.refused[host] = count + 1, now_us
        if not count and self._reports_left:
            self._reports_left -= 1
            hosts = [to_plain_address(host)]
        elif now_us - self._reported_us >= REPORT_EVERY_US:
            hosts = self._list_refused()[:MAX_NAMED]
        else:
            return
        self._reported_us = now_us
        self._say(
            f"datagrams of {', '.join(hosts)} are not taken: {self._describe_owner()}; from={hosts[0].split()[0]} names yours"
        )

    def summarize_refused(self) -> str:
        """Return a line of text about all refused UDP datagrams, for the end of the stream."""
        hosts = f" ({', '.join(self._list_refused()[:MAX_NAMED])})" * bool(self.refused)
        return f"{self._datagrams['foreign']} datagrams of other hosts were not taken{hosts}: {self._describe_owner()}"

    def _list_refused(self) -> list[str]:
        """Return the hosts whose UDP datagrams were refused, as texts with counts, most datagrams first."""
        counts = sorted(((count, to_plain_address(host)) for host, (count, _) in self.refused.items()), reverse=True)
        return [f"{host} ({count} datagrams)" if count > 1 else host for count, host in counts]

    def _describe_owner(self) -> str:
        first = f", the first that sent, until it is silent for {self.silence_s:g} s" * (not self._is_fixed)
        return f"this stream belongs to {to_plain_address(self.owner)}{first}"

    def status(self, now_us: int) -> dict[str, object]:
        """Return the UDP stream's owner and each refused host, with the option that would accept it, for JSON."""
        hosts = [(to_plain_address(host), *counts) for host, counts in list(self.refused.items())]
        return {
            "owner": None if self.owner is None else to_plain_address(self.owner),
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


def to_socket_address(name: str, host: str, family: socket.AddressFamily) -> str:
    """Return an IP address as a socket of this family writes it: IPv4 becomes ::ffff:... for IPv6."""
    spellings = (host, f"::ffff:{host}") if family == socket.AF_INET6 else (host.lower().removeprefix("::ffff:"),)
    for spelling in spellings:
        with suppress(OSError, ValueError):
            if (packed := socket.inet_pton(family, spelling)).strip(
                b"\0\xff"
            ):  # not 0.0.0.0 or 255.255.255.255, which no sender has
                return socket.inet_ntop(family, packed)
    example = "192.168.1.7" if family == socket.AF_INET else "fd00::7"
    raise PlifError(f"{name}: from={host} is no sender's address here; expected first, any, or one such as {example}")


def to_plain_address(host: str | None) -> str:
    """Return a socket's IP address as a person writes it, without ::ffff:."""
    return (host or "anybody").removeprefix("::ffff:")
