"""The text that selects a simulated source: `sim:NAME?key=value&...`."""

from __future__ import annotations

from urllib.parse import parse_qsl

from runtime.base.errors import PlifError

SECONDS_LIMIT = 86_400


class SimSpec:
    """A spec taken apart; `values` has only keys that are known, each once. PlifError says what is wrong with the rest."""

    def __init__(self, spec: str, known: tuple[str, ...], example: str) -> None:
        self.spec = spec
        query = spec.partition("?")[2]
        self.values = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(set(self.values) - set(known))
        if unknown or (query and len(self.values) != query.count("&") + 1):
            raise PlifError(
                f"{spec}: '{unknown[0] if unknown else query}' is not understood, expected"
                f" {', '.join(f'{name}=' for name in known[:-1])} and {known[-1]}=, as in {example}"
            )

    @staticmethod
    def name_of(spec: str) -> str:
        """What is simulated."""
        return spec.removeprefix("sim:").removeprefix("//").partition("?")[0]

    def whole(self, name: str, most: int) -> int:
        """A whole number, 0 when not given."""
        text = self.values.get(name, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
            raise PlifError(f"{self.spec}: {name}='{text}', expected a whole number from 0 to {most}")
        return int(text)

    def end_us(self) -> int:
        """How long, from `seconds` (3 when not given)."""
        text = self.values.get("seconds", "3")
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= SECONDS_LIMIT:
            raise PlifError(f"{self.spec}: seconds='{text}', expected a number above 0, up to {SECONDS_LIMIT}")
        return round(seconds * 1e6)

    def sized(self, own: tuple[int, int], asked: tuple[int, int] | None) -> tuple[int, int]:
        """The size of the simulated sensor; asking for another one is refused."""
        if asked is not None and tuple(asked) != own:
            raise PlifError(f"{self.spec}: this simulated sensor is {own[0]}x{own[1]}, not {asked[0]}x{asked[1]}")
        return own
