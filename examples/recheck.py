"""Repeats the proof of an exported network from its certificate. NumPy, onnx and, where it is there, ONNX Runtime; nothing else.

    python examples/recheck.py m.onnx                            with m.onnx.certificate.json, which `plif export` wrote beside it
    python examples/recheck.py m.onnx --evaluator reference      with onnx's own evaluator instead of ONNX Runtime
    python examples/recheck.py m.onnx --certificate C.json       with a certificate that came another way than the file
    python examples/recheck.py m.onnx --seconds 600              for a large network; without it, 60

A spiking network is many neurons that compare a sum with a threshold. Two programs that add in different orders agree on that
but for sums that lie on the threshold, and one such neuron may change everything behind it. So each layer is cut out of the
file and run by itself, one step from membranes and on spikes that the certificate draws from a seed. Spikes, membranes and the
output that come out are rounded to whole numbers and hashed; what rounding could change is left out. The rules stand in the
certificate, under "how", in words.

A certificate may be forged or empty, and a file may never end. So this program reads from the file what has to be covered, and
refuses a certificate that covers less; it refuses networks with loops, and runs the rest in a process with a time limit.

Exit code: 0 where everything is the same, 1 where something differs, is not covered or takes too long, 2 for files that cannot
be used.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx

FORMAT = "plif certificate 2"
MOST = 2**26  # numbers in a tensor; a certificate may come from anyone
LEAST = {"values": 0.5, "weights": 0.99}  # shares that a certificate names; plif's name 0.8 and more, and 1
SAMPLES = 3  # with fewer, neurons that fire together hide each other's weights
CELLS = 1 / 64  # between the least and the largest value of a tensor; a network in float16 has 0.1 and more
FINEST = 20  # k; finer cells would not fit into 64 bits, and all be the same


class Unusable(Exception):
    """A file that is not what it should be."""


# ---------------------------------------------------------------------------------------------------------------------------
# The certificate, and what it draws.


def read_certificate(path):
    """Return the JSON of a certificate with a last line that fits the bytes before it."""
    data = path.read_bytes()
    head = data.rpartition(b'"sha256":')[0]
    try:
        certificate = json.loads(data)
        if certificate["format"] != FORMAT:
            raise Unusable(
                f"{path}: its format is {certificate['format']!r}; expected {FORMAT!r}: export the file again"
            )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unusable(f"{path}: is no certificate") from None
    if certificate["sha256"] != hashlib.sha256(head).hexdigest():
        raise Unusable(f"{path}: was edited: its last line is of other bytes than those before it")
    return certificate


def drawn(seed, name, shape):
    """Draw u: 16-bit numbers of a shape, from the seed and a name."""
    count = 1
    for size in shape:  # Python's own integers do not wrap
        count *= size
    if not 0 <= count <= MOST:
        raise Unusable(f"{name}: {count} numbers; {MOST} at most")
    return np.frombuffer(hashlib.shake_128(f"{seed}/{name}".encode()).digest(2 * count), "<u2").reshape(shape)


def given(rule, seed, samples):
    """Draw an input tensor of layers: float32 [samples, ...shape]."""
    name, shape = rule["tensor"], rule["shape"]
    if "low" in rule:
        u = np.stack([drawn(seed, f"{name}/{i}", shape) for i in range(samples)])
        return (rule["low"] + rule["width"] * (u / 65536)).astype(np.float32)
    u = drawn(seed, name, shape)
    count = 1 + sum((u >= level).astype(np.float32) for level in rule["levels"])
    return np.stack([np.where(u % rule["one_in"] == i, count, 0) for i in range(samples)]).astype(np.float32)


def hashed(value, rule, seed):
    """Return the SHA-256 of the cells of a computed tensor, [samples, ...], and how many are left out."""
    u = np.stack([drawn(seed, f"{rule['tensor']}/{i}", sample.shape) for i, sample in enumerate(value)])
    with np.errstate(all="ignore"):  # of what is no number, any cell is wrong
        cells = np.floor(value.astype(np.float64) * 2.0 ** rule["k"] + u / 65536).astype("<i8")
    places = np.cumsum(np.array(rule["left_out"], np.int64))
    if len(places) and not 0 <= places.min() <= places.max() < cells.size:
        raise Unusable(f"{rule['tensor']}: leaves out a place that it does not have")
    cells.reshape(-1)[places] = 0
    return hashlib.sha256(cells.tobytes()).hexdigest(), len(places)


# ---------------------------------------------------------------------------------------------------------------------------
# What a certificate has to cover, read from the file.


def foreign(model):
    """Yield what no file of one time-step has: what could run for ever, or compute what is not in the file."""
    for function in model.functions:
        yield f"function {function.name}"
    for node in model.graph.node:
        bodies = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if bodies or node.domain not in ("", "ai.onnx") or not node.output:
            yield f"node {node.name}, which is a {node.op_type} {node.domain}".rstrip()
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield f"tensor {tensor.name}, whose numbers are in another file"


def missing(model, certificate):
    """Yield each state, output, layer, node and parameter of the file that a certificate leaves out."""
    graph, given = model.graph, {rule["tensor"] for rule in certificate["given"]}
    layers = [[rule["tensor"] for rule in record["tensors"]] for record in certificate["made"]]
    checked = {name for names in layers for name in names}
    inputs = {tensor.name for tensor in graph.input} - {tensor.name for tensor in graph.initializer}
    outputs = [tensor.name for tensor in graph.output]
    produced = {name for node in graph.node for name in node.output}
    states = [name.partition(".")[2].removesuffix(".next") for name in outputs if name.endswith(".next")]
    inside = [f"{layer}.{end}" for layer in states for end in ("s", "h") if f"{layer}.{end}" in produced]
    yield from (f"{name} is not checked" for name in dict.fromkeys([*outputs, *inside]) if name not in checked)
    yield from (f"{name} is given, and not checked" for name in sorted(given - inputs - checked))
    used = set()
    for names in layers:
        with suppress(LookupError):  # it cannot run, as recheck() says
            used |= {node.output[0] for node in nodes_of(model, names, given)[0]}
    yield from (
        f"node {node.name or node.output[0]} is in no layer" for node in graph.node if node.output[0] not in used
    )
    ends = {".weight": ".weight", ".alpha": ".alpha", ".one_minus_alpha": ".alpha"}
    read = {
        tensor.name.removesuffix(end) + ends[end]
        for tensor in graph.initializer
        for end in ends
        if tensor.name.endswith(end)
    }
    hashes = certificate["weights"]
    yield from (f"parameter {name} has no SHA-256" for name in sorted(read) if len(str(hashes.get(name))) != 64)
    if certificate["samples"] < SAMPLES:
        yield f"it has {certificate['samples']} samples; expected {SAMPLES}"
    for name, least in LEAST.items():
        if not least <= certificate["share"][name] <= 1:
            yield f"it covers a share {certificate['share'][name]} of the {name}; expected {least} to 1"


def too_little(rule, value, left_out):
    """Return why the cells of a tensor say too little about its values; None if they say enough."""
    usual = min(128, value.size / 8)  # as plif draws them; and in float16 some neurons lie on their threshold
    if left_out > usual + 6 * usual**0.5 + value.size / 20:
        return "LEAVES OUT TOO MANY"
    cells = (float(value.max() - value.min()) or 1.0) * 2.0 ** rule["k"]
    return None if cells >= CELLS and rule["k"] <= FINEST else "HAS CELLS THAT SAY NOTHING"


# ---------------------------------------------------------------------------------------------------------------------------
# One layer of the file, cut out and run.


def nodes_of(model, outputs, stops):
    """Return the nodes that compute `outputs` from the tensors `stops` alone, and the names of the weights they read."""
    producer = {name: node for node in model.graph.node for name in node.output}
    weights, used = {tensor.name for tensor in model.graph.initializer}, set()
    needed, todo = {}, list(outputs)
    while todo:
        name = todo.pop()
        if name not in producer:
            raise LookupError(f"no node makes {name}")
        node = producer[name]
        if node.output[0] in needed:
            continue
        needed[node.output[0]] = node
        for read in node.input:
            if read in stops and read not in outputs:
                continue
            if read in weights:
                used.add(read)
            elif read:
                todo.append(read)
    return [node for node in model.graph.node if node.output[0] in needed], used


def cut(model, outputs, stops):
    """Return the part of the file that computes `outputs` from the tensors `stops` {name: array} alone.

    A tensor may be a stop and an output, too (a state that another layer reads), so its input gets another name.
    """
    nodes, used = nodes_of(model, outputs, stops)
    nodes, fed = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes], {}
    for node in nodes:
        for i, read in enumerate(node.input):
            if read in stops and read not in outputs:
                node.input[i] = fed[read] = f"given/{read}"
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, stops[read].shape)
        for read, name in fed.items()
    ]
    empty = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = onnx.helper.make_graph(nodes, "layer", inputs, empty, weights)
    layer = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return layer, fed


def run(model, outputs, feed, evaluator):
    """Return the outputs of a model."""
    if evaluator == "reference":
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(model).run(outputs, feed)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, feed)


def recheck(model, certificate, evaluator):
    """Yield for each tensor (layer, tensor, its numbers, how many are not zero, how many are left out, error or None)."""
    seed, samples = certificate["seed"], certificate["samples"]
    known = {rule["tensor"]: given(rule, seed, samples) for rule in certificate["given"]}
    for made in certificate["made"]:
        names = [rule["tensor"] for rule in made["tensors"]]
        try:
            layer, fed = cut(model, names, known)
            found = run(layer, names, {fed[name]: known[name] for name in fed}, evaluator)
        except Exception as error:  # evaluators raise families of their own
            yield made["layer"], str(names[:1]), 0, 0, 0, f"CANNOT RUN: {' '.join(str(error).split())[:200]}"
            continue
        for rule, value in zip(made["tensors"], found, strict=True):
            digest, left_out = hashed(value, rule, seed)
            wrong = "DIFFERS" if digest != rule["cells"] else too_little(rule, value, left_out)
            yield made["layer"], rule["tensor"], value.size, np.count_nonzero(value), left_out, wrong


def share_of_weights(certificate):
    """Return the least part of a given tensor that is not 0 in some sample: the part of a layer's weights that count."""
    parts = [given(rule, certificate["seed"], certificate["samples"]) for rule in certificate["given"]]
    return min((float((part != 0).any(axis=0).mean()) for part in parts), default=0.0)


