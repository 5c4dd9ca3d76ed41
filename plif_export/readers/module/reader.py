"""A live nn.Module -> SNN graph, by running it and writing down what it does.

    forms          how it is run for T steps: one step a call, a sequence, or an image with a loop inside
    record, steps  every operation of a run, as nodes; operations on all steps taken apart
    body           what every step does, its states and what they start from
    readout        what forward makes of the steps at the end
    regions        which operations are one layer of neurons
    lower          the graph; neuron_program: known kinds of neurons, or their program as written
    check          whether the module does what was read, over whole sequences, and what its copies did (runs/original)

Nothing is taken on trust: what was read is compared with the module's own forward first. The module itself is left as it was.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from plif_export.core.options import CallerFacts
from plif_export.core.proof.reference import one_thread
from plif_export.core.readers.facts import Examined, ModelFacts, TrainedModel
from plif_export.core.readers.rules import Problem, Unsupported, refuse
from plif_export.readers.libraries.neurons import keeps_state, neuron_type
from plif_export.readers.libraries.rewritten import refusals
from plif_export.readers.module.body import COUNTS, StepProgram, ancestors, find_body, find_initial, keep_needed
from plif_export.readers.module.check import compare
from plif_export.readers.module.hidden import hidden_state
from plif_export.readers.module.lower import Lowering, ModuleReading
from plif_export.readers.module.readout import outputs_of, read_out
from plif_export.readers.module.reference import ModuleReference
from plif_export.readers.module.regions import above, below
from plif_export.readers.module.runs.places import PlacedRun, find_places
from plif_export.readers.tracing.copies import failed, owners_weights, put_back, with_shared_weights
from plif_export.readers.tracing.forms import ONE_INPUT, WAY_OUT, Form, forms, second_inputs
from plif_export.readers.tracing.nodes import NodeOrSteps, Steps, Table, TraceNode
from plif_export.readers.tracing.record import TraceRun
from runtime.core.base.errors import PlifError

BATCHES = (7, 11, 13, 17)  # of the example runs: one that is no size of anything else


def read(module: nn.Module, caller: CallerFacts, example_input: object) -> TrainedModel:
    """The graph of a live module. Raises PlifError with the first problem.

    example_input  one step [B, ...], or the sequence [T, B, ...] or [B, T, ...] that forward takes
    """
    reading, problems = examine(module, _example(module, example_input, caller), caller)
    refuse(problems)
    assert reading is not None and reading.graph is not None
    form = reading.form
    said = replace(
        caller,
        T=caller.T or (form.T if caller.framing is None else None),
        kind=caller.kind or ("static" if form.kind == "static" and caller.framing is None else None),
    )
    facts = ModelFacts.from_caller(said, reading.graph)
    found = compare(reading, None if "T" in facts.unsaid else facts.T, caller.prove_steps)
    refuse(found.problems)
    if form.kind != "step":
        found.notes.append(f"{type(module).__name__}: {reading.readout.sentence()}")
    for name, mine in owners_weights(form.module).items():  # nothing is run any more
        form.module.get_parameter(name).data = mine
    model = TrainedModel(reading.graph, ModuleReference(reading), facts, notes=found.notes, sampled=found.sampled)
    return replace(model, not_proved=[*reading.not_proved, *found.not_proved], untested=found.untested)


def check(module: nn.Module, caller: CallerFacts, example_input: object) -> Examined:
    """What becomes of each layer of a live module, and whether the module does what was read of it."""
    reading, problems = examine(module, _example(module, example_input, caller), caller)
    if reading is not None and not problems:
        problems = compare(reading).problems
    graph = None if reading is None else reading.graph
    facts = None if graph is None else ModelFacts.from_caller(caller, graph)
    return Examined([] if reading is None else reading.entries, problems, graph, facts)


def _example(module: nn.Module, given: object, caller: CallerFacts) -> object:
    """An input of a module: the one that was given, or one step of the caller's shape."""
    if given is None and caller.shape is None:
        raise PlifError(
            f"a {type(module).__name__} does not say the shape of its input; give that of one step, --shape 2,34,34, or: "
            "export(module, 'm.onnx', torch.zeros(1, 2, 34, 34))"
        )
    return torch.zeros(1, *caller.shape) if given is None and caller.shape else given


