"""MART against hand-made logits and a direct formula in probabilities."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from snnguard.attacks import fgsm
from snnguard.defenses import AdversarialTraining, Batch, Step
from snnguard.defenses.mart import MART, rival_term
from snnguard.threat import Linf

DOUBLE = torch.float64


def step() -> Step:
    return Step(progress=0.5, seed=4, membranes={})


def objective(defense: MART, clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
    """The objective of a model whose logits are its images."""
    found = defense.objective(nn.Identity(), Batch(x=adversarial, y=y, clean=clean), adversarial, step())
    assert found is not None
    return found


def logits(seed: int, n: int = 6, classes: int = 4) -> Tensor:
    return 2 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def in_probabilities(clean: Tensor, adversarial: Tensor, y: Tensor, weight: float) -> Tensor:
    """The loss as the paper writes it, image by image."""
    total = []
    for z, z_adv, c in zip(clean, adversarial, y.tolist(), strict=True):
        p, q = z.softmax(0), z_adv.softmax(0)
        rival = torch.cat([q[:c], q[c + 1 :]]).max()
        kl = kl_divergence(Categorical(probs=p), Categorical(probs=q))
        total.append(-q[c].log() - (1 - rival).log() + weight * kl * (1 - p[c]))
    return torch.stack(total).mean()


def test_by_hand() -> None:
    # p = (1/2, 1/4, 1/4), p' = (1/4, 1/2, 1/4), y = 0: BCE = ln 4 + ln 2, KL = ln(2)/2 - ln(2)/4 = ln(2)/4, 1 - p_y = 1/2.
    clean = torch.tensor([[2.0, 1, 1]], dtype=DOUBLE).log()
    moved = torch.tensor([[1.0, 2, 1]], dtype=DOUBLE).log()
    found = objective(MART(weight=5), clean, moved, torch.tensor([0]))
    assert float(found) == pytest.approx((3 + 5 / 8) * math.log(2))
    # For the class that is the strongest, the rival is the next one: -ln(1/2) - ln(3/4).
    found = objective(MART(weight=0), clean, moved, torch.tensor([1]))
    assert float(found) == pytest.approx(math.log(2) + math.log(4 / 3))


def test_value_and_gradients_are_those_of_the_formula_in_probabilities() -> None:
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    ours, theirs = [[logits(1).requires_grad_(), logits(2).requires_grad_()] for _ in range(2)]
    mine, other = objective(MART(weight=3), *ours, y), in_probabilities(*theirs, y, 3)
    torch.testing.assert_close(mine, other)
    for a, b in zip(torch.autograd.grad(mine, ours), torch.autograd.grad(other, theirs), strict=True):
        torch.testing.assert_close(a, b)


def test_a_sure_network_is_not_pulled_and_an_unsure_one_is() -> None:
    moved, y = logits(2), torch.zeros(6, dtype=torch.int64)
    bce = objective(MART(weight=0), moved, moved, y)
    sure, unsure = torch.full((6, 4), -40.0, dtype=DOUBLE), torch.full((6, 4), -40.0, dtype=DOUBLE)
    sure[:, 0], unsure[:, 1] = 40, 40
    assert float(objective(MART(), sure, moved, y)) == pytest.approx(float(bce))
    kl = -moved.log_softmax(1)[:, 1].mean()  # p is one class here: KL(p || p') = -ln p'_1
    assert float(objective(MART(), unsure, moved, y)) == pytest.approx(float(bce + 5 * kl))


def test_soft_labels() -> None:
    clean, moved, y = logits(1), logits(2), torch.tensor([0, 1, 2, 3, 0, 1])
    hot = functional.one_hot(y, 4).to(DOUBLE)
    torch.testing.assert_close(objective(MART(), clean, moved, hot), objective(MART(), clean, moved, y))
    smooth = 0.8 * hot + 0.05
    difference = objective(MART(), clean, moved, smooth) - objective(MART(), clean, moved, y)
    torch.testing.assert_close(difference, ((hot - smooth) * moved.log_softmax(1)).sum(1).mean())


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_finite_and_exact_for_saturated_logits(dtype: torch.dtype) -> None:
    z = torch.tensor([[-200.0, 200, 0], [200, -200, 0], [0, 0, 0], [20, -20, -20]], dtype=dtype).requires_grad_()
    y = torch.tensor([0, 0, 0, 0])
    # -log(1 - p_rival): 200 where the rival leads the next by 200; 0 where y leads; ln(3/2) for three equal ones.
    assert rival_term(z, y).tolist() == pytest.approx([200, 0, math.log(1.5), 0], abs=1e-5)
    clean = z.detach().flip(0).clone().requires_grad_()
    loss = objective(MART(), clean, z, y)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (clean, z)))
    (gradient,) = torch.autograd.grad(rival_term(z, y).sum(), z)
    assert gradient[0].tolist() == pytest.approx([0, 1, -1])  # where the published offset of 0.0001 would leave nothing


def test_it_crafts_as_adversarial_training_does() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(6, 1, 4, 4)
    batch = Batch(x=x, y=torch.arange(6) % 3, clean=x)
    for changes in ({}, {"attack": fgsm(), "threat": Linf(eps=0.1)}):
        after = MART(**changes).batch(model, batch, step())
        assert torch.equal(after.x, AdversarialTraining(**changes).batch(model, batch, step()).x)
        assert not torch.equal(after.x, x)
        assert after.clean is x


def test_defaults() -> None:
    assert (MART().weight, MART().attack, MART().threat) == (5, AdversarialTraining().attack, Linf(eps=2 / 255))