# ---------------------------------------------------------------------------------------------------------------------------


def judge(options):
    """Print what holds of a file and its certificate; return the exit code."""
    certificate = read_certificate(
        options.certificate or options.file.with_name(options.file.name + ".certificate.json")
    )
    data = options.file.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # protobuf's own exception
        raise Unusable(f"{options.file}: is no ONNX file") from None
    same = hashlib.sha256(data).hexdigest() == certificate["file"]["sha256"]
    print("file".ljust(40), "the same" if same else f"NOT THE FILE that was certified, {certificate['file']['name']}")
    for what in foreign(model):
        print(f"NOT RUN: {what}; plif writes none")
        return 1
    for what in missing(model, certificate):
        print(f"NOT COVERED: {what}")
        same = False
    print(f"{'layer':12}{'tensor':28}{'numbers':>10}{'not 0':>10}{'left out':>10}")
    numbers = covered = 0
    for layer, tensor, count, fired, left_out, wrong in recheck(model, certificate, options.evaluator):
        print(f"{layer:12}{tensor:28}{count:10}{fired:10}{left_out:10}   {wrong or 'the same'}", flush=True)
        numbers, covered, same = numbers + count, covered + count - left_out, same and wrong is None
    shares = {"values": covered / max(numbers, 1), "weights": share_of_weights(certificate)}
    for name, share in shares.items():
        if share < certificate["share"][name]:
            print(f"NOT COVERED: {share:.4f} of the {name}; the certificate says {certificate['share'][name]}")
            same = False
    print("it does what its certificate says" if same else "it is not what its certificate says")
    return 0 if same else 1


