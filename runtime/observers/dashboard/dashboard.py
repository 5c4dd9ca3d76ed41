"""The dashboard of a running stream in the browser: `plif stream ... --dashboard [HOST:]PORT`.

    with Dashboard("127.0.0.1:0") as dashboard:
        running = model.stream(source, observers=[dashboard])
        print(dashboard.address)
        for decision in running: ...

It is an observer of the stream (runtime.core.stream.observe) that writes into a Board, and a server that shows it.
The access rules are in access.py. It needs the extra [dashboard] (Starlette, uvicorn, websockets). The page loads
nothing from elsewhere, so it works offline.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.grammar import parse_address
from runtime.core.base.text import printable, say
from runtime.core.base.version import __version__
from runtime.core.events.sources.base import ASK, is_rotated_by_format
from runtime.core.stream.observe import Observer
from runtime.observers.dashboard.access import (
    TOKEN_VARIABLE,
    Access,
    allowed_names,
    is_loopback,
    new_token,
    write_token,
)
from runtime.observers.dashboard.board import Board, picture_size
from runtime.observers.dashboard.metrics import metrics_text

if TYPE_CHECKING:
    from runtime.core.events import Frame
    from runtime.core.events.lines import StreamSummary
    from runtime.core.stream.decide import Decision
    from runtime.core.stream.run import Run
    from runtime.core.stream.stream import Stream

__all__ = ["Dashboard"]

EXAMPLES = "[HOST:]PORT such as 8080, 127.0.0.1:0 or 0.0.0.0:8080"


class Dashboard(Observer):
    """The web dashboard of one stream: an observer of the run with its own web server.

    `address` is the URL to open, with its token.
    """

    rates = True

    def __init__(self, place: str) -> None:
        """Create the dashboard of a stream, and its web server at `place`, which is [HOST:]PORT.

        Raises PlifError if the server cannot listen there, MissingExtra without the extra.
        """
        if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn", "websockets")):
            raise MissingExtra("--dashboard", "dashboard")
        from runtime.observers.dashboard.server import Server

        self.host, port = parse_address("--dashboard", place, EXAMPLES, host="127.0.0.1", least_port=0)
        self._token = new_token()
        self._token_file: Path | None = None
        self._run: Run | None = None
        self._boards: dict[str, Board] = {}
        self._facts: dict[str, dict[str, object]] = {}
        self._ended = False
        self._server = Server(self, Access(self.host, self._token, allowed_names()), self.host, port)
        self.port = self._server.port

    @property
    def address(self) -> str:
        return f"{self._page}?token={self._token}"

    def announcement(self) -> str:
        """Return the line for stderr that tells the web address of the dashboard.

        Only a terminal shows the token. Elsewhere the line names the file with the token, which only this user can
        read; `close` removes the file. Raises PlifError if no folder can hold that file.
        """
        if sys.stderr.isatty():
            return f"dashboard at {self.address}"
        if os.environ.get(TOKEN_VARIABLE):
            return f"dashboard at {self._page}, its token is that of {TOKEN_VARIABLE}"
        self._token_file = self._token_file or write_token(self._token, self.port)
        return f"dashboard at {self._page}, its token is in {self._token_file}"

    @property
    def _page(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(
            self.host, f"[{self.host}]" if ":" in self.host else self.host
        )
        return f"http://{host}:{self.port}/"

    @property
    def warning(self) -> str | None:
        """The warning text if other machines can reach the dashboard, since its token is sent unencrypted; else None."""
        if is_loopback(self.host):
            return None
        return (
            f"the dashboard listens on {self.host}:{self.port}, for the whole network and without encryption; "
            "whoever has the address with its token can steer the stream"
        )

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._ended = True
        self._server.stop()
        if self._token_file is not None:
            self._token_file.unlink(missing_ok=True)

    # --- as an observer: in the thread of the stream ----------------------------------------------------------------

    def on_start(self, run: Run) -> None:
        self._run = run
        for stream in run.streams:
            self._boards[stream.name], self._facts[stream.name] = _make_board(run, stream)
        self._server.start()

    def on_packet(self, source: str, events: np.ndarray, arrived_s: float) -> None:
        """Record on the dashboard when events [N] of a source arrived."""
        self._boards[source].add_arrival(arrived_s)

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        """Pass a frame, x float32 [C, H, W], and its y float32 [classes] to the dashboard data of its source."""
        self._boards[source].add_step(frame, y, rates)

    def on_decision(self, decision: Decision) -> None:
        self._boards[decision.source].add_decision(decision)

    def on_reset(self, source: str, step: int, why: str) -> None:
        self._boards[source].resets[why] += 1
        if why != "copy":  # the others go on, and what they voted still counts
            self._boards[source].clear_votes()

    def on_note(self, source: str, text: str) -> None:
        self._boards[source].add_note(text)

    def on_summary(self, summary: StreamSummary) -> None:
        self._ended = True
        for board in self._boards.values():
            for note in summary["notes"]:
                if printable(note) not in board.notes:
                    board.add_note(note)

    # --- what the server shows: in the thread of the server ---------------------------------------------------------

    @property
    def state(self) -> str:
        if self._ended or self._run is None:
            return "ended"
        return "running" if self._run.controls.running else "stopped"

    def message(self, since: int, source: str | None) -> bytes:
        name = source if source in self._boards else next(iter(self._boards))
        board = self._boards[name]
        board.state = self.state
        return board.message(since, name, self._facts[name] if since <= 0 else None)

    def health(self) -> dict[str, object]:
        """Return the health of the dashboard's stream: its state, and the worst event age and lag of its sources.

        It also lists the hosts that a UDP source refuses, and nothing about the model.
        """
        statuses = [board.status() for board in self._boards.values()]
        worst = next((state for state in ("lost", "silent") if any(s["source_state"] == state for s in statuses)), None)
        state = self.state
        ages = [s["last_event_age_s"] for s in statuses if s["last_event_age_s"] is not None]
        lags = [s["lag_ms"]["p99"] for s in statuses if s["lag_ms"]["p99"] is not None]
        return {
            "alive": state in ("running", "stopped"),
            "state": worst if worst and state == "running" else state,
            "last_event_age_s": max(ages, default=None),
            "lag_ms": max(lags, default=None),
            "refused_hosts": [host for s in statuses for host in s.get("refused_hosts", ())],
        }

    def metrics(self) -> str:
        """Return the text of the dashboard's /metrics page, in the format of Prometheus."""
        model = self._run.model if self._run is not None else None
        info = {"version": __version__}
        if model is not None:
            info |= {"model": model.path.name, "engine": model.engine.name}
        return metrics_text(info, self.state == "running", self._boards)

    def export_changes(self, kind: str, source: str | None) -> str:
        """Return the changes of the answer of one source as text, in the format `kind`: "csv" or "json"."""
        answers = self._boards[source if source in self._boards else next(iter(self._boards))].answers
        return answers.to_csv() if kind == "csv" else answers.to_json()

    def status(self) -> dict[str, object]:
        return {
            "state": self.state,
            "plif": __version__,
            "sources": {name: board.status() for name, board in self._boards.items()},
        }

    def command(self, action: str) -> None:
        if self._run is None:
            raise PlifError("no stream runs")
        getattr(self._run.controls, action)()

    def report_problem(self, text: str) -> None:
        """Report a problem of the dashboard's web server, one line, as a note of the stream."""
        if self._run is not None:
            self._run.source.say(f"dashboard: {text}")


