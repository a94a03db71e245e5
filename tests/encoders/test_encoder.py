"""Encoders: Poisson statistics, and direct coding that computes the first layer once."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import snnguard as sg
from snnguard import rng
from snnguard.encoders import Direct, Encoder, Poisson

N = 5


class Repeat(Encoder, kind="toy-repeat"):
    """Direct coding the long way: every step written out."""

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        return normalize(x).repeat(steps, 1, 1, 1, 1)


@pytest.fixture(scope="module", autouse=True)
def forget() -> Iterator[None]:
    yield
    Encoder._members.pop("toy-repeat")


def identity(x: Tensor) -> Tensor:
    return x


def images(n: int = N) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_direct_is_the_normalised_image() -> None:
    x = images()
    assert torch.equal(Direct().encode(x[None], steps=4, normalize=lambda x: x * 2 - 1), (x * 2 - 1)[None])
    assert not Direct().noisy


def test_poisson_has_the_pixel_as_its_mean() -> None:
    x = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    draws = 4000
    with rng.scope(0):
        spikes = Poisson().encode(x[None], steps=draws, normalize=identity)
    assert spikes.shape == (draws, 1, 1, 8, 8)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    error = 4 * (x * (1 - x) / draws).sqrt()
    assert ((spikes.mean(0) - x).abs() <= error).all()  # black never fires, white always: no room there
    pairs = (spikes[1:] * spikes[:-1]).mean(0)
    assert ((pairs - x.square()).abs() <= 6 * (1 / draws) ** 0.5 * 0.5).all()  # independent over time


def test_poisson_is_not_normalised() -> None:
    x = images()
    with rng.scope(0):
        one = Poisson().encode(x[None], steps=4, normalize=identity)
    with rng.scope(0):
        other = Poisson().encode(x[None], steps=4, normalize=lambda x: x - 5)
    assert torch.equal(one, other)


def test_poisson_differentiates_as_the_identity_in_every_step() -> None:
    x = images().requires_grad_()
    weight = torch.randn(4, N, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    spikes = Poisson().encode(x[None], steps=4, normalize=identity)
    (gradient,) = torch.autograd.grad((spikes * weight).sum(), x)
    assert torch.allclose(gradient, weight.sum(0), atol=1e-6)


def test_poisson_draws_anew_in_every_call_and_step() -> None:
    x = images()
    with rng.scope(0):
        first, second = (Poisson().encode(x[None], steps=4, normalize=identity) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    with rng.scope(0):
        assert torch.equal(Poisson().encode(x[None], steps=4, normalize=identity), first)
    model = sg.networks.build("vgg4-tiny", image_shape=(1, 8, 8), encoder=Poisson()).eval()
    assert model.stochastic
    seen: list[Tensor] = []
    model.body.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with rng.scope(0):
        model(x)
        model(x)
    assert not torch.equal(seen[0], seen[1])


def test_the_first_layer_is_computed_once() -> None:
    rows: dict[str, list[int]] = {}
    settings = {"image_shape": (1, 8, 8), "steps": 4, "seed": 3, "mean": [0.3], "std": [0.4]}
    logits, gradients = [], []
    for encoder in (Direct(), Repeat()):
        model = sg.networks.build("vgg4-tiny", encoder=encoder, **settings).double().eval()
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        counted = rows.setdefault(encoder.kind, [])
        for convolution in convolutions:
            with torch.no_grad():
                convolution.weight.mul_(2)
            convolution.register_forward_hook(lambda module, args, out, counted=counted: counted.append(len(args[0])))
        x = images().double().requires_grad_()
        out = model(x)
        logits.append(out.detach())
        gradients.append(torch.autograd.grad(out.square().sum(), x)[0])
    assert rows == {"direct": [N, 4 * N], "toy-repeat": [4 * N, 4 * N]}
    assert torch.allclose(logits[0], logits[1], atol=1e-12)
    assert logits[0].std() > 0
    assert gradients[0].abs().sum() > 0
    assert torch.allclose(gradients[0], gradients[1], atol=1e-10)
