"""TRADES against an independent KL, hand-made logits, and a linear model, on which each step of the attack must gain."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import PGD, GaussianNoise, InputGradient, bim, fgsm
from snnguard.defenses import MPDSGR, AdversarialTraining, Batch, Defense, Stack, Step
from snnguard.defenses.divergence import divergence
from snnguard.defenses.mart import MART
from snnguard.defenses.trades import TRADES
from snnguard.errors import DefenseConflict, InvalidRecipe
from snnguard.networks import build
from snnguard.neurons import LIF
from snnguard.threat import L2, Linf

DOUBLE = torch.float64


def step(seed: int = 4) -> Step:
    return Step(progress=0.5, seed=seed, membranes={})


def logits(n: int = 5, classes: int = 4, seed: int = 0, size: float = 3.0) -> Tensor:
    return size * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def objective(defense: Defense, clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
    """The objective of a model whose logits are its images."""
    batch = Batch(x=adversarial, y=y, clean=clean)
    return defense.objective(nn.Identity(), batch, adversarial, step())


def images(n: int = 8) -> Tensor:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n))
    return (1.2 * x - 0.1).clamp(0, 1)


def linear(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def test_by_hand() -> None:
    # p = (1/2, 1/2) and p' = (3/4, 1/4): KL = ln(2/3) / 2 + ln(2) / 2 = ln(4/3) / 2.
    clean, moved = torch.zeros(1, 2, dtype=DOUBLE), torch.tensor([[3.0, 1.0]], dtype=DOUBLE).log()
    y = torch.tensor([0])
    assert float(divergence(clean, moved)) == pytest.approx(math.log(4 / 3) / 2)
    assert float(objective(TRADES(beta=6), clean, moved, y)) == pytest.approx(math.log(2) + 3 * math.log(4 / 3))
    # The other way round: KL(p' || p) = 3/4 ln(3/2) + 1/4 ln(1/2); the cross-entropy of class 0 is ln(4/3).
    other = 0.75 * math.log(1.5) - 0.25 * math.log(2)
    assert float(objective(TRADES(beta=2), moved, clean, y)) == pytest.approx(math.log(4 / 3) + 2 * other)


def test_it_is_the_clean_loss_and_the_mean_kl_of_torch_distributions() -> None:
    clean, moved, y = logits(seed=1), logits(seed=2), torch.tensor([0, 1, 2, 3, 0])
    kl = kl_divergence(Categorical(logits=clean), Categorical(logits=moved))
    torch.testing.assert_close(divergence(clean, moved), kl)
    expected = -Categorical(logits=clean).log_prob(y).mean() + 1.5 * kl.mean()
    torch.testing.assert_close(objective(TRADES(beta=1.5), clean, moved, y), expected)
    soft = torch.softmax(logits(seed=3), 1)
    expected = -(soft * clean.log_softmax(1)).sum(1).mean() + 1.5 * kl.mean()
    torch.testing.assert_close(objective(TRADES(beta=1.5), clean, moved, soft), expected)


def test_gradients_into_both_passes_in_closed_form() -> None:
    clean, moved = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    by_clean, by_moved = torch.autograd.grad(divergence(clean, moved).sum(), (clean, moved))
    p, q = clean.detach().softmax(1), moved.detach().softmax(1)
    torch.testing.assert_close(by_moved, q - p)
    kl = (p * (p / q).log()).sum(1, keepdim=True)
    torch.testing.assert_close(by_clean, p * ((p / q).log() - kl))


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.bfloat16])
def test_finite_for_saturated_silent_and_equal_logits(dtype: torch.dtype) -> None:
    clean = torch.tensor([[200.0, -200], [0, 0], [-200, 200], [1e4, -1e4]], dtype=dtype).requires_grad_()
    moved = torch.tensor([[-200.0, 200], [0, 0], [-200, 200], [-1e4, 1e4]], dtype=dtype).requires_grad_()
    kl = divergence(clean, moved)
    assert kl.tolist() == pytest.approx([400, 0, 0, 2e4], rel=1e-2)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(kl.sum(), (clean, moved)))


def test_on_the_clean_images_it_is_the_clean_loss_alone() -> None:
    model, x, y = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train(), images(), torch.arange(8) % 3
    z = model(x)
    assert torch.equal(TRADES().objective(model, Batch(x=x, y=y, clean=x), z, step()), functional.cross_entropy(z, y))


@pytest.mark.parametrize("threat", [Linf(eps=0.05), L2(eps=0.3)], ids=str)
def test_crafted_images_stay_in_the_ball_and_have_more_divergence_than_the_start(threat: Linf | L2) -> None:
    # For a linear model the KL is convex in x', so that every step along its gradient must raise it, whatever the step.
    model, x = linear(), images()
    defense = TRADES(attack=PGD(steps=4, step_fraction=0.3), threat=threat)
    after = defense.batch(model, Batch(x=x, y=torch.arange(8) % 3, clean=x), step(7))
    start = threat.sample(x, rng.derive(7, "start"))
    with torch.no_grad():
        at_start, at_end = divergence(model(x), model(start)), divergence(model(x), model(after.x))
    assert threat.contains(after.x, x).all()
    assert (at_end > 1.5 * at_start).all()
    assert torch.equal(after.clean, x)
    assert not after.x.requires_grad


def test_the_crafting_follows_the_prediction_and_not_the_labels() -> None:
    model, x, defense = linear(), images(), TRADES()
    one, other = (defense.batch(model, Batch(x=x, y=torch.full((8,), c), clean=x), step()).x for c in (0, 2))
    assert torch.equal(one, other)
    plain = [AdversarialTraining().batch(model, Batch(x=x, y=torch.full((8,), c), clean=x), step()).x for c in (0, 2)]
    assert not torch.equal(plain[0], plain[1])


def test_crafting_a_spiking_network_leaves_its_mode_and_statistics() -> None:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=4, seed=2, neuron=LIF(threshold=0.3)).train()
    for _ in range(20):
        model(images(16))  # statistics and a threshold with which it spikes in eval mode
    state = {name: t.clone() for name, t in model.state_dict().items()}
    x = images()
    after = TRADES(threat=Linf(eps=0.1)).batch(model, Batch(x=x, y=torch.arange(8) % 3, clean=x), step())
    assert Linf(eps=0.1).contains(after.x, x).all()
    assert not torch.equal(after.x, Linf(eps=0.1).sample(x, rng.derive(4, "start")))
    assert all(m.training for m in model.modules())
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


def test_the_image_itself_has_no_gradient_so_that_a_random_start_is_demanded() -> None:
    model, x = linear().double(), images().double()
    soft = model(x).detach().softmax(1)
    assert InputGradient()(model, x, soft).gradient.abs().max() < 1e-12
    for attack in (fgsm(), bim()):
        with pytest.raises(ValidationError, match="no gradient at the image itself"):
            TRADES(attack=attack)
    with pytest.raises(InvalidRecipe, match="random_start = true"):
        Defense.parse({"kind": "trades", "attack": "fgsm"})
    assert TRADES(attack=GaussianNoise()).attack == GaussianNoise()


@pytest.mark.parametrize("defense", [TRADES(beta=0), TRADES(threat=Linf(eps=0)), MART(threat=Linf(eps=0))], ids=str)
def test_without_strength_nothing_is_crafted_or_replaced(defense: Defense) -> None:
    class Untouchable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("an extra pass")

    given = Batch(x=images(), y=torch.arange(8) % 3, clean=images())
    assert defense.batch(Untouchable(), given, step()) is given
    assert defense.objective(Untouchable(), given, logits(8), step()) is None
    assert defense.penalties(Untouchable(), given, logits(8), step()) == {}
    assert not defense.watch


def test_defaults_and_what_it_cannot_stand_beside() -> None:
    assert (TRADES().beta, TRADES().attack, TRADES().threat) == (6, AdversarialTraining().attack, Linf(eps=2 / 255))
    for pair in ((TRADES(), AdversarialTraining()), (AdversarialTraining(), MART())):
        with pytest.raises(DefenseConflict, match="both craft the adversarial images"):
            Stack(pair)
    with pytest.raises(DefenseConflict, match="trades and mart each replace the training loss"):
        Stack((TRADES(), MART()))
    assert len(Stack((TRADES(), MPDSGR())).parts) == 2
