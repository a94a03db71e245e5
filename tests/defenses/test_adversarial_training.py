"""Adversarial training: what the network is trained on, and what the crafting must not touch."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import Attack, fgsm
from snnguard.defenses import MART, TRADES, AdversarialTraining, Batch, Defense, Step, rat
from snnguard.networks import build
from snnguard.threat import L2, Linf

RADIUS = 2 / 255


def net() -> nn.Module:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2, mean=[0.4], std=[0.2], seed=2)
    model.train()(images(16))  # normalisation statistics that are not the initial ones
    return model


def images(n: int = 8) -> Tensor:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n))
    return (1.2 * x - 0.1).clamp(0, 1)


def batch() -> Batch:
    return Batch(x=images(), y=torch.arange(8) % 3, clean=images())


def step(seed: int = 4) -> Step:
    return Step(progress=0.5, seed=seed, membranes={})


@pytest.mark.parametrize("defense", [AdversarialTraining(), rat(), rat(attack=fgsm())], ids=str)
def test_images_stay_in_ball_and_range_and_differ(defense: Defense) -> None:
    after = defense.batch(net(), batch(), step())
    moved = after.x - images()
    assert moved.abs().max() <= RADIUS + 1e-6
    assert moved.abs().max() > 0.4 * RADIUS
    assert after.x.min() >= 0
    assert after.x.max() <= 1
    assert torch.equal(after.clean, images())
    assert torch.equal(after.y, batch().y)
    assert not after.x.requires_grad


@pytest.mark.parametrize("defense", [AdversarialTraining(), rat(), rat(attack=fgsm())], ids=str)
def test_crafting_touches_no_statistics_no_gradients_and_no_flags(defense: Defense) -> None:
    model = net()
    model.body[0].eval()
    model.body[1].training = False
    functional.cross_entropy(model(images()), batch().y).backward()
    state = {name: t.clone() for name, t in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    torch.manual_seed(0)
    generator = torch.get_rng_state()
    defense.batch(model, batch(), step())
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [m.training for m in model.modules()] == modes
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_it_is_crafted_on_the_statistics_of_evaluation() -> None:
    model = net()
    crafted = AdversarialTraining(attack=fgsm()).batch(model, batch(), step()).x
    model.eval()
    x = images().requires_grad_()
    (g,) = torch.autograd.grad(functional.cross_entropy(model(x), batch().y, reduction="sum"), x)
    torch.testing.assert_close(crafted, (images() + RADIUS * g.sign()).clamp(0, 1))


def test_the_seed_of_the_step_decides() -> None:
    model, defense = net(), AdversarialTraining()
    one, same, other = (defense.batch(model, batch(), step(seed)).x for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_any_attack_under_any_threat() -> None:
    defense = AdversarialTraining(attack=fgsm(), threat=L2(eps=0.3))
    moved = (defense.batch(net(), batch(), step()).x - images()).flatten(1).norm(dim=1)
    assert moved.max() <= 0.3 + 1e-6
    assert Defense.parse({"kind": "at", "attack": "fgsm", "threat": {"kind": "l2", "eps": 0.3}}) == defense


def test_the_default_is_two_steps_of_half_the_radius() -> None:
    # METHODS 4.3: PGD with 2 steps of 1/255 at eps = 2/255.
    attack = AdversarialTraining().attack
    assert attack == Attack.parse({"kind": "pgd", "steps": 2, "step_size": 1 / 255})
    assert AdversarialTraining().threat == Linf(eps=2 / 255)
    assert not attack.early_stop


def test_radius_zero_is_the_batch_itself() -> None:
    given = batch()
    assert AdversarialTraining(threat=Linf(eps=0)).batch(net(), given, step()) is given


@pytest.mark.parametrize("defense", [AdversarialTraining(attack=fgsm()), TRADES(), MART()], ids=str)
def test_the_attack_does_not_know_the_draws_of_the_training_pass(defense: Defense) -> None:
    drawn: list[Tensor] = []

    class Random(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            drawn.append(torch.rand(3))
            return x.flatten(1)[:, :3] + drawn[-1]

    at = step()
    with rng.scope(at.seed):  # as the loop does
        defense.batch(Random(), batch(), at)
        crafting = len(drawn)
        Random()(batch().x)
    assert crafting
    assert all(not torch.equal(one, drawn[-1]) for one in drawn[:crafting])
