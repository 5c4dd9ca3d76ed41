"""A spiking network on one page: from the events of a camera to an answer. NumPy, and onnx to write a file; nothing else.

    python examples/nano.py                      twenty drawn digits, side by side with plif: the same spikes, all of them
    python examples/nano.py RECORDING.bin ...    recordings of your own, in the format of N-MNIST

A camera that sees change instead of pictures sends events (t, x, y, p): at time t pixel (x, y) became brighter or darker.
They are put into frames. A frame is one time-step of a network whose neurons remember: each has a membrane v that leaks,
is charged by what comes in, and fires when it is full. What fires is 1, what does not is 0, so a layer adds up the weights
of what fired, and where nothing moves there is nothing to add. Ten neurons vote for each class, and votes fade with time.

The neuron is that of Fang et al., ICCV 2021: PLIF, a leaky integrate-and-fire neuron whose time constant tau is learned.
Everything is computed in float64, and every sum in the order of its loop: no spike depends on a library or a processor.
"""

import pickle
import sys
import zipfile
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np

MODEL = Path(__file__).resolve().parent.parent / "models" / "nmnist-digits.pt"
T = 10  # time-steps of a recording
VOTERS = 10  # neurons a class
V_THRESHOLD, V_RESET = 1.0, 0.0
Layer = namedtuple("Layer", "W b alpha")  # weights [O, I, 3, 3] or [O, I], bias [O], alpha = 1 / tau


# ---------------------------------------------------------------------------------------------------------------------------
# The neuron.     charge   h = v + (x - v) / tau               x: what comes in, h: the membrane when it is charged
#                 fire     s = 1 where h >= 1, else 0
#                 reset    v = 0 where s, else h
#
# With alpha = 1 / tau the charge is h = (1 - alpha) v + alpha x, and alpha x is made of weights: `fold` puts alpha into them.


def neuron(x, v, alpha):
    """Compute a time-step of a layer: x, v [...] -> spikes s [...], the next membrane v [...], the charge h [...]."""
    h = (1 - alpha) * v + x  # alpha is in x already
    s = h >= V_THRESHOLD
    return s, np.where(s, V_RESET, h), h


# ---------------------------------------------------------------------------------------------------------------------------
# The layers. Each of them walks over what is not zero in its input, and adds.


def convolution(x, W, b):
    """Convolve x [C, H, W] -> y [O, H, W]: y[o, i, j] = b[o] + sum over c, k, l of W[o, c, k, l] x[c, i + k - 1, j + l - 1].

    Seen from the other end: an x at (c, i, j) adds its nine weights, turned around, to the nine places around (i, j).
    """
    _, height, width = x.shape
    y = np.zeros((len(W), height + 2, width + 2))  # a border, for what falls outside
    for c, i, j in np.argwhere(x):
        y[:, i : i + 3, j : j + 3] += x[c, i, j] * W[:, c, ::-1, ::-1]  # [O, 3, 3]
    return y[:, 1:-1, 1:-1] + b[:, None, None]


