"""The recipe keys for mixtures of data sets and for the variation of their recordings."""

from __future__ import annotations

from plif_train.core.keys import DATA, key


class MixtureKeys:
    # fmt: off
    mix: tuple[float, ...] = key(DATA, (), "shares of several --data in an epoch: 0.5,0.5", above=0, most=1e6, flag=True)
    vary: tuple[str, ...] = key(
        DATA, (), "vary recordings: mirror:0.5,turn:0.1; for all --data, or for each", split=";", flag=True)
    # fmt: on
