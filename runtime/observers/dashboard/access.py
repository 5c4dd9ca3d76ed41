"""Access control of the dashboard: three rules, each against one attack; all must hold.

token    random for each start; compared in constant time. Without it: no picture, no control. A terminal shows it in
         the address. Other people may read logs, so elsewhere it is in a file that only this user can read. It is
         sent in the first address, then in a header or as a websocket subprotocol, never as a cookie (cookies of a
         host are sent to all of its ports) and never in a Referer (Referrer-Policy: no-referrer)
Host     a numeric address, or an allowed name. A third-party page with a name that points at this
         machine (DNS rebinding) arrives with its own name in Host
Origin   if a browser sends one, it must be this server. The script of another page (cross-site websocket, forged
         request) arrives with that page's origin, also if the page is on another port of this machine
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
TOKEN_PATTERN = r"[A-Za-z0-9_-]{24,200}"  # allowed in an address and in a websocket subprotocol


def new_token() -> str:
    """Return a new dashboard token of 192 random bits, or the token from the environment.

    A token from the environment survives restarts of a service. Raises PlifError for a weak one.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        return secrets.token_urlsafe(24)
    if not re.fullmatch(TOKEN_PATTERN, token):
        raise PlifError(
            f"{TOKEN_VARIABLE}: expected 24 to 200 letters, digits, - or _; make one with: "
            "python3 -I -c 'import secrets; print(secrets.token_urlsafe(24))'"
        )
    return token


def write_token(token: str, port: int) -> Path:
    """Write the dashboard token into a file that only this user can read, and return its path.

    systemd gives a service the first folder (RuntimeDirectory=): the file is plif-PORT.token, also after a kill. Each
    user who logs in has the second folder; the third is shared by all users. The names there are random, since a
    fixed name may belong to another dashboard, or to a user who wants to block it. Raises PlifError if no folder can
    be written.
    """
    service = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    folder = service or os.environ.get("XDG_RUNTIME_DIR")
    try:
        number, name = tempfile.mkstemp(".token", f"plif-{port}-", folder or None)
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
            f"{folder or 'the folder for temporary files'}); let RUNTIME_DIRECTORY name a folder that may be written, or give a "
            f"token in {TOKEN_VARIABLE}"
        ) from None


class Access:
    """The access rules of a dashboard's web server that listens on `host`: known host names, origins and the token.

    names: further host names of this server.
    """

    def __init__(self, host: str, token: str, names: Iterable[str] = ()) -> None:
        self.token = token
        self.loopback = is_loopback(host)
        self.names = {"localhost", host.lower(), *(name.lower() for name in names)}
        if not self.loopback:
            self.names |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}

    def is_valid_token(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def is_known_host(self, header: str | None) -> bool:
        """Return whether the Host header of a request names this dashboard server, with any port.

        A container's port may be mapped to another one.
        """
        name = parse_host(header)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        # a numeric address cannot be redirected to another machine; nobody types 0.0.0.0
        return address.is_loopback if self.loopback else not address.is_unspecified

    def is_own_origin(self, origin: str | None, header: str | None, fetch_site: str | None = None) -> bool:
        """Return whether a request comes from the dashboard server's own page, or from a program that is no browser.

        Programs send neither Origin nor Sec-Fetch-Site; they have the token.
        """
        if fetch_site not in (None, "same-origin", "none"):
            return False
        return origin is None or (header is not None and origin in (f"http://{header}", f"https://{header}"))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_host(header: str | None) -> str | None:
    """Parse a Host header: '[::1]:8080' -> '::1', 'Camera7:80' -> 'camera7', None if it is invalid."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?", header or "")
    return (match[1] or match[2]).lower().removesuffix(".") if match else None


def allowed_names() -> list[str]:
    """Return the extra host names that the environment allows for the dashboard, for a proxy or a container."""
    return [name.strip() for name in os.environ.get(HOSTS_VARIABLE, "").split(",") if name.strip()]
