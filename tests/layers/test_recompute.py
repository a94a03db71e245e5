"""Recomputation: the same numbers to the last bit, less memory kept, statistics and what is watched counted once."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from snnguard import networks, rng
from snnguard.layers import recomputed, watching
from snnguard.neurons import LIF, MembraneNoise, StraightThrough, Watch, neurons_of, use_rule

NOISY = LIF(traits=(MembraneNoise(sigma=0.3),))


def trained(name: str, *, recompute: bool, neuron: LIF) -> tuple[list[torch.Tensor], list[torch.Tensor], int]:
    """Gradients, buffers, and how many membranes were seen."""
    model = networks.build(name, image_shape=(3, 16, 16), steps=3, seed=0, neuron=neuron).train()
    model.recompute = recompute
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with rng.scope(2):
        with watching(model, Watch(moments=True, bands=(0.3,))) as seen:
            logits = model(x)
        loss = nn.functional.cross_entropy(logits, torch.arange(6))
        for passes in seen.values():
            loss = loss + passes[-1].mean.square().mean() + passes[-1].hinge.sum()
        loss.backward()
    assert not any(neuron.watch or neuron.seen for neuron in neurons_of(model).values())
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return gradients, [buffer.clone() for buffer in model.buffers()], sum(map(len, seen.values()))


@pytest.mark.parametrize("neuron", [LIF(decay=0.9), NOISY], ids=["lif", "noisy"])
@pytest.mark.parametrize("name", ["vgg5-slim", "wrn16"])
def test_the_numbers_do_not_change(name: str, neuron: LIF) -> None:
    plain, again = (trained(name, recompute=recompute, neuron=neuron) for recompute in (False, True))
    assert len(plain[0]) > 5
    for one, other in zip(plain[0] + plain[1], again[0] + again[1], strict=True):
        assert torch.equal(one, other)
    assert plain[2] == again[2]


MEASURED = """
import sys, torch
from snnguard import bench, networks
torch.set_num_threads(1)
model = networks.build("vgg11", image_shape=(3, 32, 32), steps=8, seed=0).train()
model.recompute = sys.argv[1] == "True"
x = torch.rand(32, 3, 32, 32)
print(bench.peak_memory(lambda: model(x)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="on a CPU it is read from Linux's /proc")
def test_less_memory_is_held() -> None:
    peaks = []
    for recompute in (False, True):  # the graph that a forward pass leaves, in a process of its own
        command = [sys.executable, "-c", MEASURED, str(recompute)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[0] - peaks[1] > 50 * 2**20


class _Doubling(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_body_with_a_mind_of_its_own_is_one_block() -> None:
    x, calls = torch.rand(2, 3, requires_grad=True), []
    own, hooked = _Doubling(nn.Linear(3, 3), nn.Linear(3, 3)), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    hooked.register_forward_hook(lambda *_: calls.append(1))
    for body in (own, hooked):
        assert torch.equal(recomputed(body, x), body(x))
    assert len(calls) == 2


def test_the_rule_of_the_forward_pass_is_that_of_the_second() -> None:
    neuron, x = LIF().build(steps=3), torch.rand(3, 2, 5, requires_grad=True)
    found = []
    for run in (nn.Sequential.__call__, recomputed):
        with use_rule(neuron, StraightThrough()):
            out = run(nn.Sequential(neuron), x)
        found.append(torch.autograd.grad(out.sum(), x)[0])
    assert torch.equal(found[0], torch.ones_like(x))
    assert torch.equal(found[0], found[1])
