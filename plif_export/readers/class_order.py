"""The classes of weights that are not ours: what their owner says, or numbers, and never a guess.

A checkpoint holds no class names, and two libraries order the classes of one data set differently. SpikingJelly's folder
data sets give class i to the i-th folder when the names are sorted as text (torchvision's DatasetFolder); DVS128 Gesture has
folders 0 to 10, so that its third output is class 10 and not class 2. plif has the classes in their natural order.
"""

from __future__ import annotations

from dataclasses import replace

from plif_export.options import CallerFacts
from plif_train.network.presets import PRESETS
from runtime.base.errors import PlifError
from runtime.model.graph import Shape

UNNAMED = (
    "nobody named its classes, so they are numbers in the order of its outputs: "
    "--classes NAME,NAME,..., or --class-order sj|natural for weights of a known data set"
)
NUMBERED = frozenset(("mnist", "nmnist", "dvs128-gesture"))  # sets whose folders are named by the class's number


def named_by(caller: CallerFacts, shape: Shape, outputs: int) -> CallerFacts:
    """The caller with `classes` in the order of the outputs, as `--classes` or `--class-order` say; None where nobody did.

    shape, outputs  of the network: the input of one step, and the number of classes
    Raises PlifError for names that do not fit the outputs, and for an order of no known data set.
    """
    order, classes = caller.class_order, caller.classes
    if order is not None:
        if classes is not None:
            raise PlifError("--class-order: --classes gives the order already; leave one of the two out")
        name = _data_set(caller.network, shape, outputs)
        classes = PRESETS[name].meta.classes
        if order == "sj" and name in NUMBERED:  # folders named by class sort as the names do: that is the natural order
            classes = tuple(classes[int(folder)] for folder in sorted(str(i) for i in range(outputs)))
    if classes is not None and len(classes) != outputs:
        raise PlifError(f"--classes: {len(classes)} names for a network of {outputs} outputs; give {outputs}")
    return replace(caller, classes=classes, class_order=None)


def _data_set(network: str | None, shape: Shape, outputs: int) -> str:
    """The preset's, or the one set whose input and number of classes the network has."""
    name = (network or "").partition(":")[0]
    if name in PRESETS and len(PRESETS[name].meta.classes) == outputs:
        return name
    fitting = [name for name, p in PRESETS.items() if (p.meta.shape, len(p.meta.classes)) == (tuple(shape), outputs)]
    if len(fitting) != 1:
        sets = f"fits {' and '.join(fitting)}" if fitting else f"is of no known data set ({', '.join(PRESETS)})"
        raise PlifError(
            f"--class-order: a network of {outputs} classes for an input {'x'.join(map(str, shape))} {sets}; "
            "give the names in the order of the outputs: --classes NAME,NAME,..."
        )
    return fitting[0]


def numbers(outputs: int) -> tuple[str, ...]:
    """The names of classes that nobody named: "0", "1", ..."""
    return tuple(str(i) for i in range(outputs))