class StreamDashboard(Dashboard):
    """The dashboard of `plif stream`, which prints its web address when the stream opens."""

    def on_open(self, run: Run) -> None:
        if self.warning:
            say(f"plif: warning: {self.warning}", err=True)
        say(f"plif: {self.announcement()}", err=True)


def _make_board(run: Run, stream: Stream) -> tuple[Board, dict[str, object]]:
    """Create the dashboard data of one stream, and the unchanging facts (network, source, options) about it."""
    model, source, options = run.model, stream.source, run.options
    card = model.card
    layers = [str(state["layer"]) for state in card["states"]] if model.counts_rates else []
    board = Board(
        classes=len(model.classes),
        voters=model.voters,
        layers=layers,
        shape=model.input_shape,
        framing=run.framing,
        upright=source.upright,
        latency=stream.latency,
        lag=stream.lag,
        account=stream.account,
        is_lost=(lambda: source.lost) if source.live else None,
        datagrams=source.datagrams,
        source_status=source.status,
    )
    width, height = picture_size(model.input_shape, run.framing.orientation, source.upright)
    threads, pixels = model.engine.threads, stream.frames.framer.sampling_note
    parity = card["parity"]
    verdict = ("passed" if parity.get("passed") else "FAILED") if isinstance(parity, dict) else str(parity or "not run")
    lines = [
        ("network", card["notation"] or "-"),
        (
            "input",
            f"{model.input_shape[0]} x {model.input_shape[2]} x {model.input_shape[1]} ({card['input']['kind']})",
        ),
        ("precision", f"{card['precision']}, {card['math']} math; proof {verdict}"),
        ("engine", f"{model.engine.name}" + (f", {threads} threads" if threads else "")),
        ("framing", str(run.framing)),
        ("filter", options.filters or "-"),
        ("decide", f"{options.decide}; reset {options.reset}"),
        ("overload", f"{options.overload}; on return {options.on_return}"),
        (
            "speed",
            "as it comes" if source.live else "real time" if options.speed == "real" else "as fast as possible",
        ),
        (
            "source",
            f"{source.format}, {source.sensor[0]} x {source.sensor[1]}{', live' * source.live}{', ' * bool(pixels)}{pixels}",
        ),
        ("made from", f"SHA-256 {card['source_sha256'] or '-'}"),
        ("plif", __version__),
    ]
    facts = {
        "model": printable(model.path.name),
        "source": printable(stream.name),
        "sources": [(name, printable(name)) for name in run.names],  # as the page asks for it, and as it shows it
        "classes": [printable(name) for name in model.classes],
        "voters": model.voters,
        "layers": [printable(name) for name in layers],
        "width": width,
        "height": height,
        "upright": ASK if is_rotated_by_format(source, run.framing) else "",
        "lines": [(name, printable(text)) for name, text in lines],
    }
    return board, facts
