"""The reader of a live nn.Module: it runs the module, records the operations, and returns an SNN graph.

    forms          the form in which it runs for T steps: one step a call, a sequence, or an image with a loop inside
    record, steps  every operation of a run, as nodes; operations on all steps split by step
    body           the program of every step, its states and their initial values
    readout        the way in which forward combines the steps at the end
    regions        the operations that are one layer of neurons
    lower          the graph; neuron_program: known kinds of neurons, or their program as written
    check          comparison with the module over whole sequences, and of the module with its copies (runs/original)

Nothing is trusted: the result is compared with the module's own forward first. The module itself is restored.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from plif_export.core.options import CallerFacts
from plif_export.core.proof.reference import one_thread
from plif_export.core.readers.facts import ModelCheck, ModelFacts, TrainedModel
from plif_export.core.readers.rules import Problem, Unsupported, refuse_problems
from plif_export.readers.libraries.neurons import find_neuron_type, keeps_state
from plif_export.readers.libraries.rewritten import find_refused_parts
from plif_export.readers.module.hidden import find_hidden_state
from plif_export.readers.module.lower import GraphLowering
from plif_export.readers.module.reference import ModuleReference
from plif_export.readers.module.spread import spread_comparisons
from plif_export.readers.module_runs.check import compare_with_module
from plif_export.readers.module_runs.first_calls import record_first_calls
from plif_export.readers.step_program.body import (
    NO_INPUT_RULE,
    NeedsLongerRunsError,
    StepProgram,
    drop_unused,
    find_ancestors,
    find_initial_values,
    find_step_program,
)
from plif_export.readers.step_program.places import CallTrackingRun, find_call_sites
from plif_export.readers.step_program.reading import ModuleReading
from plif_export.readers.step_program.readout import find_readout, list_outputs
from plif_export.readers.step_program.regions import is_inside, parent_paths
from plif_export.readers.tracing.copies import find_owner_weights, locate_failure, preserve_module, share_weights
from plif_export.readers.tracing.forms import (
    ONE_INPUT_ADVICE,
    SINGLE_STEP_ADVICE,
    CallForm,
    find_extra_inputs,
    find_forms,
)
from plif_export.readers.tracing.nodes import NodeOrSteps, NodeTable, Steps, TraceNode
from plif_export.readers.tracing.record import TraceRun
from runtime.core.base.errors import PlifError

BATCHES = (7, 11, 13, 17)  # of the example runs: the first that is no other size in the module


def read(module: nn.Module, caller: CallerFacts, example_input: object) -> TrainedModel:
    """Read a live PyTorch module into the graph for an export. Raises PlifError with the first problem.

    example_input: one step [B, ...], or the sequence [T, B, ...] or [B, T, ...] that forward takes.
    """
    reading, problems = examine_module(module, _make_example(module, example_input, caller), caller)
    refuse_problems(problems)
    assert reading is not None and reading.graph is not None
    form = reading.form
    completed = replace(
        caller,
        T=caller.T or (form.T if caller.framing is None else None),
        kind=caller.kind or ("static" if form.kind == "static" and caller.framing is None else None),
    )
    facts = ModelFacts.from_caller(completed, reading.graph)
    comparison = compare_with_module(reading, None if "T" in facts.unstated else facts.T, caller.prove_steps)
    refuse_problems(comparison.problems)
    if form.kind != "step":
        comparison.notes.append(f"{type(module).__name__}: {reading.readout.describe()}")
    for name, weight in find_owner_weights(form.module).items():  # no more runs follow
        form.module.get_parameter(name).data = weight
    model = TrainedModel(
        reading.graph, ModuleReference(reading), facts, notes=comparison.notes, sampled=comparison.sampled
    )
    return replace(model, not_proved=[*reading.not_proved, *comparison.not_proved], untested=comparison.untested)


def check(module: nn.Module, caller: CallerFacts, example_input: object) -> ModelCheck:
    """Check a live PyTorch module for an export: return the graph node or the problem of each of its layers."""
    reading, problems = examine_module(module, _make_example(module, example_input, caller), caller)
    if reading is not None and not problems:
        problems = compare_with_module(reading).problems
    graph = None if reading is None else reading.graph
    facts = None if graph is None else ModelFacts.from_caller(caller, graph)
    return ModelCheck([] if reading is None else reading.entries, problems, graph, facts)


def _make_example(module: nn.Module, example: object, caller: CallerFacts) -> object:
    """Return the example input of a module: the caller's, or zeros if only the shape of one step was given."""
    if example is None and caller.shape is None:
        raise PlifError(
            f"{type(module).__name__}: its input shape is unknown; give the shape of one time-step, such as --shape 2,34,34, or: "
            "export(module, 'm.onnx', torch.zeros(1, 2, 34, 34))"
        )
    return torch.zeros(1, *caller.shape) if example is None and caller.shape else example


