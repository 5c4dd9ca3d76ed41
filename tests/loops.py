"""Networks with the loop over T inside forward, as public code writes them: for tests of the reader of modules."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

num_steps = 4


class CSNN(nn.Module):
    """SpikingJelly's tutorial: multi-step mode, an image repeated T times, the mean over T."""

    def __init__(self, T: int = 4) -> None:
        super().__init__()
        self.T = T
        self.conv_fc = nn.Sequential(
            layer.Conv2d(1, 6, 3, padding=1, bias=False), layer.BatchNorm2d(6),
            neuron.IFNode(surrogate_function=surrogate.ATan()), layer.MaxPool2d(2),
            layer.Conv2d(6, 6, 3, padding=1, bias=False), layer.BatchNorm2d(6), neuron.IFNode(),
            layer.MaxPool2d(2), layer.Flatten(), layer.Linear(6 * 4, 12, bias=False), neuron.IFNode(),
            layer.Linear(12, 5, bias=False), neuron.IFNode(),
        )  # fmt: skip
        functional.set_step_mode(self, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        x_seq = x.unsqueeze(0).expand(self.T, -1, -1, -1, -1)
        return self.conv_fc(x_seq).mean(0)  # type: ignore[no-any-return]


class StaticConv(nn.Module):
    """PLIF neurons, the first convolution outside of the loop, the sum begun with the first step."""

    def __init__(self, T: int = 4) -> None:
        super().__init__()
        self.T = T
        self.static_conv = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
        self.conv = nn.Sequential(neuron.ParametricLIFNode(), nn.MaxPool2d(2))
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(6 * 16, 5), neuron.ParametricLIFNode())

    def forward(self, x: Tensor) -> Tensor:
        x = self.static_conv(x)
        out = self.fc(self.conv(x))
        for _t in range(1, self.T):
            out += self.fc(self.conv(x))
        return out / self.T  # type: ignore[no-any-return]


class BatchFirst(nn.Module):
    """A loop over x [B, T, ...] with a reset and a vote inside."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), neuron.LIFNode(), nn.Flatten(), nn.Linear(4 * 36, 10),
            neuron.LIFNode(), layer.VotingLayer(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        x = x.permute(1, 0, 2, 3, 4)
        total: Any = 0.0
        for t in range(x.shape[0]):
            total += self.net(x[t])
        return total / x.shape[0]  # type: ignore[no-any-return]


class Containers(nn.Module):
    """SeqToANNContainer and MultiStepContainer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            layer.SeqToANNContainer(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)), layer.MultiStepContainer(neuron.IFNode()),
            layer.SeqToANNContainer(nn.Flatten(), nn.Linear(4 * 36, 5)), layer.MultiStepContainer(neuron.LIFNode(tau=3.0)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).sum(0)  # type: ignore[no-any-return]


class Tutorial5(nn.Module):
    """snnTorch: states by hand, records of spikes and membranes."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch as snn

        self.fc1, self.fc2 = nn.Linear(8, 20), nn.Linear(20, 5)
        self.lif1, self.lif2 = snn.Leaky(beta=0.95), snn.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _step in range(num_steps):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class OtherLeaky(nn.Module):
    """snnTorch: Synaptic, Alpha, Lapicque and RLeaky; records that are written in place."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch as snn

        self.fc = nn.ModuleList([nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 5)])
        self.syn = snn.Synaptic(alpha=0.9, beta=0.8)
        self.alpha = snn.Alpha(alpha=0.9, beta=0.8)
        self.lap = snn.Lapicque(beta=0.7)
        self.rec = snn.RLeaky(beta=0.9, linear_features=5)

    def forward(self, x: Tensor) -> Tensor:
        syn, mem = self.syn.init_synaptic()
        exc, inh, mem_a = self.alpha.init_alpha()
        mem_l = self.lap.init_lapicque()
        spk_r, mem_r = self.rec.init_rleaky()
        out = torch.zeros(x.shape[0], x.shape[1], 5)
        for t in range(x.shape[0]):
            s, syn, mem = self.syn(self.fc[0](x[t]), syn, mem)
            s, exc, inh, mem_a = self.alpha(self.fc[1](s), exc, inh, mem_a)
            s, mem_l = self.lap(self.fc[2](s), mem_l)
            spk_r, mem_r = self.rec(self.fc[3](s), spk_r, mem_r)
            out[t] = spk_r
        return out