def examine(
    module: nn.Module, example_input: object, caller: CallerFacts | None = None
) -> tuple[ModuleReading | None, list[Problem]]:
    """Reads a module: what was read, and every problem found. An empty list means that it can be exported."""
    caller = caller or CallerFacts()
    name = type(module).__name__
    if isinstance(example_input, tuple | list | dict):
        return None, [Problem("forward", name, f"it has {len(example_input)} inputs, and a file has one", ONE_INPUT)]
    shape = getattr(example_input, "shape", None)
    if shape is None:
        rule = f"its example is a {type(example_input).__name__}"
        return None, [Problem("forward", name, rule, "give a tensor of one step [B, ...]")]
    if any(p.dtype != torch.float32 for p in module.parameters()):
        return None, [Problem("", name, "its weights are not float32", "convert it: module.float()")]
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        return None, [Problem("forward", name, "it is compiled by torch.jit.script", "give the Python module")]
    if found := refusals(module):
        return None, found
    if keeps_state(module):
        module = nn.Sequential(module)
    with one_thread(), put_back(module):
        return _first_form(module, tuple(shape), caller)


def _first_form(
    module: nn.Module, shape: tuple[int, ...], caller: CallerFacts
) -> tuple[ModuleReading | None, list[Problem]]:
    """What the first form gives in which the module can be read; else what the likeliest one gives."""
    tried: list[tuple[ModuleReading | None, list[Problem]]] = []
    try:
        for form in forms(with_shared_weights(module), torch.zeros(shape), caller.shape):
            try:
                problems, not_proved = hidden_state(form)
                reading, problems = (None, problems) if problems else _read(form, caller)
                if reading is not None:
                    reading.not_proved, reading.original = [*reading.not_proved, *not_proved], module
            except Exception as error:  # whatever the module's own Python raises
                reading, problems = None, [failed(form.module, error, shape[1:])]
            tried.append((reading, [_with_way_out(problem, form) for problem in problems]))
            if not problems:
                return tried[-1]
    except Exception as error:
        tried.append((None, [failed(module, error, shape[1:])]))
    return tried[0]


def _with_way_out(problem: Problem, form: Form) -> Problem:
    if form.kind == "step" or problem.rule.startswith("it returns"):
        return problem
    return replace(problem, advice=f"{problem.advice}; {WAY_OUT}")


def _read(form: Form, caller: CallerFacts) -> tuple[ModuleReading | None, list[Problem]]:
    found: tuple[ModuleReading | None, list[Problem]] | None = None
    problem: Unsupported | None = None
    try:
        found = _read_from(form, caller, 2)
        if not any(each.rule == COUNTS for each in found[1]):
            return found
    except Unsupported as first:
        if form.kind == "step":
            raise
        problem = first
    try:  # a size that happens to be T hides what repeats; a window over five inputs has only zeros in it at first
        return _read_from(form, caller, 7)
    except Unsupported:
        if found is None:
            raise problem or AssertionError from None
        return found


def _read_from(form: Form, caller: CallerFacts, first: int) -> tuple[ModuleReading | None, list[Problem]]:
    """Reads from runs of the lengths first ... first + 3."""
    table, runs, x = record_runs(form, range(first, first + 4))
    at = first + 1
    program, read = find_body(runs, table, at, form.kind == "static")
    lost = _lost(form, runs[at + 1], program)
    if lost:
        return None, lost
    for argument in second_inputs(form):
        raise Unsupported(f"forward asks for '{argument}' too, and a file has one input", ONE_INPUT, "")
    index, result = _chosen_output(form, runs[at].made, runs[at + 1].made, program, caller)
    readout = read_out(result, program)
    if not readout.value.moves:
        raise Unsupported("its output does not depend on its input", "check what forward does with it", "")
    parts = dict(form.module.named_modules())
    keep_needed(program, [readout.value], lambda path: any(keeps_state(parts[p]) for p in above(path) if p in parts))
    if not program.states:
        return None, [_without_state(form)]
    find_initial(program, read, at, runs[at].held, x)
    reading = ModuleReading(form, program, readout, index, runs[at + 1].left, places=find_places(runs, at, program))
    known = program.static(program.batch, x if program.image else None, readout.tail, readout.reduced)
    lowering = Lowering(program, readout, form.module, form.shape, known)
    graph = lowering.graph()
    if graph is None and readout.tail and readout.folded:  # what may be done in each step, but has no word in the graph
        readout.folded = False
        lowering = Lowering(program, readout, form.module, form.shape, known)
        graph = lowering.graph()
    reading.graph, reading.entries, reading.layers = graph, lowering.entries, lowering.layers
    reading.not_proved += runs[at + 1].raising
    return reading, lowering.problems


