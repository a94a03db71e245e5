"""Randomised smoothing, against the closed form of a linear classifier and scipy's exact intervals."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from snnguard.attacks import APGD, PGD, InputGradient
from snnguard.data import Dataset
from snnguard.defenses import Smoothing
from snnguard.encoders.randomised import RSC
from snnguard.errors import RequestError
from snnguard.evaluation import Certificates, certified, certified_accuracy, certify, smoothing_sigma, standing, vote
from snnguard.evaluation.certify import lower_bound
from snnguard.networks import Network, build, construct
from snnguard.threat import L2
from snnguard.training import SGD, Training, fit

W = torch.tensor([3.0, -4.0, 12.0, 0.0], dtype=torch.float64)  # of length 13
SIGMA = 0.5


class Linear(nn.Module):
    """Class 1 where w.x > 0: the smoothed class is the same, and the true radius is |w.x| / ||w||, whatever sigma."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ W.to(x)
        return torch.stack([torch.zeros_like(score), score], 1)


def at(*distances: float) -> Tensor:
    """Images at these signed distances from the boundary."""
    return (torch.tensor(distances, dtype=torch.float64)[:, None] * W / 13).reshape(-1, 1, 2, 2)


DISTANCES = [0.9, -0.7, 0.5, -0.4, 0.3, 0.2, -0.15, 0.1]


def test_the_radius_of_a_linear_classifier_comes_close_from_below() -> None:
    found = certify(Linear(), at(*DISTANCES), sigma=SIGMA, n=20000, alpha=0.001, seed=0, batch_size=5000)
    assert found.classes.tolist() == [int(d > 0) for d in DISTANCES]
    true = torch.tensor(DISTANCES, dtype=torch.float64).abs()
    assert (found.radii <= true).all()
    # Four standard errors of the share, and the bound's own three, as lengths: dp = density / sigma * dr.
    z = true / SIGMA
    share = torch.tensor(stats.norm.cdf(z))
    slack = 7.1 * (share * (1 - share) / 20000).sqrt() * SIGMA / torch.tensor(stats.norm.pdf(z))
    assert (found.radii >= true - slack).all()


def test_radii_exceed_the_truth_about_as_often_as_alpha_allows() -> None:
    # At alpha = 0.2 a fifth may be too large: of 200 draws 40 with a standard deviation of 5.7.
    too_large = 0
    for seed in range(200):
        found = certify(Linear(), at(0.25), sigma=SIGMA, n0=20, n=100, alpha=0.2, seed=seed, batch_size=100)
        too_large += float(found.radii) > 0.25
    assert 10 <= too_large <= 40 + 4 * 5.7


@pytest.mark.parametrize(("hits", "n"), [(1, 10), (7, 10), (10, 10), (530, 1000), (999, 1000), (1000, 1000)])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_the_bound_is_that_of_clopper_and_pearson(hits: int, n: int, alpha: float) -> None:
    exact = stats.binomtest(hits, n, alternative="greater").proportion_ci(1 - alpha, method="exact").low
    assert lower_bound(hits, n, alpha=alpha) == pytest.approx(exact, abs=1e-9)
    # What it says: with this probability, as many hits or more come up with probability alpha.
    assert stats.binom.sf(hits - 1, n, lower_bound(hits, n, alpha=alpha)) == pytest.approx(alpha, rel=1e-6)


def test_known_bounds() -> None:
    assert lower_bound(0, 100, alpha=0.05) == 0
    assert lower_bound(100, 100, alpha=0.001) == pytest.approx(0.001 ** (1 / 100))
    # The textbook case: 8 of 10, two-sided 95 %, is 0.4439.
    assert lower_bound(8, 10, alpha=0.025) == pytest.approx(0.4439, abs=5e-5)


def test_it_abstains_at_the_boundary_and_only_there() -> None:
    found = certify(Linear(), at(0.0, 0.001, 2.0), sigma=SIGMA, n=500, seed=1)
    assert found.classes.tolist() == [-1, -1, 1]
    assert found.radii.tolist()[:2] == [0, 0]
    # Far away every vote agrees: the most that 500 votes can reach.
    assert float(found.radii[2]) == pytest.approx(SIGMA * stats.norm.ppf(0.001 ** (1 / 500)))


