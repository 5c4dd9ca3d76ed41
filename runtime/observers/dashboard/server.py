"""The web server of the dashboard: Starlette on uvicorn, in a thread of its own.

    GET  /          the page, with ?token=; without it a page that asks for the token
    GET  /healthz   state of the stream, age of the last event, lag, refused hosts; no token, nothing about the model
    GET  /status    the account and the times as JSON; Authorization: Bearer TOKEN
    GET  /metrics   the same for Prometheus; Authorization: Bearer TOKEN
    GET  /decisions.csv, /decisions.json    the changes of the answer, ?source=; Authorization: Bearer TOKEN
    POST /control   {"do": "start"|"stop"|"reset"}; Authorization: Bearer TOKEN
    WS   /feed      subprotocols "plif" and the token; the page sends {"since": n}, the answer is one message

The page asks for each message after it has drawn the last one, and the server answers at most FPS times a second:
nothing queues up for a slow page, here or in the sockets. The page is one file, with a policy that lets it load
nothing else. The limits of connections are in door.py; each connection serves one request.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from runtime.core.base.errors import PlifError
from runtime.observers.dashboard.access import Access
from runtime.observers.dashboard.door import ConnectionLimiter, RateLimitedLog
from runtime.observers.dashboard.metrics import CONTENT_TYPE

FPS = 20
VIEWERS = 16
BODY_LIMIT = 4096
HEAD_LIMIT = 8192  # a browser's head has some 600 bytes
PATIENCE_S = 30.0  # an idle page gets a message after this time, so that a dead one is noticed
PAGE = Path(__file__).parent.parent / "browser_page"
READ_S = 10.0  # a page that does not read a message in this time is closed
KINDS = {"csv": "text/csv", "json": "application/json"}
METRICS = {"Content-Type": CONTENT_TYPE}
NO_TOKEN = (401, "the token is missing or wrong")
COMMANDS = ("start", "stop", "reset")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Content(Protocol):
    """The interface that the web server needs of a dashboard: data to show, and commands to the stream."""

    def message(self, since: int, source: str | None) -> bytes: ...

    def status(self) -> dict[str, object]: ...

    def health(self) -> dict[str, object]: ...

    def metrics(self) -> str: ...

    def export_changes(self, kind: str, source: str | None) -> str: ...

    def command(self, action: str) -> None: ...

    def report_problem(self, text: str) -> None: ...


class Server:
    """The web server of a dashboard: the constructor listens or raises PlifError; `start` begins to answer."""

    def __init__(self, content: Content, access: Access, host: str, port: int) -> None:
        self._content, self._access = content, access
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._clients: set[_OpenPage] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        style = _page_file("look.css") + _page_file("style.css")
        script = _page_file("look.js") + _page_file("app.js")
        self._page = _Page(_page_file("index.html"), style, script)
        self._locked = _Page(_page_file("locked.html"), style)
        routes = [
            Route("/", self._get_page),
            Route("/healthz", self._get_health),
            Route("/status", self._require_token(lambda request: JSONResponse(content.status()))),
            Route("/metrics", self._require_token(lambda request: Response(content.metrics(), headers=METRICS))),
            Route("/decisions.{kind}", self._require_token(self._decisions)),
            Route("/control", self._post_control, methods=["POST"]),
            WebSocketRoute("/feed", self._feed),
        ]
        app = Starlette(routes=routes)
        config = uvicorn.Config(
            _HostGuard(app, access),
            http="h11",
            h11_max_incomplete_event_size=HEAD_LIMIT,
            ws="websockets-sansio",
            ws_max_size=BODY_LIMIT,
            ws_per_message_deflate=False,  # on the way to the same machine it would only cost processor time
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a connection is identified by its address; headers of a proxy are not needed
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = server = uvicorn.Server(config)
        self._limiter = ConnectionLimiter(
            self._socket,
            lambda: H11Protocol(config=config, server_state=server.server_state, app_state={}),
            RateLimitedLog(content.report_problem),
        )
        self._viewers = min(VIEWERS, self._limiter.limit // 2)
        self._thread = threading.Thread(target=self._run, name="plif-dashboard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send the last message to every open dashboard page, and stop the web server within a second."""
        loop = self._loop
        if loop is not None and loop.is_running():
            future = asyncio.run_coroutine_threadsafe(self._send_last(), loop)
            try:
                future.result(1.0)
            except Exception:
                future.cancel()
        self._uvicorn.should_exit = True
        if self._thread.is_alive():
            self._thread.join(3.0)
        self._socket.close()

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._uvicorn.config.load()
            self._limiter.open()
            try:
                await self._uvicorn.serve(sockets=[])  # the ConnectionLimiter accepts
            finally:
                self._limiter.close()

        asyncio.run(serve())

    # --- pages ------------------------------------------------------------------------------------------------------

    def _is_same_origin(self, request: HTTPConnection) -> bool:
        """Return whether a request to the dashboard comes from its own page or a program, not from another web page."""
        return self._access.is_own_origin(*(request.headers.get(name) for name in ("origin", "host", "sec-fetch-site")))

    async def _get_page(self, request: Request) -> Response:
        if self._access.is_valid_token(request.query_params.get("token")):
            return self._page.response(200, request.headers["host"])
        return self._locked.response(401, request.headers["host"])

    async def _get_health(self, request: Request) -> Response:
        health = self._content.health()
        return JSONResponse(health, 200 if health["alive"] else 503)

    def _require_token(self, answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """Wrap a request handler of the dashboard so that it answers only requests with the token."""

        async def get(request: Request) -> Response:
            return answer(request) if self._access.is_valid_token(_bearer(request)) else _error_response(*NO_TOKEN)

        return get

    def _decisions(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind not in KINDS:
            return _error_response(404, "expected /decisions.csv or /decisions.json")
        return Response(self._content.export_changes(kind, request.query_params.get("source")), media_type=KINDS[kind])

    async def _post_control(self, request: Request) -> Response:
        if not self._is_same_origin(request):
            return _error_response(403, "another page may not steer the stream")
        if not self._access.is_valid_token(_bearer(request)):
            return _error_response(*NO_TOKEN)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_LIMIT:
                return _error_response(413, "the command is too long")
        try:
            action = json.loads(body)["do"]
        except (ValueError, KeyError, TypeError, RecursionError):
            action = None
        if action not in COMMANDS:
            return _error_response(400, f'expected {{"do": ...}} with one of {", ".join(COMMANDS)}')
        self._content.command(action)
        return JSONResponse({"done": action})

    # --- the feed ---------------------------------------------------------------------------------------------------

    async def _feed(self, socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        token = offered[1] if len(offered) == 2 and offered[0] == "plif" else None
        is_allowed = self._is_same_origin(socket) and self._access.is_valid_token(token)
        if not is_allowed or len(self._clients) >= self._viewers:
            await socket.close()  # before it was accepted: the handshake answers 403
            return
        client = _OpenPage(socket)
        self._clients.add(client)
        peer = tuple(socket.scope["client"] or ())
        self._limiter.mark_page(peer)
        try:
            await socket.accept(subprotocol="plif")
            while await client.wait_for_request():
                await asyncio.wait_for(client.send(self._content.message(client.since, client.source)), READ_S)
                await asyncio.sleep(1 / FPS)
        except (WebSocketDisconnect, asyncio.TimeoutError):
            pass
        finally:
            self._clients.discard(client)
            self._limiter.unmark_page(peer)

    async def _send_last(self) -> None:
        async def last(client: _OpenPage) -> None:
            await client.send(self._content.message(client.since, client.source))
            await client.socket.close()

        await asyncio.gather(*(last(client) for client in list(self._clients)), return_exceptions=True)


class _OpenPage:
    """One dashboard page that is open in a browser: the last curve point it has, the source it shows, a send lock."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.since = 0
        self.source: str | None = None
        self._sending = asyncio.Lock()

    async def wait_for_request(self) -> bool:
        """Wait for the next request of a dashboard page; return False if it was closed or sent something invalid."""
        try:
            question = json.loads(await asyncio.wait_for(self.socket.receive_text(), PATIENCE_S))
            self.since = int(question["since"])
            source = question.get("source")
        except asyncio.TimeoutError:  # not the built-in TimeoutError before Python 3.11
            return True
        except (WebSocketDisconnect, KeyError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
            return False
        self.source = source if isinstance(source, str) else None
        return True

    async def send(self, message: bytes) -> None:
        async with self._sending:
            await self.socket.send_bytes(message)


class _Page:
    """One HTML page with its style and script inside, and a content security policy that allows only these two."""

    def __init__(self, html: str, style: str, script: str | None = None) -> None:
        html = html.replace("/*STYLE*/", style)
        if script is not None:
            html = html.replace("/*SCRIPT*/", script)
        self._html = html
        styles, scripts = (_csp_hash(html, tag) for tag in ("style", "script"))
        # style attributes are set by the script (CSSOM), which a policy of hashes allows; none stand in the HTML
        self._policy = (
            f"default-src 'none'; script-src '{scripts}'; style-src '{styles}'; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def response(self, status: int, host: str) -> Response:
        """Return the HTTP response with this HTML page and its content security policy, for a checked Host header."""
        # older browsers do not count ws:// of the same host as 'self'
        policy = f"{self._policy}; connect-src 'self' ws://{host} wss://{host}"
        return HTMLResponse(self._html, status, {"Content-Security-Policy": policy})


def _csp_hash(html: str, tag: str) -> str:
    text = html.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class _HostGuard:
    """An ASGI wrapper that refuses requests for a foreign Host, and adds the security headers to every answer."""

    HEADERS = (
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    )

    def __init__(self, app: Starlette, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.HEADERS]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and self._access.is_known_host(hosts[0]):
            await self._app(scope, receive, with_headers)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _error_response(421, "this name is not known here")(scope, receive, with_headers)


def _error_response(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _page_file(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _listen(host: str, port: int) -> socket.socket:
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(address[0], socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address[4])
            listening.listen(64)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise PlifError(
            f"--dashboard {host}:{port}: cannot listen there ({reason}); another port or 0 may do"
        ) from None
    return listening
