"""`--cluster`: run the workers of an evaluation on many machines (ray_workers.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.observers.evaluation_workers.run import RemoteRunner


class ClusterOptions(OptionRecord):
    """The command-line option that names a Ray cluster for an evaluation."""

    cluster: str | None = option(
        "Workers on a Ray cluster: HOST:PORT of its head, or one made here.", default=None, metavar="ADDRESS|local"
    )


def hear(keep: Path | None, cluster: str) -> list[RemoteRunner]:
    """Return the function that evaluates shards (groups of samples) on the Ray cluster.

    Raises PlifError if other machines cannot see the written files.
    """
    if cluster != "local" and keep is None:
        raise PlifError(f"--cluster {cluster}: name a folder that all machines share with --out DIR")
    from functools import partial

    from runtime.observers.cluster.ray_workers import run_on_cluster

    return [partial(run_on_cluster, cluster)]
