"""plif in Python, behind one import. A file is loaded, and has the verbs of the `plif` command:

    import plif

    model = plif.load("model.pt")
    model.train("nmnist:DIR", "better.pt")                  # go on from it
    model.export("model.onnx")                              # proved spike by spike, or there is no file

    model = plif.load("model.onnx")                         # no PyTorch from here on
    model.evaluate("nmnist:DIR").accuracy
    for decision in model.stream("recording.raw"):
        print(decision.t_us, decision.label)
    y = model.session().step(x)                             # x float32 [1, C, H, W] -> y float32 [1, classes]
    model.verify("model.pt").passed                         # the proof again

What is no file yet: `build` makes a Network of a preset or a notation string, `train` trains one, `save` writes model.pt;
`export` takes live modules of any library. Importing plif loads nothing, not even NumPy: a name brings what it needs when it
is first used. The packages below it (runtime, plif_export, plif_train) stay open to who needs more.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtime import CheckFailed, PlifError, __version__
from runtime.core.base.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from torch.nn import Module

    import runtime
    from plif_export import Exported, Report, check, export, verify
    from plif_train import Network, Recipe, build, load_samples, save, train
    from runtime import PushSource, Session
    from runtime.core.data import open_dataset
    from runtime.core.events import Source, open_source
    from runtime.core.measure.evaluate.evaluation import Evaluation
    from runtime.core.measure.results import Measurement, Predicted
    from runtime.core.model.card import Card
    from runtime.core.stream.run import Run

_HOME = {
    "Network": "plif_train",
    "Recipe": "plif_train",
    "build": "plif_train",
    "load_samples": "plif_train",
    "save": "plif_train",
    "train": "plif_train",
    "check": "plif_export",
    "export": "plif_export",
    "verify": "plif_export",
    "PushSource": "runtime",
    "open_dataset": "runtime.core.data",
    "open_source": "runtime.core.events",
}
_EXTRAS = {"plif_train": "train", "plif_export": "cpu,export"}  # what brings the libraries that a package needs
GONE = "this plif has no such command; it was taken out"

__all__ = [
    "CheckFailed", "Model", "Network", "PlifError", "PushSource", "Recipe", "__version__", "build", "check", "export", "load",
    "load_samples", "open_dataset", "open_source", "save", "train", "verify",
]  # fmt: skip


def load(path: str | Path, **options: Any) -> Model:
    """Opens a model.pt or an artifact (model.onnx, model.plif, ...). Its card is read now, an engine when one is first needed.

    options  engine="auto", threads, flush_denormals, device, sha256: as in runtime.load
    Raises PlifError with one line for what is neither.
    """
    from pathlib import Path

    from runtime.core.api import require_sha256
    from runtime.core.model.card import read_card

    path = Path(path)
    if options.get("sha256") is not None:
        require_sha256(path, options["sha256"])
    return Model(path, read_card(path), options)


class Model:
    """A model.pt or an artifact on disk, and what can be done with it. `plif.load` makes one; it has no state of its own.

    path  the file
    card  what it is: input, classes, T, framing, states, proof (`plif info`)
    """

    def __init__(self, path: Path, card: Card, options: dict[str, Any]) -> None:
        self.path = path
        self.card = card
        self._options = options
        self._opened: dict[bool, runtime.Model] = {}

    def __repr__(self) -> str:
        from runtime.core.model.card import in_a_line

        return f"<plif.Model {str(self.path)!r}: {in_a_line(self.card)}>"

    def opened(self, rates: bool = False) -> runtime.Model:
        """The file as runtime.load opens it, once; rates: spikes are counted. A model.pt runs in PyTorch."""
        if rates not in self._opened:
            self._opened[rates] = _take("runtime", "load")(self.path, rates=rates, **self._options)
        return self._opened[rates]

    def train(
        self,
        data: str | Sequence[str],
        out: str | Path,
        recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Goes on from this model.pt and writes the best epoch to `out`; gives the training record of its card.

        data NAME:DIR, or several; options of plif_train.train. A network from nothing: plif.train(network, data, out).
        """
        if "states" in self.card:
            raise PlifError(
                f"{self.path}: is an exported artifact and cannot be trained; load the model.pt it was made from"
            )
        return _take("plif_train", "train")(None, data, out, recipe, start=self.path, **options)

    def export(self, path: str | Path | None = None, **options: Any) -> Exported:
        """Writes this model.pt as an artifact, beside it when `path` is None, and gives where it is and what was proved.

        options  form="step", precision="fp32", to="onnx", ...: as in plif_export.export
        Raises CheckFailed, and writes nothing, where a spike differs.
        """
        return _take("plif_export", "export")(self.path, path, **options)

    def verify(self, against: str | Path | Module, inputs: np.ndarray | None = None, **options: Any) -> Report:
        """Proves this artifact against the model it was made from, spike by spike: report.passed, report.layers, ...

        inputs   float32 [T, B, C, H, W] from reset; made up when None
        options  steps, seed, engine, ...: as in plif_export.verify
        """
        return _take("plif_export", "verify")(self.path, against, inputs, **options)

    def evaluate(self, data: str, **options: Any) -> Evaluation:
        """Accuracy, confusion, firing rates and times on the data set NAME:DIR.

        options  split="test", limit, out (a folder), batch, workers, ...: as in runtime.core.measure.evaluate.evaluation.evaluate
        """
        return _take("runtime.core.measure.evaluate.evaluation", "evaluate")(self.opened(rates=True), data, **options)

    def predict(self, *places: str | Path, **options: Any) -> Predicted:
        """Labels for recordings without labels, files and folders: .predictions, or a table that is written to `out`.

        options  out, min_margin, sensor, ...: as in `plif predict --help`
        """
        return _verb(self.predict)(self.opened(), places, **options)

    def stream(self, source: str | Source | Sequence[str | Source], **options: Any) -> Run:
        """Decisions about events as they come: iterate over it once. Its summary() is the account of all events.

        source   a recording, a folder of --record, "-", udp://..., tcp://..., usb://..., sim:..., a Source, or a list of these
        options  framing, decide, reset, filters, observers, ...: as in runtime.Model.stream
        """
        return self.opened().stream(source, **options)

    def session(self, streams: int = 1) -> Session:
        """The membranes of some streams, from reset: step, run, reset, snapshot, restore."""
        return self.opened().session(streams)

    def bench(self, *others: str | Path, **options: Any) -> list[Measurement]:
        """Times and rates of a step of this artifact, and of others in turn with it: a row each.

        options  engine, streams, seconds, threads, data, ...: as in `plif bench --help`
        """
        own = {name: self._options[name] for name in ("engine", "threads") if name in self._options}
        return _verb(self.bench)([self.path, *others], **(own | options))


def _take(module: str, name: str) -> Any:
    """A name of a package, which is imported now. MissingExtra where a library that it needs is not installed."""
    try:
        return getattr(import_module(module), name)
    except AttributeError:
        raise PlifError(f"{name}: {GONE}") from None
    except ModuleNotFoundError as error:
        if module not in _EXTRAS or str(error.name).startswith(("runtime", "plif_")):
            raise
        raise MissingExtra(f"{name} of {module}", _EXTRAS[module]) from None


def _verb(method: Callable[..., object]) -> Any:
    """What a method of Model is, where the command of its name is a part. PlifError where that was taken out."""
    from runtime.core.parts import find_part

    part = find_part("commands", name := method.__name__)
    if part is None or name not in part.gives:
        raise PlifError(f"{name}: {GONE}")
    return part.load(part.gives[name])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'plif' has no attribute '{name}'")
    value = globals()[name] = _take(_HOME[name], name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
