"""Old names of commands: they work for one release, stand in no help, and say the new name on stderr."""

from __future__ import annotations

from runtime.base.text import say

# old command -> the words that are its new name; behind them an old option has a new name, too: the last of two is taken
OLD_NAMES: dict[str, tuple[str, ...]] = {
    "reproduce": ("paper",),
    "figures": ("paper", "figures"),
    "calibrate-exit": ("eval", "--calibrate-exit", "0.5%"),
}
OLD_OPTIONS = {"--lose": "--calibrate-exit"}


def renamed(arguments: list[str]) -> list[str]:
    """The command line with the new name of its command, where it has an old one."""
    if arguments[0] not in OLD_NAMES:
        return arguments
    old, *rest = arguments
    new = OLD_NAMES[old]
    say(f"plif: {old} is now: plif {' '.join(new)}", err=True)
    for option, its in OLD_OPTIONS.items():
        rest = [
            its + word.removeprefix(option) if word.partition("=")[0] == option and its in new else word
            for word in rest
        ]
    return [*new, *rest]
