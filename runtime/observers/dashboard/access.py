"""Who may talk to the dashboard. Three rules, each against one attack; all must hold.

token    random for each start; compared in constant time. Without it: no picture, no control. A terminal is shown it in
         the address; logs are read by others, so elsewhere it is in a file that only this user reads. It travels in the
         first address, then in a header or as a websocket subprotocol, never as a cookie (cookies of one host are sent
         to every port of it) and never in a Referer (Referrer-Policy: no-referrer)
Host     a numeric address, or a name that was allowed beforehand. A page of a stranger whose name was pointed at this
         machine (DNS rebinding) arrives with the stranger's name in Host
Origin   where a browser sends one, it is this server itself. Another page's script (cross-site websocket, forged
         request) arrives with the other page's origin, also when that page is on another port of this machine
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path

from runtime.core.base.errors import PlifError

TOKEN_VARIABLE = "PLIF_DASHBOARD_TOKEN"
HOSTS_VARIABLE = "PLIF_DASHBOARD_HOSTS"
TOKEN_PATTERN = r"[A-Za-z0-9_-]{24,200}"  # what may stand in an address and in a websocket subprotocol


def new_token() -> str:
    """192 random bits, or the token that a service was given (it then survives restarts). PlifError for a weak one."""
    given = os.environ.get(TOKEN_VARIABLE)
    if not given:
        return secrets.token_urlsafe(24)
    if not re.fullmatch(TOKEN_PATTERN, given):
        raise PlifError(
            f"{TOKEN_VARIABLE}: expected 24 to 200 letters, digits, - or _; make one with: "
            "python3 -I -c 'import secrets; print(secrets.token_urlsafe(24))'"
        )
    return given


def keep_token(token: str, port: int) -> Path:
    """A file with the token, that only this user can read. PlifError where no folder takes it.

    systemd gives a service the first folder (RuntimeDirectory=): there it is plif-PORT.token, also after a kill. Each user who
    logs in has the second, and the third is everybody's: other names, since it may be another dashboard's, or somebody's who
    wants none to start.
    """
    service = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    given = service or os.environ.get("XDG_RUNTIME_DIR")
    try:
        number, name = tempfile.mkstemp(".token", f"plif-{port}-", given or None)
        path = Path(name)
        try:
            with os.fdopen(number, "w") as file:
                file.write(f"{token}\n")
            return path.replace(path.with_name(f"plif-{port}.token")) if service else path
        except OSError:
            path.unlink()
            raise
    except OSError as error:
        raise PlifError(
            f"--dashboard: no file for its token, which belongs in no log ({error.strerror}: "
            f"{given or 'the folder for temporary files'}); let RUNTIME_DIRECTORY name a folder that may be written, or give a "
            f"token in {TOKEN_VARIABLE}"
        ) from None


class Access:
    """The rules for a server that listens on `host`. `names`: further host names by which it is known."""

    def __init__(self, host: str, token: str, names: Iterable[str] = ()) -> None:
        self.token = token
        self.loopback = is_loopback(host)
        self.names = {"localhost", host.lower(), *(name.lower() for name in names)}
        if not self.loopback:
            self.names |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}

    def token_ok(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def host_ok(self, header: str | None) -> bool:
        """Whether the Host header names this server, with any port (a container's port may be mapped to another)."""
        name = host_name(header)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        # nobody can point a numeric address at another machine; 0.0.0.0 is no address that a person types
        return address.is_loopback if self.loopback else not address.is_unspecified

    def origin_ok(self, origin: str | None, header: str | None, fetch_site: str | None = None) -> bool:
        """Whether no other page sent this. Programs send neither Origin nor Sec-Fetch-Site; they have the token."""
        if fetch_site not in (None, "same-origin", "none"):
            return False
        return origin is None or (header is not None and origin in (f"http://{header}", f"https://{header}"))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_name(header: str | None) -> str | None:
    """'[::1]:8080' -> '::1', 'Camera7:80' -> 'camera7'; None for what is no host."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?", header or "")
    return (found[1] or found[2]).lower().removesuffix(".") if found else None


def known_names() -> list[str]:
    """Host names from the environment: for a proxy or a container whose own name is another."""
    return [name.strip() for name in os.environ.get(HOSTS_VARIABLE, "").split(",") if name.strip()]