def examine_module(
    module: nn.Module, example_input: object, caller: CallerFacts | None = None
) -> tuple[ModuleReading | None, list[Problem]]:
    """Read a live PyTorch module into a graph, and list every problem that prevents an export: none, if it can be."""
    caller = caller or CallerFacts()
    name = type(module).__name__
    if isinstance(example_input, tuple | list | dict):
        rule = f"it takes a {type(example_input).__name__} of {len(example_input)}, and a file has one tensor as input"
        return None, [Problem("forward", name, rule, ONE_INPUT_ADVICE)]
    shape = getattr(example_input, "shape", None)
    if shape is None:
        rule = f"its example is a {type(example_input).__name__}"
        return None, [Problem("forward", name, rule, "give a tensor of one step [B, ...]")]
    if any(p.dtype != torch.float32 for p in module.parameters()):
        return None, [Problem("", name, "its weights are not float32", "convert it: module.float()")]
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        return None, [Problem("forward", name, "it is compiled by torch.jit.script", "give the Python module")]
    if refused := find_refused_parts(module):
        return None, refused
    if keeps_state(module):
        module = nn.Sequential(module)
    repeat_first_calls = record_first_calls(module, tuple(shape))
    with one_thread(), preserve_module(module):
        reading, problems = _read_first_form(module, tuple(shape), caller)
    if reading is not None:
        reading.original, reading.repeat_first_calls = module, repeat_first_calls
    return reading, problems


def _read_first_form(
    module: nn.Module, shape: tuple[int, ...], caller: CallerFacts
) -> tuple[ModuleReading | None, list[Problem]]:
    """Read a module in the first way of calling it that works; otherwise return the likeliest way's problems."""
    tried: list[tuple[ModuleReading | None, list[Problem]]] = []
    try:
        for form in find_forms(share_weights(module), torch.zeros(shape), caller.shape):
            try:
                problems, not_proved, leaves_torch = find_hidden_state(form)
                reading, problems = (None, problems) if problems else _read_form(form, caller, leaves_torch)
                if reading is not None:
                    reading.not_proved += not_proved
            except Exception as error:  # whatever the module's own Python raises
                reading, problems = None, [locate_failure(form.module, error, shape[1:])]
            tried.append((reading, [_add_form_advice(problem, form) for problem in problems]))
            if not problems:
                return tried[-1]
    except Exception as error:
        tried.append((None, [locate_failure(module, error, shape[1:])]))
    return tried[0]


def _add_form_advice(problem: Problem, form: CallForm) -> Problem:
    if form.kind == "step" or problem.rule.startswith("it returns"):
        return problem
    return replace(problem, advice=f"{problem.advice}; {SINGLE_STEP_ADVICE}")


def _read_form(form: CallForm, caller: CallerFacts, leaves_torch: bool) -> tuple[ModuleReading | None, list[Problem]]:
    first_reading: tuple[ModuleReading | None, list[Problem]] | None = None
    problem: Unsupported | None = None
    try:
        first_reading = _read_lengths(form, caller, 2, leaves_torch)
        if not any(entry.rule == NO_INPUT_RULE for entry in first_reading[1]):
            return first_reading
    except Unsupported as first:
        if form.kind == "step" and not isinstance(first, NeedsLongerRunsError):
            raise
        problem = first
    try:  # a size equal to T hides the repetition, and a window over five inputs holds only zeros at first: try other lengths
        return _read_lengths(form, caller, 7, leaves_torch)
    except Unsupported:
        if first_reading is None:
            raise problem or AssertionError from None
        return first_reading


