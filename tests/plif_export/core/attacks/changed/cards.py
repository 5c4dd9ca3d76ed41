"""Every key of the card: without it, with another value, with another type, and keys that it lacks. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.core.model.card import Card
from tests.plif_export.core.attacks.artifacts import attack, reseal

# The keys of a card of a network on events that was trained by plif, and another value for each that could be one.
VALUES: dict[str, Any] = {
    "T": lambda T: T + 1,
    "batch": lambda batch: 4,
    "classes": lambda names: names[::-1],
    "classes_named": lambda named: not named,
    "form": lambda form: "unrolled" if form == "step" else "step",
    "format_version": lambda version: version + 1,
    "framing": lambda framing: "duration:1ms",
    "graph": lambda graph: graph | {"hoisted": [graph["nodes"][0]["name"]]},
    "input": lambda found: found | {"kind": "static"},
    "math": lambda math: "exact",
    "normalisation": lambda found: {"mean": [0.5, 0.5], "std": [2.0, 2.0]},
    "notation": lambda notation: notation + "-DP",
    "output": lambda output: output | {"voters": output.get("voters", 1) * 2},
    "parity": lambda parity: parity | {"spikes": 1_000_000_000, "steps": 100_000_000},
    "precision": lambda precision: "int8",
    "provenance": lambda found: {"author": "the Ministry", "accuracy": 1.0},
    "source_sha256": lambda sha256: sha256[::-1],
    "states": lambda states: states[::-1],
    "taus": lambda taus: {layer: tau * 2 for layer, tau in taus.items()},
    "v_reset": lambda v: -1.0,
    "v_threshold": lambda v: 0.5,
    "versions": lambda versions: versions | {"plif": "99.0"},
}
NAMED = (
    "versions",
    "parity",
    "provenance",
    "memory",
    "exit",
    "decide",
)  # notes, and what a later command writes: may be named

# Keys that a card may have and this one has not, some of which the runtime obeys, and one that nobody knows.
ADDED: dict[str, Any] = {
    "view": "upright",
    "exit": {"margin": 1e-9},
    "sensor": [640, 480],
    "decide": {"rule": "leak:1ms,margin=0.9"},
    "trained_on": {"size": [1, 1], "rate": 1.0},
    "recipe": {"epochs": 1000},
    "target": "plif",
    "memory": {"flash": 1, "ram": 1},
    "stateful": True,
    "engine": {"sha256": "0" * 64},
    "triton": {"backend": "python", "model": "other"},
    "files": {"model.xml": "0" * 64},
    "variable": "h",
    "not_proved": [],
    "structure": [],
    "x-vendor": {"licence": "free for all"},
    "": "an empty key",
    "Classes": ["x", "y"],
    "classes\u200b": ["x", "y"],
}


def card(name: str, expected: str = "refused", target: str = "onnx") -> Callable[[Any], Any]:
    """Enters a function of the card (changed in place) as an attack."""

    def enter(change: Callable[[Card], object]) -> Callable[[Card], object]:
        def changed(path: Path) -> None:
            reseal(path, change)

        changed.__doc__ = change.__doc__ or "the card says something else than the model"
        attack(target, expected, name)(changed)
        return change

    return enter


def _expected(key: str) -> str:
    return "named" if key in NAMED else "refused"


def _removed(key: str) -> Callable[[Card], object]:
    return lambda card: card.pop(key, None)


def _other(key: str, make: Callable[[Any], Any]) -> Callable[[Card], object]:
    def change(card: Card) -> None:
        card[key] = make(card.get(key))

    return change


def _typed(value: Any) -> Any:
    """The same value in another type, which a careless comparison takes for equal; a list of it where there is none."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return float(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else str(value)
    if isinstance(value, dict):
        return [value]
    return {"": value} if isinstance(value, list) else [value]


for _key, _make in VALUES.items():
    if _key != "provenance":  # to say nothing of where a network comes from claims nothing
        card(f"card_without_{_key}", _expected(_key))(_removed(_key))
    card(f"card_with_another_{_key}", _expected(_key))(_other(_key, _make))
    card(f"card_with_{_key}_of_another_type", _expected(_key))(_other(_key, _typed))

for _key, _value in ADDED.items():
    card(f"card_with_the_key_{_key or 'that is empty'}", _expected(_key))(
        _other(_key, lambda old, value=_value: value)
    )  # sensor is there, of another size

card("card_with_zero_as_minus_zero")(_other("v_reset", lambda v: -0.0))
card("card_with_one_as_true")(_other("T", lambda T: True))


# --- inside ---------------------------------------------------------------------------------------------------------------


def _node(op: str, change: Callable[[dict[str, Any]], object], number: int = 0) -> Callable[[Card], object]:
    """Changes one node of the card's graph, from which the event engine takes the network."""
    return lambda card: change([node for node in card["graph"]["nodes"] if node["op"] == op][number])


