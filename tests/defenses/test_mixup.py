"""Mixup: what is mixed with what, the law of the shares, and where its random numbers come from."""

import random

import pytest
import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.defenses import AdversarialTraining, Batch, Defense, Stack, Step
from snnguard.defenses.label_smoothing import LabelSmoothing
from snnguard.defenses.mixup import Mixup
from snnguard.errors import DefenseConflict
from snnguard.networks import build
from snnguard.threat import Linf

N, K = 8, 8


def step(seed: int = 1) -> Step:
    return Step(progress=0.5, seed=seed, membranes={}, classes=K)


def batch(**given: Tensor) -> Batch:
    """Image i is i/16 everywhere and has class i, so that what it was mixed with can be read from it."""
    x = (torch.arange(N) / 16).reshape(N, 1, 1, 1).expand(N, 1, 8, 8).contiguous()
    return Batch(**({"x": x, "y": torch.arange(N), "clean": x} | given))


def mixed(given: Batch, seed: int = 1, alpha: float = 1.0) -> Batch:
    return Mixup(alpha=alpha).batch(nn.Identity(), given, step(seed))


def drawn(after: Batch) -> tuple[float, list[int]]:
    """The share and the partners of a batch whose labels were classes, each its own."""
    table = after.y
    own, rest = table.diagonal(), table - torch.diag(table.diagonal())
    partners = [int(rest[i].argmax()) if rest[i].max() > 0 else i for i in range(N)]
    share = next((float(own[i]) for i in range(N) if partners[i] != i), 1.0)  # 1 where it rounds to 1
    return share, partners


@pytest.mark.parametrize("seed", range(5))
def test_images_and_labels_are_mixed_with_one_share_and_one_permutation(seed: int) -> None:
    given = batch()
    after = mixed(given, seed)
    share, partners = drawn(after)
    assert sorted(partners) == list(range(N))
    assert 0 <= share <= 1
    for i, j in enumerate(partners):
        expected = share * i / 16 + (1 - share) * j / 16
        torch.testing.assert_close(after.x[i], torch.full((1, 8, 8), expected), rtol=0, atol=1e-6)
        label = torch.zeros(K)
        label[i] += share
        label[j] += 1 - share
        torch.testing.assert_close(after.y[i], label, rtol=0, atol=1e-6)


def test_clean_images_stay_known_as_clean() -> None:
    # Other parts ask `batch.x is batch.clean` whether an attack came before them.
    after = mixed(batch())
    assert after.x is after.clean


def test_perturbed_and_clean_images_are_mixed_alike() -> None:
    given = batch()
    noise = 0.1 * torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    after = mixed(given.with_x(given.clean + noise))
    share, partners = drawn(after)
    assert torch.equal(after.clean, mixed(given).clean)
    torch.testing.assert_close(after.x - after.clean, share * noise + (1 - share) * noise[partners], rtol=0, atol=1e-6)


def test_images_that_differ_from_step_to_step() -> None:
    given = batch()
    frames = torch.stack([given.clean, 1 - given.clean], 1)
    after = mixed(given.with_x(frames))
    assert after.x.shape == (N, 2, 1, 8, 8)
    torch.testing.assert_close(after.x[:, 0], after.clean)
    torch.testing.assert_close(after.x[:, 1], 1 - after.clean)


def test_soft_labels_are_mixed() -> None:
    given = batch(y=torch.full((N, K), 1 / K))
    torch.testing.assert_close(mixed(given).y, given.y)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_follows_the_beta_distribution(alpha: float) -> None:
    draws = 1500
    shares = torch.tensor([drawn(mixed(batch(), seed, alpha))[0] for seed in range(draws)], dtype=torch.float64)
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha); its mean is 1/2
    assert abs(float(shares.mean()) - 0.5) < 4 * (variance / draws) ** 0.5
    assert abs(float(shares.var()) / variance - 1) < 0.15


def test_random_numbers_come_from_the_seed_of_the_step_alone() -> None:
    torch.manual_seed(0)
    random.seed(0)
    state, drawn_next = torch.get_rng_state(), random.Random(0).random()
    one = mixed(batch(), 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.random() == drawn_next
    with rng.scope(99):
        assert torch.equal(mixed(batch(), 5).x, one.x)
    assert not torch.equal(mixed(batch(), 6).x, one.x)


def test_alpha_zero_is_off_and_the_default_is_that_of_the_papers_cifar_networks() -> None:
    given = batch()
    assert mixed(given, alpha=0) is given
    assert Defense.parse("mixup") == Mixup(alpha=1.0)


def test_on_both_sides_of_an_attack() -> None:
    model, threat = build("vgg4-tiny", classes=K, image_shape=(1, 8, 8), steps=2), Linf(eps=0.05)
    at = AdversarialTraining(attack=AdversarialTraining.example().attack, threat=threat)
    for parts in ((at, Mixup()), (Mixup(), at)):
        after = Stack(parts=parts).batch(model, batch(), step())
        assert threat.contains(after.x, after.clean).all()
        assert (after.x - after.clean).abs().max() > 0.01
        assert torch.equal(after.clean, mixed(batch()).clean)
        assert torch.equal(after.y, mixed(batch()).y)
    both = Stack(parts=(Mixup(), LabelSmoothing(amount=0.5))).batch(model, batch(), step())
    torch.testing.assert_close(both.y, mixed(batch()).y / 2 + 0.5 / K)


def test_images_are_mixed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Defense, "_members", dict(Defense.members()))

    class Other(Defense, kind="other"):
        claims = ("mix the images",)

    with pytest.raises(DefenseConflict, match="mixup and other both mix the images"):
        Stack(parts=(Mixup(), Other()))