def test_the_vote_by_the_binomial_test() -> None:
    images = at(0.0, 0.8, -0.8)
    assert vote(Linear(), images, sigma=SIGMA, n=400, seed=0).tolist() == [-1, 1, 0]
    assert vote(Linear(), images, sigma=SIGMA, n=400, alpha=None, seed=0)[0] in (0, 1)
    # Nine of nine against each other: p = 2 / 512 settles at 0.01 and not at 0.001.
    assert vote(Linear(), at(9.0), sigma=SIGMA, n=9, alpha=0.01, seed=0).tolist() == [1]
    assert vote(Linear(), at(9.0), sigma=SIGMA, n=9, alpha=0.001, seed=0).tolist() == [-1]


def test_accuracy_counts_class_and_radius() -> None:
    found = Certificates(torch.tensor([2, 1, -1, 0, 3]), torch.tensor([0.5, 0.3, 0.0, 0.9, 0.0], dtype=torch.float64))
    y = torch.tensor([2, 1, 0, 1, 3])
    assert certified(found, y, radius=0).tolist() == [True, True, False, False, True]
    assert certified(found, y, radius=0.3).tolist() == [True, False, False, False, False]
    assert certified_accuracy(found, y, radius=0) == pytest.approx(0.6)
    assert certified_accuracy(found, y, radius=0.2) == pytest.approx(0.4)
    assert certified_accuracy(found, y, radius=1.0) == 0


def test_the_seed_makes_the_votes_and_the_neighbours_do_not() -> None:
    images, settings = at(*DISTANCES), {"sigma": SIGMA, "n": 200, "batch_size": 64}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = certify(Linear(), images, seed=0, **settings)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    back = certify(Linear(), images.flip(0), seed=0, **settings)
    assert torch.equal(whole.radii, back.radii.flip(0))
    assert not torch.equal(whole.radii, certify(Linear(), images, seed=1, **settings).radii)


def test_the_choice_of_the_class_and_the_bound_use_different_votes() -> None:
    seen: list[Tensor] = []

    def spy(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return Linear()(x)

    certify(spy, at(0.5), sigma=SIGMA, n0=50, n=50, batch_size=32)
    assert [len(x) for x in seen] == [32, 18, 32, 18]
    assert len(torch.cat(seen).flatten(1).unique(dim=0)) == 100


def test_the_model_is_held_in_eval_mode_and_put_back() -> None:
    model = nn.Sequential(nn.Dropout(0.9), Linear()).train()
    # With dropout on, hardly a vote would be certain.
    assert float(certify(model, at(3.0), sigma=0.1, n=100).radii) == pytest.approx(0.1 * stats.norm.ppf(0.001**0.01))
    assert model.training


def network(**fields: object) -> nn.Module:
    return build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), **fields)


def test_which_noise_a_model_draws() -> None:
    assert smoothing_sigma(Linear()) == 0
    assert smoothing_sigma(network()) == 0
    assert smoothing_sigma(network(input_noise=0.3)) == 0.3
    assert smoothing_sigma(network(encoder=RSC(sigma=0.4), steps=4)) == pytest.approx(0.2)
    assert smoothing_sigma(network(encoder=RSC(sigma=0.8), steps=4, input_noise=0.3)) == pytest.approx(0.5)


