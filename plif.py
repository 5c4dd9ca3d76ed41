"""The Python API of plif: load a model, then train, export, verify, evaluate or stream it.

    import plif

    model = plif.load("model.pt")
    model.train("nmnist:DIR", "better.pt")                  # fine-tune it
    model.export("model.onnx")                              # proved spike by spike, or no file is written

    model = plif.load("model.onnx")                         # no PyTorch from here on
    model.evaluate("nmnist:DIR").accuracy
    for decision in model.stream("recording.raw"):
        print(decision.t_us, decision.label)
    y = model.session().step(x)                             # x float32 [1, C, H, W] -> y float32 [1, classes]
    model.verify("model.pt").passed                         # the proof again

Other functions work without a file. `build` makes a Network of a preset or a notation string, `train` trains one,
`save` writes model.pt. `export` takes live modules of any library. Importing plif loads nothing, not even NumPy: each
name imports its package on first use. The packages below (runtime, plif_export, plif_train) stay public for advanced
use.
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

_MODULE_OF = {
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
_EXTRAS = {"plif_train": "train", "plif_export": "cpu,export"}  # package -> the pip extra that installs its libraries
COMMAND_REMOVED = "this plif has no such command; it was taken out"

__all__ = [
    "CheckFailed", "Model", "Network", "PlifError", "PushSource", "Recipe", "__version__", "build", "check", "export", "load",
    "load_samples", "open_dataset", "open_source", "save", "train", "verify",
]  # fmt: skip


def load(path: str | Path, **options: Any) -> Model:
    """Open a model.pt or an exported artifact (model.onnx, model.plif, ...) from a path as a Model.

    The card is read now. An engine is opened when one is first needed.

    options    engine="auto", threads, flush_denormals, device, sha256: those of runtime.load

    Raises PlifError with one line for a file that is neither.
    """
    from pathlib import Path

    from runtime.core.api import require_sha256
    from runtime.core.model.card import read_card

    path = Path(path)
    if options.get("sha256") is not None:
        require_sha256(path, options["sha256"])
    return Model(path, read_card(path), options)


class Model:
    """A model.pt or an exported artifact on disk, with the verbs of the `plif` command as methods.

    `plif.load` makes one; it has no state between calls.

    path    the file
    card    its metadata: input, classes, T, framing, states, proof (`plif info`)
    """

    def __init__(self, path: Path, card: Card, options: dict[str, Any]) -> None:
        self.path = path
        self.card = card
        self._options = options
        self._opened: dict[bool, runtime.Model] = {}

    def __repr__(self) -> str:
        from runtime.core.model.card import summarize_card

        return f"<plif.Model {str(self.path)!r}: {summarize_card(self.card)}>"

    def opened(self, rates: bool = False) -> runtime.Model:
        """Return the model's file as runtime.load opens it; the first call opens the file.

        With `rates`, the engine counts spikes. A model.pt runs in PyTorch.
        """
        if rates not in self._opened:
            self._opened[rates] = _import_name("runtime", "load")(self.path, rates=rates, **self._options)
        return self._opened[rates]

    def train(
        self,
        data: str | Sequence[str],
        out: str | Path,
        recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Fine-tune this model.pt, write the best epoch to `out`, and return the training record of its card.

        data       NAME:DIR, or several
        options    those of plif_train.train

        plif.train(network, data, out) trains a new network.
        """
        if "states" in self.card:
            raise PlifError(
                f"{self.path}: is an exported artifact and cannot be trained; load the model.pt it was made from"
            )
        return _import_name("plif_train", "train")(None, data, out, recipe, start=self.path, **options)

    def export(self, path: str | Path | None = None, **options: Any) -> Exported:
        """Export this model.pt as an artifact (such as ONNX); return the artifact's path and its proof.

        path       the artifact; None puts it next to the model.pt
        options    form="step", precision="fp32", to="onnx", ...: those of plif_export.export

        Raises CheckFailed, and writes nothing, if a spike differs.
        """
        return _import_name("plif_export", "export")(self.path, path, **options)

    def verify(self, against: str | Path | Module, inputs: np.ndarray | None = None, **options: Any) -> Report:
        """Verify this artifact, spike by spike, against the model that it was exported from.

        inputs     float32 [T, B, C, H, W] from reset; None generates them
        options    steps, seed, engine, ...: those of plif_export.verify

        Returns a report: report.passed, report.layers, ...
        """
        return _import_name("plif_export", "verify")(self.path, against, inputs, **options)

    def evaluate(self, data: str, **options: Any) -> Evaluation:
        """Evaluate a model on the data set NAME:DIR: accuracy, confusion matrix, firing rates and times.

        options    split="test", limit, out (a folder), batch, workers, ...: those of
                   runtime.core.measure.evaluate.evaluation.evaluate
        """
        return _import_name("runtime.core.measure.evaluate.evaluation", "evaluate")(
            self.opened(rates=True), data, **options
        )

    def predict(self, *paths: str | Path, **options: Any) -> Predicted:
        """Predict the class labels of recordings with a model, given as files or folders.

        options    out, min_margin, sensor, ...: see `plif predict --help`

        Returns the labels as .predictions, or writes a table to `out`.
        """
        return _command_function(self.predict)(self.opened(), paths, **options)

    def stream(self, source: str | Source | Sequence[str | Source], **options: Any) -> Run:
        """Stream camera events through the model and return a Run, an iterator over its decisions.

        Iterate over the Run once. Its summary() is the account of all events.

        source     a recording, a folder of --record, "-", udp://..., tcp://..., usb://..., sim:..., a Source, or a list
                   of these
        options    framing, decide, reset, filters, observers, ...: those of runtime.Model.stream
        """
        return self.opened().stream(source, **options)

    def session(self, streams: int = 1) -> Session:
        """Open a session of a model: membranes of `streams` streams; it can step, run, reset, snapshot, restore."""
        return self.opened().session(streams)

    def bench(self, *paths: str | Path, **options: Any) -> list[Measurement]:
        """Measure latency and throughput of a step of this artifact, beside other artifacts; return a row for each.

        options    engine, streams, seconds, threads, data, ...: see `plif bench --help`
        """
        defaults = {name: self._options[name] for name in ("engine", "threads") if name in self._options}
        return _command_function(self.bench)([self.path, *paths], **(defaults | options))


def _import_name(module: str, name: str) -> Any:
    """Import a module only now that it is needed, and return one of its functions or classes by name.

    Raises MissingExtra if a library that the module needs is not installed.
    """
    try:
        return getattr(import_module(module), name)
    except AttributeError:
        raise PlifError(f"{name}: {COMMAND_REMOVED}") from None
    except ModuleNotFoundError as error:
        if module not in _EXTRAS or str(error.name).startswith(("runtime", "plif_")):
            raise
        raise MissingExtra(f"{name} of {module}", _EXTRAS[module]) from None


def _command_function(method: Callable[..., object]) -> Any:
    """Return the function behind a method of Model, which a plug-in part supplies as a command of that name.

    Raises PlifError if the part was removed.
    """
    from runtime.core.parts import find_part

    part = find_part("commands", name := method.__name__)
    if part is None or name not in part.gives:
        raise PlifError(f"{name}: {COMMAND_REMOVED}")
    return part.load(part.gives[name])


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'plif' has no attribute '{name}'")
    value = globals()[name] = _import_name(_MODULE_OF[name], name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
