"""HIRE-SNN: the noise of each segment against a pass by hand, its bounds, and what it leaves alone."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.data import fake
from snnguard.defenses import AdversarialTraining, Batch, Defense, Stack, Step
from snnguard.defenses.hire import HIRE
from snnguard.defenses.mixup import Mixup
from snnguard.defenses.plif import PLIF
from snnguard.encoders import Poisson
from snnguard.errors import RequestError
from snnguard.networks import Network, SpikingClassifier, build, construct
from snnguard.neurons import LIF
from snnguard.neurons.leak import LearnedLeak
from snnguard.threat import L2, Linf
from snnguard.training import SGD, Training, fit

EPS = 0.1
STEP = Step(progress=0.5, seed=1, membranes={}, classes=3)


def lively(*, steps: int = 4, **settings: Any) -> SpikingClassifier:
    """A small network in double precision whose gradients do not vanish, in training mode."""
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=steps, seed=1, **settings).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3.0)  # an untrained network would hardly fire
    return model.train()


def batch(n: int = 4) -> Batch:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(x=x, y=torch.arange(n) % 3, clean=x)


def crafted(model: nn.Module, given: Batch, **settings: Any) -> Batch:
    return HIRE(**{"threat": Linf(eps=EPS), **settings}).batch(model, given, STEP)


def slopes(model: nn.Module, frames: Tensor, y: Tensor) -> Tensor:
    """Gradient of the loss for each frame, [N, T, C, H, W], in eval mode."""
    frames = frames.clone().requires_grad_()
    model.eval()
    loss = functional.cross_entropy(model(frames), y, reduction="sum")
    model.train()
    return torch.autograd.grad(loss, frames)[0]


def test_two_segments_by_hand() -> None:
    model, given = lively(), batch()
    after = crafted(model, given)
    assert after.x.shape == (4, 4, 1, 8, 8)
    assert after.clean is given.clean
    assert after.y is given.y
    assert torch.equal(after.x[:, 0], after.x[:, 1])
    assert torch.equal(after.x[:, 2], after.x[:, 3])
    first, second = after.x[:, 0] - given.x, after.x[:, 2] - given.x
    summed = slopes(model, after.x[:, :1].expand(-1, 4, -1, -1, -1), given.y)[:, :2].sum(1)
    assert (summed != 0).double().mean() > 0.5
    expected = (given.x + (first + EPS * summed.sign()).clamp(-EPS, EPS)).clamp(0, 1) - given.x
    torch.testing.assert_close(second, expected, rtol=0, atol=1e-12)


def test_four_segments_by_hand_and_the_longer_ones_come_first() -> None:
    model, given = lively(steps=6), batch()
    after = crafted(model, given, segments=4).x
    starts = [0, 2, 4, 5, 6]  # 6 steps in parts of 2, 2, 1, 1
    gradient = slopes(model, after[:, :1].expand(-1, 6, -1, -1, -1), given.y)
    delta = after[:, 0] - given.x
    for start, end in pairwise(starts):
        for t in range(start, end):
            torch.testing.assert_close(after[:, t], (given.x + delta).clamp(0, 1), rtol=0, atol=1e-12)
        delta = (delta + EPS * gradient[:, start:end].sum(1).sign()).clamp(-EPS, EPS)


def test_the_first_noise_is_uniform_and_new_in_every_step_of_training() -> None:
    model, x = lively(steps=2), torch.full((40, 1, 8, 8), 0.5, dtype=torch.float64)
    x += torch.arange(40).reshape(-1, 1, 1, 1) * 1e-6  # equal images would get equal noise
    given = Batch(x=x, y=torch.zeros(40, dtype=torch.long), clean=x)
    noise = (crafted(model, given).x[:, 0] - x).flatten()
    count = len(noise)
    assert noise.abs().max() <= EPS
    assert abs(float(noise.mean())) < 4 * EPS / (3 * count) ** 0.5
    assert float(noise.square().mean()) == pytest.approx(EPS**2 / 3, rel=0.1)
    other = HIRE(threat=Linf(eps=EPS)).batch(model, given, Step(progress=0.5, seed=2, membranes={}, classes=3))
    assert not torch.equal(other.x, crafted(model, given).x)
    assert torch.equal(crafted(model, given).x, crafted(model, given).x)


def test_every_step_stays_in_ball_and_range() -> None:
    x = torch.cat([torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)]).double()
    given = Batch(x=x, y=torch.arange(4) % 3, clean=x)
    for threat in (Linf(eps=0.3), L2(eps=1.0)):
        after = crafted(lively(), given, segments=3, threat=threat).x
        for t in range(4):
            assert threat.contains(after[:, t], x).all()


def test_a_step_whose_gradient_is_zero_leaves_the_noise_as_it_is() -> None:
    model = lively()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    after = crafted(model, batch()).x
    assert torch.isfinite(after).all()
    assert torch.equal(after[:, 0], after[:, 3])
    assert not torch.equal(after[:, 0], batch().x)


def test_images_that_differ_from_step_to_step_keep_that_axis() -> None:
    model, given = lively(), batch()
    wave = 0.05 * torch.tensor([0.0, 1, -1, 2], dtype=torch.float64).reshape(1, 4, 1, 1, 1)
    frames = (given.clean[:, None] + wave).clamp(0, 1)
    after = crafted(model, given.with_x(frames)).x
    assert after.shape == frames.shape
    delta = (after - frames).abs()
    assert delta.max() <= EPS + 1e-9
    inside = ((after > 0) & (after < 1)).all(1, keepdim=True).expand_as(after)
    noise = after - frames
    assert torch.allclose(noise[:, 0][inside[:, 0]], noise[:, 1][inside[:, 0]])


@pytest.mark.parametrize("encoder", [None, Poisson()])
def test_crafting_leaves_no_trace(encoder: Poisson | None) -> None:
    model = lively(**({} if encoder is None else {"encoder": encoder}))
    model.body[0].eval()
    model.body[0][0].weight.requires_grad_(False)
    modes, flags = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    statistics, state = {name: b.clone() for name, b in model.named_buffers()}, torch.get_rng_state()
    crafted(model, batch())
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(b, statistics[name]) for name, b in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)


def trained(defense: Defense) -> dict[str, Tensor]:
    data = fake(classes=3, image_shape=(1, 8, 8), train=24, validation=8, test=8)
    network = defense.design(Network(name="vgg4-tiny", steps=2))
    model = construct(network, classes=3, image_shape=data.image_shape, mean=data.mean, std=data.std, seed=0)
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=8)
    fit(model, data.train, data.validation, defense=defense, training=training, seed=3)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_without_strength_it_is_plain_training_bit_for_bit() -> None:
    plain, off = trained(Stack()), trained(HIRE(threat=Linf(eps=0), learn_leak=False))
    assert plain.keys() == off.keys()
    assert all(torch.equal(plain[name], off[name]) for name in plain)
    given = batch()
    assert HIRE(threat=Linf(eps=0)).batch(lively(), given, STEP) is given
    noisy, leaky = trained(HIRE(learn_leak=False)), trained(HIRE(threat=Linf(eps=0)))
    assert noisy.keys() == plain.keys()
    assert not all(torch.equal(plain[name], noisy[name]) for name in plain)
    assert leaky.keys() - plain.keys() == {name for name in leaky if name.endswith(".w")}
    assert all(leaky[name] != 0 for name in leaky.keys() - plain.keys())  # the leaks moved away from 1/2


def test_the_leak_is_learned_without_weight_decay() -> None:
    network = Network(name="vgg4-tiny")
    designed = HIRE().design(network)
    assert designed.neuron == LIF(traits=(LearnedLeak(),))
    assert HIRE(learn_leak=False).design(network) == network
    model = lively(neuron=designed.neuron)
    (group,) = HIRE().groups(model)
    assert group.weight_decay == 0
    assert len(list(group.parameters)) == 3
    assert HIRE().groups(lively()) == []
    Stack(parts=(HIRE(), PLIF()))  # the same leak: no contradiction


@pytest.mark.parametrize("others", [(AdversarialTraining(threat=Linf(eps=0.05)),), (Mixup(),)])
def test_behind_other_parts_the_noise_comes_on_top(others: tuple[Defense, ...]) -> None:
    model, given = lively(), batch()
    earlier = Stack(parts=others).batch(model, given, STEP)
    after = Stack(parts=(*others, HIRE(threat=Linf(eps=EPS)))).batch(model, given, STEP)
    assert not torch.equal(earlier.x, given.x)
    assert after.x.shape == (4, 4, 1, 8, 8)
    delta = after.x - earlier.x[:, None]
    assert 0.5 * EPS < delta.abs().max() <= EPS + 1e-9
    assert torch.equal(after.clean, earlier.clean)
    assert torch.equal(after.y, earlier.y)
    trained(Stack(parts=(*others, HIRE())))


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(RequestError, match="5 segments need as many time steps, found 4"):
        crafted(lively(), batch(), segments=5)
    with pytest.raises(RequestError, match="no neuron"):
        crafted(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), batch())
    with pytest.raises(ValidationError):
        HIRE(segments=1)


def test_the_steps_are_those_of_the_neurons_in_any_module() -> None:
    wrapped = nn.Sequential(lively(steps=3))
    given = batch()
    with rng.scope(0):
        assert torch.equal(crafted(wrapped, given).x, crafted(lively(steps=3), given).x)