def test_a_model_without_noise_is_refused() -> None:
    for call in (certify, vote):
        with pytest.raises(RequestError, match="`smoothing` or `rsc`"):
            call(network(), torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("wrong", [{"sigma": 0.0}, {"sigma": math.inf}, {"n": 0}, {"n0": 0}, {"alpha": 0.0}, {"alpha": 1.0}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        certify(Linear(), at(1.0), **{"sigma": SIGMA, **wrong})


class OverTime(nn.Module):
    """The linear classifier on the mean over time, as the body of a spiking classifier."""

    def forward(self, frames: Tensor) -> Tensor:
        score = frames.flatten(2) @ W.to(frames)
        return torch.stack([torch.zeros_like(score), score], 2)


@pytest.mark.parametrize(("noise", "rsc"), [(0.5, 0.0), (0.0, 1.0), (0.3, 0.8)])
def test_a_models_own_noise_certifies_the_closed_form_too(noise: float, rsc: float) -> None:
    # Each way the mean over four steps is the image plus N(0, 0.25): the true radius of the linear readout is its distance.
    model = network(steps=4, input_noise=noise, encoder=RSC(sigma=rsc))
    model.body, model.image_shape = OverTime(), (1, 2, 2)
    distances = (0.6, -0.3)
    found = certify(model, at(*distances).float(), n=8000, seed=0, batch_size=4000)
    assert found.classes.tolist() == [1, 0]
    for radius, distance in zip(found.radii.tolist(), map(abs, distances), strict=True):
        assert distance - 0.05 < radius <= distance


@pytest.fixture(scope="module")
def smoothed(faked: Dataset) -> nn.Module:
    """A small spiking network that has learnt the made-up images under noise."""
    described = Smoothing(sigma=0.25).design(Network(name="vgg4-tiny", steps=1))
    model = construct(described, classes=4, image_shape=faked.image_shape, mean=faked.mean, std=faked.std, seed=0)
    training = Training(epochs=4, batch_size=32, optimiser=SGD(learning_rate=0.1), device="cpu", probe_size=8)
    fit(model, faked.train, faked.validation, defense=Smoothing(sigma=0.25), training=training, seed=0)
    return model.eval()


RADII = [0.0, 0.1, 0.2, 0.4, 3.0]


@pytest.fixture(scope="module")
def judged(smoothed: nn.Module, faked: Dataset) -> tuple[Certificates, Tensor, dict[str, Tensor]]:
    x, y = faked.test.pixels(slice(0, 12)), faked.test.labels[:12]
    gradient = InputGradient(draws=4)
    attacks = {"pgd": PGD(steps=8, gradient=gradient), "apgd": APGD(steps=12, gradient=gradient)}
    found = certify(smoothed, x, n=200, seed=0)
    return found, y, standing(smoothed, x, y, attacks=attacks, threat=L2(eps=1.0), radii=RADII, n=200, seed=0)


def test_what_is_certified_is_not_broken(judged: tuple[Certificates, Tensor, dict[str, Tensor]]) -> None:
    found, y, left = judged
    assert set(left) == {"pgd", "apgd"}
    for rows in left.values():
        assert rows.shape == (5, 12)
        for radius, stands in zip(RADII, rows, strict=True):
            sure = certified(found, y, radius=radius)
            assert not (sure & ~stands).any()
            assert certified_accuracy(found, y, radius=radius) <= float(stands.double().mean())
    assert certified(found, y, radius=0.1).sum() >= 4  # else this says nothing


def test_attacks_break_what_is_not_certified(judged: tuple[Certificates, Tensor, dict[str, Tensor]]) -> None:
    for rows in judged[2].values():
        assert (rows[1:] <= rows[:-1]).all()
        assert rows[0].sum() > 6
        assert rows[-1].sum() < rows[0].sum() / 2


def test_the_attacks_on_a_linear_vote_stop_at_the_true_radius() -> None:
    x, y = at(0.5), torch.tensor([1])
    threat, gradient = L2(eps=1.0, low=-9.0, high=9.0), InputGradient(draws=10)
    radii = [0.4, 0.7]
    for attack in (PGD(steps=10, gradient=gradient), APGD(steps=20, gradient=gradient)):
        left = standing(Linear(), x, y, attacks={"a": attack}, threat=threat, radii=radii, sigma=SIGMA, n=400)
        assert left["a"].tolist() == [[True], [False]]


def test_radii_ascend() -> None:
    with pytest.raises(RequestError, match="ascend"):
        standing(Linear(), at(1.0), torch.tensor([1]), attacks={}, threat=L2(eps=1.0), radii=[0.2, 0.1], sigma=SIGMA)


def test_images_that_differ_from_step_to_step_need_noise_of_their_own() -> None:
    model = network(input_noise=0.5)
    with pytest.raises(RequestError, match="give sigma="):
        certify(model, torch.zeros(1, model.steps, *model.image_shape), n0=2, n=2)
