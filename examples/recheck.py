"""Repeats the proof of an exported network from its certificate. NumPy, onnx and, where it is there, ONNX Runtime; nothing else.

    python examples/recheck.py m.onnx                            with m.onnx.certificate.json, which `plif export` wrote beside it
    python examples/recheck.py m.onnx --evaluator reference      with onnx's own evaluator instead of ONNX Runtime
    python examples/recheck.py m.onnx --certificate C.json       with a certificate that came another way than the file

A spiking network is many neurons that compare a sum with a threshold. Two programs that add in different orders agree on that
but for sums that lie on the threshold, and one such neuron may change everything behind it. So each layer is cut out of the
file and run by itself, one step from membranes and on spikes that the certificate draws from a seed. Spikes, membranes and the
output that come out are rounded to whole numbers and hashed; what rounding could change is left out. The rules stand in the
certificate, under "how", in words.

Exit code: 0 where everything is the same, 1 where something differs, 2 for files that cannot be used.
"""

import argparse
import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx

MOST = 2**26  # numbers in a tensor; a certificate may come from anyone


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
        if certificate["format"] != "plif certificate 1":
            raise Unusable(f"{path}: its format is {certificate['format']!r}; expected 'plif certificate 1'")
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
# One layer of the file, cut out and run.


def cut(model, outputs, stops):
    """Return the part of the file that computes `outputs` from the tensors `stops` {name: array} alone.

    A tensor may be a stop and an output, too (a state that another layer reads), so its input gets another name.
    """
    producer = {name: node for node in model.graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    needed, fed, todo, used = {}, {}, list(outputs), {}
    while todo:
        name = todo.pop()
        if name not in producer:
            raise LookupError(f"no node makes {name}")
        node = producer[name]
        if node.output[0] in needed:
            continue
        part = needed[node.output[0]] = onnx.NodeProto.FromString(node.SerializeToString())
        for i, read in enumerate(node.input):
            if read in stops and read not in outputs:
                part.input[i] = fed[read] = f"given/{read}"
            elif read in weights:
                used[read] = weights[read]
            elif read:
                todo.append(read)
    nodes = [needed[node.output[0]] for node in model.graph.node if node.output and node.output[0] in needed]
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, stops[read].shape)
        for read, name in fed.items()
    ]
    empty = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = onnx.helper.make_graph(nodes, "layer", inputs, empty, list(used.values()))
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
            yield made["layer"], names[0], 0, 0, 0, f"CANNOT RUN: {' '.join(str(error).split())[:200]}"
            continue
        for rule, value in zip(made["tensors"], found, strict=True):
            digest, left_out = hashed(value, rule, seed)
            wrong = None if digest == rule["cells"] else "DIFFERS"
            yield made["layer"], rule["tensor"], value.size, np.count_nonzero(value), left_out, wrong


# ---------------------------------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description="Repeats the proof of an exported network from its certificate.")
    parser.add_argument("file", type=Path, help="the network, m.onnx")
    parser.add_argument("--certificate", type=Path, help="m.onnx.certificate.json when not given")
    usual = "onnxruntime" if find_spec("onnxruntime") else "reference"
    parser.add_argument("--evaluator", choices=("onnxruntime", "reference"), default=usual)
    options = parser.parse_args()
    beside = options.file.with_name(options.file.name + ".certificate.json")
    try:
        certificate = read_certificate(options.certificate or beside)
        data = options.file.read_bytes()
        try:
            model = onnx.load_model_from_string(data)
        except Exception:  # protobuf's own exception
            raise Unusable(f"{options.file}: is no ONNX file") from None
        same = hashlib.sha256(data).hexdigest() == certificate["file"]["sha256"]
        print(
            "file".ljust(40), "the same" if same else f"NOT THE FILE that was certified, {certificate['file']['name']}"
        )
        print(f"{'layer':12}{'tensor':28}{'numbers':>10}{'not 0':>10}{'left out':>10}")
        for layer, tensor, count, fired, left_out, wrong in recheck(model, certificate, options.evaluator):
            print(f"{layer:12}{tensor:28}{count:10}{fired:10}{left_out:10}   {wrong or 'the same'}")
            same = same and wrong is None
    except (Unusable, OSError) as error:
        print(f"recheck: error: {error}", file=sys.stderr)
        return 2
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        print(f"recheck: error: the certificate cannot be used ({type(error).__name__}: {error})", file=sys.stderr)
        return 2
    print("it does what its certificate says" if same else "it is not what its certificate says")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