class NorseMNIST(nn.Module):
    """Norse: state=None, a leaky readout, voltages written in place."""

    def __init__(self, seq_length: int = 4) -> None:
        super().__init__()
        import norse.torch as norse

        self.seq_length = seq_length
        self.conv1, self.fc1 = nn.Conv2d(1, 4, 3), nn.Linear(4 * 9, 10)
        self.lif0 = norse.LIFCell(norse.LIFParameters(tau_mem_inv=torch.tensor(300.0)))
        self.lif1 = norse.LIFCell(norse.LIFParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.5)))
        self.out = norse.LILinearCell(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = so = None
        voltages = torch.zeros(self.seq_length, x.shape[0], 5, device=x.device, dtype=x.dtype)
        for ts in range(self.seq_length):
            z = 100 * self.conv1(x)
            z, s0 = self.lif0(z, s0)
            z = nn.functional.max_pool2d(z, 2, 2)
            z = 10 * z.flatten(1)
            z, s1 = self.lif1(self.fc1(z), s1)
            v, so = self.out(nn.functional.relu(z), so)
            voltages[ts, :, :] = v
        return voltages


class NorseRecurrent(nn.Module):
    """Norse: a recurrent cell in a SequentialState, the maximum over T, log_softmax."""

    def __init__(self) -> None:
        super().__init__()
        import norse.torch as norse

        p = norse.LIFParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.3))
        self.net = norse.SequentialState(
            nn.Linear(8, 12), norse.LIFRecurrentCell(12, 12, p), nn.Linear(12, 5), norse.LICell()
        )

    def forward(self, x: Tensor) -> Tensor:
        state, voltages = None, []
        for x_t in x:
            v, state = self.net(x_t, state)
            voltages.append(v)
        m, _ = torch.max(torch.stack(voltages), 0)
        return nn.functional.log_softmax(m, dim=1)


class NorseLift(nn.Module):
    """Norse: Lift, a neuron that takes all steps, and the last step."""

    def __init__(self) -> None:
        super().__init__()
        import norse.torch as norse

        p = norse.LIFParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.3))
        self.net = norse.SequentialState(
            norse.Lift(nn.Linear(8, 12)), norse.LIF(p), norse.Lift(nn.Linear(12, 5)), norse.LIF(p)
        )

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.net(x)
        return y[-1]  # type: ignore[no-any-return]


class Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g / (100 * x.abs() + 1) ** 2  # type: ignore[no-any-return]


