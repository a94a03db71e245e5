"""Models small enough to attack by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import Attack


class Linear(nn.Module):
    """Logits x W^T + b of flattened images."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(weight)).to(weight) if bias is None else bias)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


@pytest.fixture
def linear() -> Callable[..., nn.Module]:
    return Linear


@pytest.fixture
def smooth() -> nn.Module:
    """A smooth, curved network in float64: 8 pixels, 4 classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).double().eval()
    with torch.no_grad():
        # Steep, and centred on grey, so that all four classes lie around the middle of the range.
        net[1].weight *= 4
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)
        net[3].weight *= 4
    return net


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """`images(n)`: float64 [n, 2, 2, 2], away from both ends of the range by `margin`."""

    def make(n: int, margin: float = 0.3) -> Tensor:
        generator = torch.Generator().manual_seed(n)
        return margin + (1 - 2 * margin) * torch.rand(n, 2, 2, 2, generator=generator, dtype=torch.float64)

    return make


@pytest.fixture
def new_attack(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Attack]:
    """`new_attack(run)`: an attack with `run(model, x, aim)` as its algorithm; it leaves the registry afterwards."""
    monkeypatch.setattr(Attack, "_members", dict(Attack.members()))

    def make(algorithm: Callable[..., Tensor], *, bounded: bool = True, **settings: object) -> Attack:
        keeps = bounded

        class New(Attack, kind="new"):
            @property
            def bounded(self) -> bool:
                return keeps

            def run(self, model, x, aim, threat, seed):
                return algorithm(model, x, aim)

        return New(**settings)

    return make