def main(words=None):
    parser = argparse.ArgumentParser(description="Repeats the proof of an exported network from its certificate.")
    parser.add_argument("file", type=Path, help="the network, m.onnx")
    parser.add_argument("--certificate", type=Path, help="m.onnx.certificate.json when not given")
    usual = "onnxruntime" if find_spec("onnxruntime") else "reference"
    parser.add_argument("--evaluator", choices=("onnxruntime", "reference"), default=usual)
    parser.add_argument("--seconds", type=float, default=60, help="for all of it; 60 when not given")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # the process that has the limit
    words = sys.argv[1:] if words is None else words
    options = parser.parse_args(words)
    if not 0 < options.seconds < 1e6:
        parser.error(f"--seconds {options.seconds:g}: expected a number from 0 to 1e6")
    if not options.inside:
        command = [sys.executable, *(["-I"] if sys.flags.isolated else []), __file__, "--inside", *words]
        try:
            code = subprocess.run(command, timeout=options.seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            print(
                f"recheck: error: {options.file} had not ended after {options.seconds:g} s (--seconds)", file=sys.stderr
            )
            return 1
        if code < 0:
            print(f"recheck: error: {options.file} ended the evaluator with signal {-code}", file=sys.stderr)
        return code if code >= 0 else 1
    try:
        return judge(options)
    except (Unusable, OSError) as error:
        print(f"recheck: error: {error}", file=sys.stderr)
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError, MemoryError) as error:
        print(f"recheck: error: the certificate cannot be used ({type(error).__name__}: {error})", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