def _read_lengths(
    form: CallForm, caller: CallerFacts, first: int, leaves_torch: bool
) -> tuple[ModuleReading | None, list[Problem]]:
    """Read a module by comparing recorded runs of four sequence lengths: first, first + 1, and two more."""
    table, runs, x = record_runs(form, range(first, first + 4), leaves_torch)
    length = first + 1
    program, previous = find_step_program(runs, table, length, form.kind == "static")
    lost = _find_lost_neurons(form, runs[length + 1], program)
    if lost:
        return None, lost
    for argument in find_extra_inputs(form):
        raise Unsupported(f"forward asks for '{argument}' too, and a file has one input", ONE_INPUT_ADVICE, "")
    index, output = _choose_output(form, runs[length].output, runs[length + 1].output, program, caller)
    readout = find_readout(output, program)
    if not readout.value.moves:
        raise Unsupported("its output does not depend on its input", "check what forward does with it", "")
    parts = dict(form.module.named_modules())
    drop_unused(
        program, [readout.value], lambda path: any(keeps_state(parts[p]) for p in parent_paths(path) if p in parts)
    )
    if not program.states:
        return None, [_stateless_problem(form)]
    find_initial_values(program, previous, length, runs[length].replaced_tensors, x)
    reading = ModuleReading(
        form, program, readout, index, runs[length + 1].final_states, call_sites=find_call_sites(runs, length, program)
    )
    spread_comparisons(program)
    constants = program.fold_constants(program.batch, x if program.image else None, readout.tail, readout.reduced)
    lowering = GraphLowering(program, readout, form.module, form.shape, constants)
    graph = lowering.build_graph()
    if (
        graph is None and readout.tail and readout.folded
    ):  # the tail can run in each step, but the graph has no operation for it
        readout.folded = False
        lowering = GraphLowering(program, readout, form.module, form.shape, constants)
        graph = lowering.build_graph()
    reading.graph, reading.entries, reading.layers = graph, lowering.entries, lowering.layers
    reading.not_proved += runs[length + 1].index_notes
    return reading, lowering.problems


def record_runs(
    form: CallForm, lengths: range, leaves_torch: bool
) -> tuple[NodeTable, dict[int, CallTrackingRun], Tensor]:
    """Record one run of a module per sequence length, in a table where equal operations are one node.

    leaves_torch: it may read values of tensors where no recorder sees it: new tensors of numbers are refused.
    Returns: the table, {length: run}, and the input, [T, B, ...] or [B, ...].
    """
    for batch in BATCHES:
        table, runs = NodeTable(batch), dict[int, CallTrackingRun]()
        x = form.make_input(max(lengths), batch)
        for T in lengths:
            forward_input = form.arrange_input(x[:T]) if form.kind != "static" else x.clone()
            copied = form.copy()
            with form.set_length(T):
                try:
                    run = CallTrackingRun(table, copied, T, leaves_torch)
                    runs[T] = run.record(forward_input, form.axis, form.make_call(T))
                except Unsupported:
                    raise
                except Exception as error:
                    if min(lengths) == T:
                        raise
                    message = " ".join(str(error).split())[:80]
                    raise Unsupported(
                        f"forward fails with T = {T} ({message})", "it must run with any number of steps", ""
                    ) from None
            if min(lengths) == T and table.is_ambiguous() and batch != BATCHES[-1]:
                break
        else:
            owners = find_owner_weights(form.module)
            for node in table.nodes.values():  # so that weights are in memory once
                weight = owners.get(str(node.args[0])) if node.op == "param" else None
                if weight is not None and node.data is not None and torch.equal(node.data, weight):
                    node.data = weight
            return table, runs, x
    raise AssertionError("unreachable")


