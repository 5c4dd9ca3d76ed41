"""The same network in other programs: PyTorch, SpikingJelly, torch.compile, ONNX Runtime and OpenVINO without plif.

Each gets the form in which it is fastest here: inference mode, denormals flushed; batch normalisation folded and channels_last
for torch.compile; state as inputs and outputs for OpenVINO in f32, state inside the model for OpenVINO in its default
precision. bench/step.py sets malloc to keep freed memory, without which PyTorch is slower.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.subjects import Subject
from plif_train.core.network.network import Network
from plif_train.core.network.neuron import Neuron


def pytorch(net: Network, threads: int, path: Path) -> Subject:
    """Our own modules, eager: the reference of all comparisons."""

    def step(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net.step(torch.from_numpy(x)).numpy()

    return Subject(
        "PyTorch eager", "pytorch", "fp32", net.reset, step, lambda: [v[0].numpy() for v in net.state().values()]
    )


def spikingjelly(net: Network, threads: int, path: Path) -> Subject:
    """Build the same network from SpikingJelly's neurons, single-step."""
    from spikingjelly.activation_based import functional, neuron

    peer = nn.Sequential(*spikingjelly_modules(net)).eval()
    neurons = [m for m in peer if isinstance(m, neuron.BaseNode)]

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return peer(torch.from_numpy(x)).numpy()

    def membranes() -> list[np.ndarray]:
        return [n.v[0].numpy() for n in neurons]

    return Subject("SpikingJelly", "spikingjelly", "fp32", lambda: functional.reset_net(peer), run, membranes)


def spikingjelly_modules(net: Network) -> list[nn.Module]:
    """Return the layers of the network in order, with SpikingJelly's neurons, each a separate copy."""
    from spikingjelly.activation_based import neuron, surrogate

    def node(module: Neuron) -> nn.Module:
        shared = {
            "v_threshold": module.v_threshold,
            "v_reset": module.v_reset,
            "surrogate_function": surrogate.ATan(),
            "detach_reset": True,
        }
        if module.kind == "IF":
            return neuron.IFNode(**shared)
        if module.kind == "LIF":
            return neuron.LIFNode(tau=module.tau, decay_input=module.decay_input, **shared)
        made = neuron.ParametricLIFNode(decay_input=module.decay_input, **shared)
        assert module.w is not None
        made.load_state_dict({"w": module.w.detach().clone()})
        return made

    return _modules(net, node)


def compiled(net: Network, threads: int, path: Path) -> Subject:
    """torch.compile of one whole step as a function of input and state, folded and channels_last, which is fastest."""
    import torch._dynamo
    from torch._dynamo.utils import counters

    step = Functional(net, folded=True).to(memory_format=torch.channels_last)
    torch._dynamo.reset()
    fast = torch.compile(step, fullgraph=True, dynamic=False)
    with torch.no_grad():
        start = [v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for v in step.initial()]
        before = counters["stats"]["unique_graphs"]
        x = torch.zeros(1, *net.meta.shape).contiguous(memory_format=torch.channels_last)
        for _ in range(2):
            fast(x, *start)
    assert counters["stats"]["unique_graphs"] > before, "torch.compile did not compile"
    state = list(start)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            y, *state[:] = fast(torch.from_numpy(x).contiguous(memory_format=torch.channels_last), *state)
        return y.numpy()

    def reset() -> None:
        state[:] = start

    return Subject("torch.compile", "pytorch", "fp32", reset, run, lambda: [v[0].numpy() for v in state])


def as_exported(net: Network, threads: int, path: Path) -> Subject:
    """ONNX Runtime on what torch.onnx writes for the step, with the settings that a user starts with."""
    import onnxruntime as ort

    step = Functional(net, folded=False)
    initial = step.initial()
    names = [f"v{i}" for i in range(len(initial))]
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "step.onnx")
        torch.onnx.export(
            step.eval(),
            (torch.zeros(1, *net.meta.shape), *initial),
            file,
            input_names=["x", *names],
            output_names=["y", *(f"{n}_next" for n in names)],
            dynamo=False,
        )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        session = ort.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    start = {name: v.numpy() for name, v in zip(names, initial, strict=True)}
    state = dict(start)

    def run(x: np.ndarray) -> np.ndarray:
        y, *after = session.run(None, {"x": x, **state})
        state.update(zip(names, after, strict=True))
        return y

    return Subject(
        "ONNX Runtime, torch.onnx",
        "onnxruntime",
        "fp32",
        lambda: state.update(start),
        run,
        lambda: [v[0] for v in state.values()],
    )


def openvino_default(net: Network, threads: int, path: Path) -> Subject:
    """OpenVINO in its default precision (bf16 where the processor has it), on our fp32 graph, with the state inside."""
    return _openvino(path, threads, None, stateful=True)


def openvino_f32(net: Network, threads: int, path: Path) -> Subject:
    """OpenVINO in float32, with the state as inputs and outputs."""
    return _openvino(path, threads, "f32", stateful=False)


