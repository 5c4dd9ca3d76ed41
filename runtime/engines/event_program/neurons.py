"""Neurons of the event engine: kernels for IF, LIF and PLIF, and programs of lines for every other equation.

An equation (runtime/core/model/neurons.py) is called with symbols; its expression becomes lines on registers, in the
equation's own order of operations, so that answers are those of NumPy to the bit (runtime/native/engine/machine.h
lists the lines; exp, log and tanh are its own). An expression of parameters alone is computed once for each piece of
work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime import native
from runtime.core.model.graph import output_kind
from runtime.core.model.neurons import get_equation, input_names
from runtime.core.model.records import NodeRecord
from runtime.core.model.symbol import SymbolicMath, Terms, tensor_symbol
from runtime.engines.event_program.assemble import Key, assemble
from runtime.engines.event_program.builder import Builder, Fields
from runtime.engines.event_program.layout import UNIT, LayerOutput, ParameterPack, Shape3, allocate_aligned, count_lanes
from runtime.engines.event_program.values import Values, float_bits
from runtime.native import FROM_FLOATS, FROM_SPIKES

OURS = ("IF", "LIF", "PLIF")


def kernel_fields(b: Builder, node: NodeRecord, channels: int) -> Fields | None:
    """Return the operation fields of a neuron that has a native kernel of its own; None for all others."""
    a = node["attrs"]
    if a["kind"] not in OURS or a["charge"] == "divided" or output_kind(node["attrs"]) != "spikes":
        return None
    if a["charge"] not in ("exact", "folded"):
        raise b.refuse(node, f"charge '{a['charge']}' is not in this engine")
    alpha, charge = allocate_aligned((count_lanes(channels),)), native.CHARGE_IF
    if "alpha" in node["params"]:
        alpha = b.per_lane(node, "alpha", channels)
        charge = native.CHARGE_EXACT if a["decay_input"] else native.CHARGE_NO_DECAY_INPUT
        if a["charge"] == "folded":
            charge = native.CHARGE_FOLDED
    return {
        "charge": charge,
        "alpha": alpha,
        "soft": int(a["v_reset"] is None),
        "v_threshold": float(a["v_threshold"]),
        "v_reset": 0.0 if a["v_reset"] is None else float(a["v_reset"]),
    }


def program_fields(
    b: Builder, node: NodeRecord, shape: Shape3, states: Mapping[str, int], inputs: Sequence[LayerOutput], tile: int
) -> Fields:
    """Compile a neuron without a native kernel to a program; return the fields of its operation.

    states  {variable: the number of its state}
    inputs  its inputs after the first, which is the sum of a convolution or a map
    tile    floats of that convolution's tile; 0 for a map
    """
    equation = get_equation(node["attrs"]["kind"])
    if missing := [key for key in equation.attrs if key not in node["attrs"]]:
        raise b.damaged(f"layer {node['name']}: its neurons lack {', '.join(missing)}")
    leaves: dict[str, Key] = {"x": ("INPUT",)}
    for name, value in zip(input_names(1 + len(inputs))[1:], inputs, strict=True):
        leaves[name] = ("MAP", value.offset // 64, b.find_producer(value.offset))
    leaves |= {f"state {variable}": ("STATE", state) for variable, state in states.items()}
    packed = ParameterPack()

    def leaf(name: str) -> Key:
        if name not in leaves:
            leaves[name] = _read_parameter(b, node, name.removeprefix("parameter "), shape, packed)
        return leaves[name]

    lines = Values(lambda why: b.refuse(node, f"its neurons' {why}"), leaf)
    terms = Terms(
        node["attrs"],
        {key: tensor_symbol(f"parameter {key}") for key in node["params"]},
        lambda _, number: float(number),
    )
    x = tuple(tensor_symbol(name) for name in input_names(1 + len(inputs)))
    before = {variable: tensor_symbol(f"state {variable}") for variable in states}
    _, s, after = equation.step(SymbolicMath(), terms, x[0] if len(x) == 1 else x, before)
    if set(after) != set(states):
        raise b.damaged(
            f"layer {node['name']}: its states are {', '.join(states)}, its equation has {', '.join(after)}"
        )
    gives = FROM_SPIKES if output_kind(node["attrs"]) == "spikes" else FROM_FLOATS
    if gives == FROM_SPIKES:
        s = s.inputs[0] if s.op == "Cast" else s > 0.5
    out = ("FIRE" if gives == FROM_SPIKES else "GIVE", lines.value(s))
    code, once, registers = assemble(
        lines.keys,
        out,
        {states[variable]: lines.state_value(value, states[variable]) for variable, value in after.items()},
    )
    if registers > native.MOST_REGISTERS or len(code) > native.MOST_LINES:
        raise b.refuse(node, f"a program of {len(code)} lines and {registers} registers is too long")
    b.out.need_registers(registers, tile)
    return {
        "charge": native.CHARGE_PROGRAM,
        "gives": gives,
        "alpha": packed.array(),
        "code": code,
        "lines": len(code),
        "once": once,
        "registers": registers,
    }


def _read_parameter(b: Builder, node: NodeRecord, name: str, shape: Shape3, packed: ParameterPack) -> Key:
    """Create the line of a neuron program that reads a parameter: one number, one per channel or per neuron."""
    values, (c, h, w) = b.parameter(node, name), shape
    if values.size == 1:
        return ("NUMBER", float_bits(float(values.reshape(-1)[0])))
    if values.size == c:
        return ("CHANNEL", packed.add(b.in_lanes(values.reshape(-1), c)) // UNIT)
    if values.size != c * h * w:
        raise b.damaged(f"layer {node['name']}: {name} has {values.size} numbers; expected 1, {c} or {c * h * w}")
    in_place = allocate_aligned((h, w, count_lanes(c)))
    in_place[..., :c] = values.reshape(c, h, w).transpose(1, 2, 0)
    return ("EACH", packed.add(in_place.reshape(-1)) // UNIT)