def record_runs(form: Form, lengths: range) -> tuple[Table, dict[int, PlacedRun], Tensor]:
    """A run of each length, on the same input, in one table; and that input, [T, B, ...] or [B, ...]."""
    for batch in BATCHES:
        table, runs = Table(batch), dict[int, PlacedRun]()
        x = form.steps(max(lengths), batch)
        for T in lengths:
            given = form.arranged(x[:T]) if form.kind != "static" else x.clone()
            copied = form.copy()
            with form.during(T):
                try:
                    runs[T] = PlacedRun(table, copied, T).record(given, form.axis, form.forward(T))
                except Unsupported:
                    raise
                except Exception as error:
                    if min(lengths) == T:
                        raise
                    what = " ".join(str(error).split())[:80]
                    raise Unsupported(
                        f"forward fails with T = {T} ({what})", "it must run with any number of steps", ""
                    ) from None
            if min(lengths) == T and table.ambiguous() and batch != BATCHES[-1]:
                break
        else:
            owners = owners_weights(form.module)
            for node in table.nodes.values():  # in memory once
                mine = owners.get(str(node.args[0])) if node.op == "param" else None
                if mine is not None and node.data is not None and torch.equal(node.data, mine):
                    node.data = mine
            return table, runs, x
    raise AssertionError("unreachable")


def _lost(form: Form, run: TraceRun, program: StepProgram) -> list[Problem]:
    """Neurons that were called and that no state was found in."""
    found = []
    kept = [s.after.path for s in program.states] + [
        n.path for s in program.states for n in program.body if s.before in n.reads
    ]
    for path, part in form.module.named_modules():
        kind = neuron_type(part)
        if not keeps_state(part):
            continue
        if any(below(p, path) for p in kept):
            continue
        if any(n.moves and n.op != "x" and below(n.path, path) for n in run.order):
            rule = "the module does not carry its state from one call to the next"
            if form.kind != "step":
                mixes = _takes_all_steps(run, path)
                if mixes is not None:
                    found.append(mixes)
                    continue
                rule = "its state does not go from one step to the next: it is reset, or runs backwards"
            keep = "keep it in the module; do not reset it inside forward, nor make all steps in one operation"
            keep = keep if kind is None else kind.keep
            found.append(Problem(path, type(part).__name__, rule, keep))
    return list(dict.fromkeys(found))


def _takes_all_steps(run: TraceRun, path: str) -> Problem | None:
    """The problem of the first operation before a neuron that takes all steps at once; None where there is none."""
    before = ancestors(n for n in run.order if n.moves and below(n.path, path))
    node = next((n for n in run.order if n in before and n.moves and not run.joined.isdisjoint(n.reads)), None)
    if node is None:
        return None
    part = run.module.get_submodule(node.path)
    rule = f"{node.name}() takes all steps at once, so that a step needs later ones"
    return Problem(node.path or "forward", type(part).__name__, rule, "give each step what comes before it only")


def _without_state(form: Form) -> Problem:
    name = type(form.module).__name__
    if form.kind == "step":
        advice = "export it with torch.onnx, or put neurons into it"
        return Problem("forward", name, "it has no spiking neuron: no value goes from one call to the next", advice)
    rule = "no value goes from a step to the next: it has no state, mixes all steps in one operation, or runs backwards"
    return Problem("forward", name, rule, "give each step what the step before left")


def _chosen_output(
    form: Form, shorter: object, made: object, program: StepProgram, caller: CallerFacts
) -> tuple[int, NodeOrSteps]:
    """(index, what was recorded) of the output that is read."""
    found = outputs_of(made)
    if len(found) != len(outputs_of(shorter)):
        raise Unsupported("it returns a list of T outputs", "return torch.stack(list)", "")
    if not found:
        raise Unsupported("it returns no tensor", "return the spikes, currents or votes", "")
    index = caller.output
    if index is not None:
        if not 0 <= index < len(found):
            raise Unsupported(f"output {index} of {len(found)}", f"it returns {_named(found, program)}", "")
        return index, found[index][1]
    if len(found) > 1 and not (form.kind == "step" and all(_is_state(r, program) for _, r in found[1:])):
        raise Unsupported(
            f"it returns {len(found)} outputs", f"say which with output=0 ...: {_named(found, program)}", ""
        )
    return 0, found[0][1]


def _last(r: NodeOrSteps) -> TraceNode:
    node = r.items[-1] if isinstance(r, Steps) else r
    return node.source if node.name == "reshape" else node


def _is_state(r: NodeOrSteps, program: StepProgram) -> bool:
    return _last(r) in {s.after for s in program.states} or not _last(r).moves


def _named(found: list[tuple[str, NodeOrSteps]], program: StepProgram) -> str:
    def what(r: NodeOrSteps) -> str:
        node = _last(r)
        kind = "a state of" if _is_state(r, program) else "from"
        over = "every step's" if isinstance(r, Steps) else "one"
        return f"{over} value {kind} '{node.path or 'forward'}'"

    return ", ".join(f"{i} is {what(r)}" for i, (_, r) in enumerate(found))