def _find_lost_neurons(form: CallForm, run: TraceRun, program: StepProgram) -> list[Problem]:
    """List, as problems, the neurons of a module that ran but carry no state from step to step."""
    problems = []
    state_paths = [s.after.path for s in program.states] + [
        n.path for s in program.states for n in program.body if s.before in n.reads
    ]
    for path, part in form.module.named_modules():
        kind = find_neuron_type(part)
        if not keeps_state(part):
            continue
        if any(is_inside(p, path) for p in state_paths):
            continue
        if any(n.moves and n.op != "x" and is_inside(n.path, path) for n in run.order):
            rule = "the module does not carry its state from one call to the next"
            if form.kind != "step":
                problem = _find_mixed_steps(run, path)
                if problem is not None:
                    problems.append(problem)
                    continue
                rule = "its state does not go from one step to the next: it is reset, or runs backwards"
            advice = "keep it in the module; do not reset it inside forward, nor make all steps in one operation"
            advice = advice if kind is None else kind.keep
            problems.append(Problem(path, type(part).__name__, rule, advice))
    return list(dict.fromkeys(problems))


def _find_mixed_steps(run: TraceRun, path: str) -> Problem | None:
    """Return the problem of the first operation before a neuron that mixes several time-steps, or None."""
    before = find_ancestors(n for n in run.order if n.moves and is_inside(n.path, path))
    node = next((n for n in run.order if n in before and n.moves and not run.joined.isdisjoint(n.reads)), None)
    if node is None:
        return None
    part = run.module.get_submodule(node.path)
    rule = f"{node.name}() takes all steps at once, so that a step needs later ones"
    return Problem(node.path or "forward", type(part).__name__, rule, "give each step what comes before it only")


def _stateless_problem(form: CallForm) -> Problem:
    name = type(form.module).__name__
    if form.kind == "step":
        advice = "export it with torch.onnx, or put neurons into it"
        return Problem("forward", name, "it has no spiking neuron: no value goes from one call to the next", advice)
    rule = "no value goes from a step to the next: it has no state, mixes all steps in one operation, or runs backwards"
    return Problem("forward", name, rule, "give each step what the step before left")


def _choose_output(
    form: CallForm, shorter: object, longer: object, program: StepProgram, caller: CallerFacts
) -> tuple[int, NodeOrSteps]:
    """Choose which tensor of those that forward returns the exported file outputs: (index, node or Steps)."""
    outputs = list_outputs(longer)
    if len(outputs) != len(list_outputs(shorter)):
        raise Unsupported("it returns a list of T outputs", "return torch.stack(list)", "")
    if not outputs:
        raise Unsupported("it returns no tensor", "return the spikes, currents or votes", "")
    index = caller.output
    if index is not None:
        if not 0 <= index < len(outputs):
            raise Unsupported(
                f"output {index} of {len(outputs)}", f"it returns {_describe_outputs(outputs, program)}", ""
            )
        return index, outputs[index][1]
    if len(outputs) > 1 and not (form.kind == "step" and all(_is_state(r, program) for _, r in outputs[1:])):
        advice = f"say which with output=0 ...: {_describe_outputs(outputs, program)}"
        raise Unsupported(f"it returns {len(outputs)} outputs", advice, "")
    return 0, outputs[0][1]


def _last_node(r: NodeOrSteps) -> TraceNode:
    node = r.items[-1] if isinstance(r, Steps) else r
    return node.source if node.name == "reshape" else node


def _is_state(r: NodeOrSteps, program: StepProgram) -> bool:
    return _last_node(r) in {s.after for s in program.states} or not _last_node(r).moves


def _describe_outputs(outputs: list[tuple[str, NodeOrSteps]], program: StepProgram) -> str:
    def describe(r: NodeOrSteps) -> str:
        node = _last_node(r)
        kind = "a state of" if _is_state(r, program) else "from"
        over = "every step's" if isinstance(r, Steps) else "one"
        return f"{over} value {kind} '{node.path or 'forward'}'"

    return ", ".join(f"{i} is {describe(r)}" for i, (_, r) in enumerate(outputs))