def _state(change: Callable[[dict[str, Any]], object], number: int = 0) -> Callable[[Card], object]:
    return lambda card: change(card["states"][number])


card("card_padding_of_a_convolution")(_node("Conv", lambda node: node["attrs"].update(padding=0)))
card("card_stride_as_a_list")(_node("Conv", lambda node: node["attrs"].update(stride=[1, 1])))
card("card_one_more_attribute_of_a_layer")(_node("Conv", lambda node: node["attrs"].update(dilation=1)))
card("card_an_attribute_less")(_node("Conv", lambda node: node["attrs"].pop("groups")))
card("card_threshold_of_a_neuron")(_node("Neuron", lambda node: node["attrs"].update(v_threshold=1.0000001)))
card("card_reset_of_a_neuron_is_soft")(_node("Neuron", lambda node: node["attrs"].update(v_reset=None)))
card("card_a_neuron_of_another_kind")(_node("Neuron", lambda node: node["attrs"].update(kind="LIF")))
card("card_a_neuron_with_another_layer_name")(_node("Neuron", lambda node: node["attrs"].update(layer="conv9")))
card("card_shape_of_a_layer")(_node("Conv", lambda node: node["shape"].reverse()))
card("card_a_layer_reads_another_weight")(_node("Linear", lambda node: node["params"].update(weight="fc2.weight")))
card("card_a_layer_reads_one_more_tensor")(_node("Linear", lambda node: node["params"].update(scale="conv1.bias")))
card("card_a_node_with_one_more_key")(_node("Conv", lambda node: node.update(engine="cuda")))
card("card_a_state_begins_at_a_half")(_state(lambda state: state.update(initial=0.5)))
card("card_a_state_of_float16")(_state(lambda state: state.update(dtype="float16")))
card("card_a_state_of_another_layer")(_state(lambda state: state.update(layer="fc2")))
card("card_a_state_without_its_variable")(_state(lambda state: state.pop("variable")))
card("card_a_state_with_one_more_key")(_state(lambda state: state.update(decay=0.5)))
card("card_a_state_begins_at_minus_zero")(_state(lambda state: state.update(initial=-0.0)))
card("card_input_has_one_more_key")(lambda card: card["input"].update(layout="BHWC"))
card("card_output_is_spikes")(lambda card: card.update(output={"kind": "spikes"}))
card("card_output_has_a_shape")(lambda card: card["output"].update(shape=[len(card["classes"])]))
card("card_a_class_has_a_space_more")(lambda card: card["classes"].__setitem__(0, card["classes"][0] + " "))
card("card_a_class_that_looks_the_same")(lambda card: card["classes"].__setitem__(0, card["classes"][0] + "\u200b"))
card("card_a_class_twice")(lambda card: card["classes"].__setitem__(0, card["classes"][1]))
card("card_one_class_more")(lambda card: card["classes"].append("nothing"))
card("card_tau_in_the_last_digit")(lambda card: card["taus"].update({next(iter(card["taus"])): 1.7514985732000471}))
card("card_one_tau_more")(lambda card: card["taus"].update(fc9=2.0))
card("card_parity_proved_on_a_gpu", "named")(lambda card: card["parity"].update(engine="tensorrt"))
card("card_parity_lists_nothing_untested", "named")(lambda card: card.update(parity="0 of 1000000000 spikes differ"))
card("card_provenance_with_a_log", "named")(lambda card: card.setdefault("provenance", {}).update(log="00" * 32))
card("card_framing_with_a_space")(lambda card: card.update(framing=f"{card['framing']} "))

for _target in ("plif", "c", "nir", "openvino", "triton"):
    card(f"{_target}_card_with_view", target=_target)(lambda card: card.update(view="upright"))
    card(f"{_target}_card_with_other_classes", target=_target)(_other("classes", VALUES["classes"]))
    card(f"{_target}_card_with_an_unknown_key", target=_target)(lambda card: card.update(vendor=1))
    card(f"{_target}_card_without_a_target", target=_target)(_removed("target"))
    card(f"{_target}_card_with_another_source", target=_target)(_other("source_sha256", VALUES["source_sha256"]))
    card(f"{_target}_card_with_other_taus", target=_target)(_other("taus", VALUES["taus"]))
    card(f"{_target}_card_with_another_parity", "named", _target)(lambda card: card.update(parity="0 of 10^9 differ"))
card("c_card_says_less_memory", "named", target="c")(lambda card: card["memory"].update(ram=1))
card("openvino_card_says_stateful", target="openvino")(lambda card: card.update(stateful=True))
card("triton_card_says_another_model", target="triton")(lambda card: card["triton"].update(model="other"))