def _openvino(path: Path, threads: int, precision: str | None, stateful: bool) -> Subject:
    import openvino as ov
    from openvino._offline_transformations import apply_make_stateful_transformation

    from runtime.core.model.card import read_card

    card = read_card(path)
    states = card["states"]
    core = ov.Core()
    model = core.read_model(str(path))
    shapes = {card["graph"]["input"]: [1, *card["input"]["shape"]]}
    shapes.update({s["input"]: [1, *s["shape"]] for s in states})
    model.reshape(shapes)
    if stateful:
        apply_make_stateful_transformation(model, {s["input"]: s["output"] for s in states})
    asked = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if precision is not None:
        asked["INFERENCE_PRECISION_HINT"] = precision
    compiled = core.compile_model(model, "CPU", asked)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    request = compiled.create_infer_request()
    start = [np.full((1, *s["shape"]), s["initial"], np.float32) for s in states]
    state = [v.copy() for v in start]
    x_name = card["graph"]["input"]

    def run(x: np.ndarray) -> np.ndarray:
        if stateful:
            return request.infer({x_name: x}, share_inputs=True, share_outputs=True)["y"]
        feeds = {x_name: x, **{s["input"]: v for s, v in zip(states, state, strict=True)}}
        out = request.infer(feeds, share_inputs=True, share_outputs=False)
        state[:] = [out[s["output"]] for s in states]
        return out["y"]

    def reset() -> None:
        if stateful:
            request.reset_state()
            for variable, v in zip(_ordered(request, states), start, strict=True):
                variable.state = ov.Tensor(v)
        else:
            state[:] = start

    def membranes() -> list[np.ndarray]:
        if not stateful:
            return [v[0] for v in state]
        return [np.array(variable.state.data, np.float32)[0] for variable in _ordered(request, states)]

    word = {"bf16": "bf16", "f32": "fp32", "f16": "fp16"}.get(used, used)
    return Subject("OpenVINO, f32" if precision else "OpenVINO, default", "openvino", word, reset, run, membranes)


def _ordered(request: object, states: list[dict]) -> list:
    """OpenVINO's variables in the order of the card's states. A variable's name is that of its input and that of its output."""
    found = {variable.name: variable for variable in request.query_state()}  # type: ignore[attr-defined]
    return [found[s["input"] + s["output"]] for s in states]


class Functional(nn.Module):
    """One step as a function: (x, v1, v2, ...) -> (y, v1, v2, ...), as the authors' code computes it."""

    def __init__(self, net: Network, folded: bool) -> None:
        super().__init__()
        parts = _modules(net, lambda module: copy.deepcopy(module))
        if folded:
            parts = _fold(parts)
        self.parts = nn.ModuleList(parts)
        self._shapes = [named.out_shape for named in net.named_layers if named.op == "Neuron"]
        self.alphas = [m.alpha() for m in self.parts if isinstance(m, Neuron)]
        self.eval()

    def initial(self) -> list[Tensor]:
        neurons = [m for m in self.parts if isinstance(m, Neuron)]
        return [torch.full((1, *shape), n.v_reset or 0.0) for shape, n in zip(self._shapes, neurons, strict=True)]

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        after: list[Tensor] = []
        for part in self.parts:
            if isinstance(part, Neuron):
                x, v = _neuron(part, x, state[len(after)], self.alphas[len(after)])
                after.append(v)
            else:
                x = part(x)
        return (x, *after)


def _neuron(n: Neuron, x: Tensor, v: Tensor, alpha: Tensor | None) -> tuple[Tensor, Tensor]:
    r = n.v_reset or 0.0
    if alpha is None:
        h = v + x
    else:
        a = float(alpha) if alpha.dim() == 0 else alpha.view(-1, *[1] * (x.dim() - 2))
        h = v + (x - (v - r)) * a if n.decay_input else v - (v - r) * a + x
    fires = h >= n.v_threshold
    s = fires.to(h.dtype)
    return s, (h - s * n.v_threshold if n.v_reset is None else torch.where(fires, r, h))


def _modules(net: Network, node: Callable[[Neuron], nn.Module]) -> list[nn.Module]:
    """Return the network's layers in order.

    `node` makes the neurons; layers that do nothing after training are left out.
    """
    modules: list[nn.Module] = []
    for named in net.named_layers:
        if named.op == "Dropout":
            continue
        if named.op == "Flatten":
            module: nn.Module = nn.Flatten()
        elif named.op == "Vote":
            voters = named.layer.kernel  # type: ignore[union-attr]
            module = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.AvgPool1d(voters, voters), nn.Flatten())
        else:
            module = net.get_submodule(named.name)
            if isinstance(module, Neuron):
                module = node(module)
            elif named.op == "BatchNorm":
                module = _plain_batchnorm(module)
            elif named.op == "MaxPool":
                module = nn.MaxPool2d(named.layer.kernel, named.layer.stride)  # type: ignore[union-attr]
        modules.append(module)
    return modules


def _plain_batchnorm(bn: nn.Module) -> nn.Module:
    plain = nn.BatchNorm2d(bn.num_features, eps=bn.eps).eval()  # type: ignore[arg-type]
    plain.load_state_dict({k: v for k, v in bn.state_dict().items() if k in plain.state_dict()})
    return plain


def _fold(parts: list[nn.Module]) -> list[nn.Module]:
    """Each batch normalisation into the convolution before it."""
    out: list[nn.Module] = []
    for part in parts:
        if isinstance(part, nn.BatchNorm2d) and out and isinstance(out[-1], nn.Conv2d):
            out[-1] = fuse_conv_bn_eval(out[-1].eval(), part)
        else:
            out.append(part)
    return out


PEERS: dict[str, Callable[[Network, int, Path], Subject]] = {
    "spikingjelly": spikingjelly,
    "pytorch": pytorch,
    "torch.compile": compiled,
    "onnxruntime-exported": as_exported,
    "openvino-default": openvino_default,
    "openvino-f32": openvino_f32,
}


def peer(name: str, net: Network, threads: int, path: Path) -> Subject | None:
    """Return a peer by name; None, with the reason on stderr, if it is not installed or fails."""
    try:
        return PEERS[name](net, threads, path)
    except ImportError as error:
        print(f"{name} is left out: {error.name or error} is not installed", file=sys.stderr)
    except Exception as error:  # the others are measured even when one peer fails
        print(f"{name} is left out: {type(error).__name__}: {' '.join(str(error).split())[:200]}", file=sys.stderr)
    return None