class SpyTorch(nn.Module):
    """SpyTorch's data set of spoken digits: einsum outside of the loop, two loops, T + 1 records of the readout."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.rand(8, 12)), nn.Parameter(torch.rand(12, 5))
        self.v1 = nn.Parameter(0.1 * torch.randn(12, 12))

    def forward(self, x: Tensor) -> Tensor:
        B, T = x.shape[:2]
        h1 = torch.einsum("abc,cd->abd", (x, self.w1))
        syn, mem, out = (torch.zeros(B, 12) for _ in range(3))
        records = []
        for t in range(T):
            h = h1[:, t] + torch.einsum("ab,bc->ac", (out, self.v1))
            out = Surrogate.apply(mem - 1.0)
            rst = out.detach()
            syn, mem = 0.9 * syn + h, (0.8 * mem + syn) * (1.0 - rst)
            records.append(out)
        spikes = torch.stack(records, dim=1)
        h2 = torch.einsum("abc,cd->abd", (spikes, self.w2))
        flt, out2 = torch.zeros(B, 5), torch.zeros(B, 5)
        voltages = [out2]
        for t in range(T):
            flt, out2 = 0.9 * flt + h2[:, t], 0.8 * out2 + flt
            voltages.append(out2)
        return torch.stack(voltages, dim=1)


class MSResNet(nn.Module):
    """A neuron without a library: T and batch in one axis, its own autograd function, `if i >= 1`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = (
            nn.Conv2d(2, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(4 * 36, 5),
        )
        self.bn = nn.BatchNorm3d(4)

    def spike(self, x: Tensor) -> Tensor:
        u = torch.zeros(x.shape[1:])
        out = torch.zeros_like(x)
        for i in range(x.shape[0]):
            u = 0.25 * u * (1 - out[i - 1].detach()) + x[i] if i >= 1 else x[i]
            out[i] = Surrogate.apply(u - 0.5)
        return out

    def time_in_batch(self, conv: nn.Module, x: Tensor) -> Tensor:
        y = conv(x.flatten(0, 1))
        return y.view(x.shape[0], x.shape[1], *y.shape[1:])  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = self.time_in_batch(self.conv1, x)
        x = self.bn(x.permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4)
        s = self.spike(x)
        s = self.spike(self.time_in_batch(self.conv2, s) + x)
        return self.fc(s.flatten(2)).mean(0)  # type: ignore[no-any-return]


class STBP(nn.Module):
    """STBP's SCNN: time_window as an argument, zeros under several names, += on the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.fc1, self.fc2 = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 9, 12), nn.Linear(12, 5)

    def update(self, ops: nn.Module, x: Tensor, mem: Tensor, spike: Tensor) -> tuple[Tensor, Tensor]:
        mem = mem * 0.2 * (1.0 - spike) + ops(x)
        return mem, Surrogate.apply(mem - 0.5)

    def forward(self, x: Tensor, time_window: int = 4) -> Tensor:
        B = x.shape[0]
        c1_mem = c1_spike = torch.zeros(B, 4, 6, 6)
        h1_mem = h1_spike = h1_sum = torch.zeros(B, 12)
        h2_mem = h2_spike = h2_sum = torch.zeros(B, 5)
        for _step in range(time_window):
            c1_mem, c1_spike = self.update(self.conv1, x, c1_mem, c1_spike)
            s = nn.functional.avg_pool2d(c1_spike, 2).view(B, -1)
            h1_mem, h1_spike = self.update(self.fc1, s, h1_mem, h1_spike)
            h1_sum = h1_sum + h1_spike
            h2_mem, h2_spike = self.update(self.fc2, h1_spike, h2_mem, h2_spike)
            h2_sum = h2_sum + h2_spike
        return h2_sum / time_window


class Spikformer(nn.Module):
    """A block of a spiking transformer: attention over tokens, the mean of tokens and T, a head."""

    def __init__(self, dim: int = 8, heads: int = 2, T: int = 4) -> None:
        super().__init__()
        self.T, self.dim, self.heads = T, dim, heads
        self.embed = nn.Conv2d(1, dim, 2, stride=2)
        self.bn, self.lif = nn.BatchNorm2d(dim), neuron.LIFNode(tau=2.0, step_mode="m")
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.q_lif, self.k_lif, self.v_lif, self.attn_lif = (neuron.LIFNode(tau=2.0, step_mode="m") for _ in range(4))
        self.proj, self.proj_lif = nn.Linear(dim, dim), neuron.LIFNode(tau=2.0, step_mode="m")
        self.head = nn.Linear(dim, 5)

    def split(self, x: Tensor) -> Tensor:
        T, B, N, C = x.shape
        return x.reshape(T, B, N, self.heads, C // self.heads).permute(0, 1, 3, 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)
        T, B = x.shape[:2]
        y = self.bn(self.embed(x.flatten(0, 1))).reshape(T, B, self.dim, -1)
        x = self.lif(y).transpose(-1, -2)
        q, k, v = (self.split(n(w(x))) for n, w in ((self.q_lif, self.q), (self.k_lif, self.k), (self.v_lif, self.v)))
        a = self.attn_lif(((q @ k.transpose(-2, -1)) @ v * 0.25).transpose(2, 3).reshape(T, B, -1, self.dim))
        x = x + self.proj_lif(self.proj(a))
        return self.head(x.mean(2).mean(0))  # type: ignore[no-any-return]


class Inline(nn.Module):
    """No neuron class at all: a Python number as the first membrane, a sum over T."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        v: Any = 0.0
        w: Any = 0.0
        total = torch.zeros(x.shape[1], 5)
        for t in range(len(x)):
            v = v * 0.5 + self.fc1(x[t])
            s = (v >= 0.2).float()
            v = v - s * 0.2
            w = w * 0.9 + self.fc2(s)
            out = (w >= 0.3).float()
            w = w * (1 - out)
            total += out
        return total / len(x)


class MaskedWrite(nn.Module):
    """A neuron of one's own with its membrane in a buffer, changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 5)
        self.register_buffer("v", torch.zeros(1, 5))

    def forward(self, x: Tensor) -> Tensor:
        self.v = torch.zeros(x.shape[1], 5)
        out = []
        for x_t in x:
            self.v.mul_(0.75).add_(self.fc(x_t))
            s = (self.v > 0.5).to(x.dtype)
            self.v[s > 0] = 0.0
            out.append(s.unsqueeze(0))
        return torch.cat(out).sum(0)


class Integrates(nn.Module):
    """The membrane of a last layer that does not fire."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.lif = nn.Linear(8, 12), nn.Linear(12, 5), neuron.LIFNode()

    def forward(self, x: Tensor) -> Tensor:
        mem = torch.zeros(x.shape[1], 5)
        for x_t in x:
            mem = 0.9 * mem + self.fc2(self.lif(self.fc1(x_t)))
        return mem