def pool(s):
    """Spike if one of four neighbours spiked: s [C, H, W] -> [C, H // 2, W // 2]."""
    C, height, width = s.shape
    blocks = s[:, : height // 2 * 2, : width // 2 * 2].reshape(C, height // 2, 2, width // 2, 2)
    return blocks.max(axis=(2, 4))


def linear(s, W):
    """Compute y = W s: each neuron n that spiked adds its column of weights. s [N] -> y [O]."""
    y = np.zeros(len(W))
    for n in np.flatnonzero(s):
        y += W[:, n]
    return y


def vote(s):
    """Count how many of the ten neurons of each class spiked: s [10 classes] -> c [classes]."""
    return s.reshape(-1, VOTERS).sum(axis=1)


# ---------------------------------------------------------------------------------------------------------------------------
# One time-step. What a network remembers is a dictionary of membranes, which goes in and comes out: no step hides anything.


def reset():
    """Return the membranes before the first step."""
    shapes = {"conv1": (32, 34, 34), "conv2": (32, 17, 17), "fc1": (128,), "fc2": (100,)}
    return {name: np.full(shape, V_RESET) for name, shape in shapes.items()}


def step(net, x, v):
    """Map x [2, 34, 34] and membranes v to votes c [10], the next membranes, and spikes s and charges h of each layer."""
    s, h, after = {}, {}, {}

    def fire(name, current):
        s[name], after[name], h[name] = neuron(current, v[name], net[name].alpha)
        return s[name]

    y = fire("conv1", convolution(x, net["conv1"].W, net["conv1"].b))  # [32, 34, 34]
    y = fire("conv2", convolution(pool(y), net["conv2"].W, net["conv2"].b))  # [32, 17, 17]
    y = fire("fc1", linear(pool(y).reshape(-1), net["fc1"].W))  # 32 x 8 x 8 -> [128]
    y = fire("fc2", linear(y, net["fc2"].W))  # [100]
    return vote(y), after, s, h


# ---------------------------------------------------------------------------------------------------------------------------
# The weights. A model.pt is a zip: a pickle that says what there is, and one file of numbers for each tensor. A pickle may
# call anything, so this one may call three harmless things and no other.


def read(path):
    """Read the tensors of a model.pt by name, without PyTorch."""
    archive = zipfile.ZipFile(path)

    class Index(pickle.Unpickler):
        def find_class(self, module, name):
            known = {
                ("collections", "OrderedDict"): OrderedDict,
                ("torch._utils", "_rebuild_tensor_v2"): lambda numbers, start, shape, *_: numbers.reshape(shape),
                ("torch", "FloatStorage"): np.dtype("<f4"),
                ("torch", "LongStorage"): np.dtype("<i8"),
            }
            return known[module, name]  # a KeyError for whatever else the file would like to run

        def persistent_load(self, what):
            _, dtype, key, _, _ = what
            return np.frombuffer(archive.read(f"archive/data/{key}"), dtype)

    return Index(archive.open("archive/data.pkl")).load()["weights"]


def rounded(a):
    """Round to the nearest float32, the type of a network's file."""
    return a.astype(np.float32).astype(np.float64)


def fold(weights):
    """Tensors as they were trained -> layers. Batch norm and tau move into the weights, so that a step has neither.

    batch norm   (W x - mean) gamma / sigma + beta  =  (W gamma / sigma) x + (beta - mean gamma / sigma)
    tau          alpha x = alpha (W x + b)          =  (alpha W) x + alpha b           alpha = 1 / tau = 1 / (1 + exp(-w))
    """
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    net = {}
    for name in ("conv1", "conv2", "fc1", "fc2"):
        W, b = w[f"{name}.weight"], np.zeros(1)
        if f"{name}_bn.weight" in w:
            gamma, beta = w[f"{name}_bn.weight"], w[f"{name}_bn.bias"]
            mean, var = w[f"{name}_bn.running_mean"], w[f"{name}_bn.running_var"]
            scale = gamma / np.sqrt(var + 1e-5)
            W, b = rounded(W * scale[:, None, None, None]), rounded(beta - mean * scale)
        alpha = rounded(1 / (1 + np.exp(-w[f"{name}_neuron.w"])))
        net[name] = Layer(rounded(alpha * W), rounded(alpha * b), alpha)
    return net


# ---------------------------------------------------------------------------------------------------------------------------
# Events -> frames, and votes -> an answer.


def read_events(path):
    """Read a recording of N-MNIST: five bytes an event, x, y, and p with 23 bits of t in microseconds."""
    x, y, *last = np.frombuffer(Path(path).read_bytes(), np.uint8).reshape(-1, 5).T.astype(np.int64)
    word = last[0] << 16 | last[1] << 8 | last[2]
    return word & 0x7FFFFF, x, y, word >> 23  # t, x, y, p, each [N]


def frames(t, x, y, p):
    """Divide events [N] into T frames [2, 34, 34] of equal count (the last has the rest), with their end times."""
    per_frame = len(t) // T
    for k in range(T):
        part = slice(k * per_frame, (k + 1) * per_frame if k < T - 1 else None)
        frame = np.zeros((2, 34, 34))
        np.add.at(frame, (p[part], y[part], x[part]), 1)  # how many events at each pixel, darker and brighter apart
        yield frame, t[part][-1]


class Decision:
    """Votes that fade: E = E f + c, W = W f + 1 with f = exp(-dt / tau). A class leads by (E[first] - E[second]) / (10 W).

    Who leads by `margin` is the answer; who no longer does, is none.
    """

    def __init__(self, tau_us=120_000, margin=0.2):
        self.tau_us, self.margin = tau_us, margin
        self.E, self.W, self.t_us = np.zeros(10), 0.0, None

    def add(self, c, t_us):
        f = 1.0 if self.t_us is None else np.exp(-(t_us - self.t_us) / self.tau_us)
        self.E, self.W, self.t_us = self.E * f + c, self.W * f + 1, t_us
        second, first = np.sort(self.E)[-2:]
        return int(self.E.argmax()) if first > 0 and (first - second) / (VOTERS * self.W) >= self.margin else None


# ---------------------------------------------------------------------------------------------------------------------------
# The same time-step as an ONNX file. A graph has no memory, so membranes are inputs and outputs: whoever runs it feeds the
# one back as the other. An export that leaves them inside is right in its first step, and wrong in all that follow.


def to_onnx(net):
    """Write x and v.NAME -> y and v.NAME.next as a model for any ONNX runtime."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, inputs, outputs = [], [], [], []

    def op(kind, *names, out, **attributes):
        nodes.append(helper.make_node(kind, names, [out], **attributes))
        return out

    def constant(name, value, dtype=np.float32):
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def fire(name, current, shape):
        v, after = f"v.{name}", f"v.{name}.next"
        inputs.append(helper.make_tensor_value_info(v, TensorProto.FLOAT, ["B", *shape]))
        outputs.append(helper.make_tensor_value_info(after, TensorProto.FLOAT, ["B", *shape]))
        left = op("Mul", v, constant(f"{name}.leak", 1 - net[name].alpha), out=f"{name}.left")
        h = op("Add", left, current, out=f"{name}.h")
        s = op("GreaterOrEqual", h, "v_threshold", out=f"{name}.fired")
        op("Where", s, "v_reset", h, out=after)
        return op("Cast", s, out=f"{name}.s", to=TensorProto.FLOAT)

    def conv(name, x, shape):
        W, b = constant(f"{name}.W", net[name].W), constant(f"{name}.b", net[name].b)
        return fire(name, op("Conv", x, W, b, out=f"{name}.x", pads=[1, 1, 1, 1]), shape)

    def fc(name, x, shape):
        return fire(name, op("MatMul", x, constant(f"{name}.W", net[name].W.T), out=f"{name}.x"), shape)

    constant("v_threshold", V_THRESHOLD)
    constant("v_reset", V_RESET)
    y = conv("conv1", "x", (32, 34, 34))
    y = op("MaxPool", y, out="pool1", kernel_shape=[2, 2], strides=[2, 2])
    y = conv("conv2", y, (32, 17, 17))
    y = op("MaxPool", y, out="pool2", kernel_shape=[2, 2], strides=[2, 2])
    y = fc("fc1", op("Flatten", y, out="flat"), (128,))
    y = fc("fc2", y, (100,))
    y = op("Reshape", y, constant("voters", [0, 10, VOTERS], np.int64), out="votes")
    op("ReduceSum", y, constant("last", [2], np.int64), out="y", keepdims=0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2, 34, 34])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 10])
    graph = helper.make_graph(nodes, "one_time_step", [x, *inputs], [y, *outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model


# ---------------------------------------------------------------------------------------------------------------------------


def run(net, events):
    """Step through a recording: yield frame x, votes c, spikes s, charges h, membranes v, and the answer so far."""
    v, decision = reset(), Decision()
    for x, t_us in frames(*events):
        c, v, s, h = step(net, x, v)
        yield x, c, s, h, v, decision.add(c, t_us)


def main():
    net = fold(read(MODEL))
    beside = None
    recordings = [(path, read_events(path)) for path in sys.argv[1:]]
    if not recordings:  # plif draws digits, records them with a simulated camera, and takes the same steps
        import plif

        beside = plif.load(MODEL).session()
        digits = plif.open_dataset("digits:20", framing="count:T=10", shape=(2, 34, 34))
        drawn = [digits.recording(i)[0] for i in range(len(digits))]
        recordings = [(f"a {i % 10}", [e[name].astype(np.int64) for name in "txyp"]) for i, e in enumerate(drawn)]

    spikes, nearest, others = 0, np.inf, 0
    for what, events in recordings:
        votes, answers = np.zeros(10), ""
        if beside:
            beside.reset()
        for x, c, s, h, v, answer in run(net, events):
            votes += c
            answers += " ." if answer is None else f" {answer}"
            spikes += sum(int(fired.sum()) for fired in s.values())
            nearest = min(nearest, *(np.abs(charged - V_THRESHOLD).min() for charged in h.values()))
            if beside:  # a membrane is 0 where its neuron fired, and its charge elsewhere: it tells of every spike
                beside.step(x[None].astype(np.float32))
                others += sum(int((np.abs(beside.state[f"v.{name}"][0] - v[name]) > 1e-3).sum()) for name in v)
        print(f"{what}:{answers}   in all {votes.argmax()}, with {votes.max() / votes.sum():.0%} of the votes")
    print(f"{spikes:,} spikes; of all membranes the nearest to its threshold was {nearest:.1e} away from it")
    if beside:
        print(f"neurons that did something else in plif: {others}")


if __name__ == "__main__":
    main()
