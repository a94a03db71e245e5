"""Threats: projection, sampling, dual norms and readable refusals, for both norms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snnguard.errors import InvalidInput, InvalidRecipe
from snnguard.threat import L2, Linf, Threat

quick = settings(deadline=None, derandomize=True, max_examples=40)
EXACT = 1e-12
NORMS = pytest.mark.parametrize("norm", [Linf, L2])
seeds, sizes = st.integers(0, 2**31), st.floats(0, 2)


def images(seed: int, n: int = 4, shape: tuple[int, ...] = (2, 3, 3)) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(seed: int, like: Tensor, scale: float = 1.0) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype) * scale


def length(norm: type[Threat], delta: Tensor) -> Tensor:
    """Independent of the code: numpy on each sample."""
    order = np.inf if norm is Linf else 2
    return torch.tensor([np.linalg.norm(d.numpy().ravel(), ord=order) for d in delta])


@NORMS
@quick
@given(seed=seeds, eps=sizes, scale=st.floats(0, 3))
def test_projection(norm: type[Threat], seed: int, eps: float, scale: float) -> None:
    threat, x = norm(eps=eps), images(seed)
    wanted = x + noise(seed + 1, x, scale)
    got = threat.project(wanted, x)
    assert (length(norm, got - x) <= eps + EXACT).all()
    assert (got >= 0).all()
    assert (got <= 1).all()
    assert torch.allclose(threat.project(got, x), got, rtol=0, atol=EXACT)
    assert threat.contains(got, x).all()
    assert torch.allclose(threat.distance(got, x), length(norm, got - x), atol=EXACT)
    inside = x + (wanted - x) * 0
    assert torch.equal(threat.project(inside, x), x)


@quick
@given(seed=seeds, eps=st.floats(0.001, 1))
def test_linf_projection_is_the_nearest_point_of_ball_and_range(seed: int, eps: float) -> None:
    # The set is a box, so the nearest point is found pixel by pixel: the median of the wish and the two bounds.
    x = images(seed)
    wanted = x + noise(seed + 1, x)
    bounds = torch.stack([wanted, (x - eps).clamp_min(0), (x + eps).clamp_max(1)])
    assert torch.allclose(Linf(eps=eps).project(wanted, x), bounds.median(0).values, rtol=0, atol=EXACT)


@quick
@given(seed=seeds, eps=st.floats(0.001, 1))
def test_l2_projection_is_the_nearest_point_of_the_ball(seed: int, eps: float) -> None:
    # Nearest to a closed convex set: <wanted - p, q - p> <= 0 for every q of the set. The range is made not to bind.
    threat, x = L2(eps=eps, low=-100, high=100), images(seed)
    wanted = x + noise(seed + 1, x)
    p = threat.project(wanted, x)
    others = [threat.project(x + noise(seed + 2 + i, x, 0.3), x) for i in range(5)]
    for q in [*others, x, 2 * x - p]:
        assert (((wanted - p) * (q - p)).flatten(1).sum(1) <= 1e-9).all()
    within = length(L2, wanted - x) <= eps
    assert torch.equal(p[within], (x + (wanted - x))[within])


@NORMS
@quick
@given(seed=seeds, eps=sizes)
def test_samples_lie_in_ball_and_range(norm: type[Threat], seed: int, eps: float) -> None:
    threat, x = norm(eps=eps), images(seed)
    drawn = threat.sample(x, seed)
    assert (length(norm, drawn - x) <= eps + 1e-6).all()
    assert (drawn >= 0).all()
    assert (drawn <= 1).all()
    assert torch.equal(threat.sample(x.flip(0), seed).flip(0), drawn)
    assert torch.equal(threat.sample(x[1:2], seed), drawn[1:2])
    if eps > 0.01:
        assert not torch.equal(threat.sample(x, seed + 1), drawn)


def test_samples_fill_the_ball_evenly() -> None:
    # d = 2, many images; the range does not bind. Linf: each pixel uniform. L2: (r / eps)^d uniform, directions balanced.
    n = 4000
    x = torch.linspace(0, 1, n, dtype=torch.float64)[:, None] * torch.tensor([1.0, -1.0], dtype=torch.float64)
    box = (Linf(eps=0.5, low=-9, high=9).sample(x, 0) - x) / 0.5
    assert box.mean(0).abs().max() < 4 * (1 / 3 / n) ** 0.5
    assert (box.square().mean(0) - 1 / 3).abs().max() < 4 * (4 / 45 / n) ** 0.5
    disc = (L2(eps=0.5, low=-9, high=9).sample(x, 0) - x) / 0.5
    share = disc.square().sum(1)
    assert (share.mean() - 0.5).abs() < 4 * (1 / 12 / n) ** 0.5
    assert (share.square().mean() - 1 / 3).abs() < 4 * (4 / 45 / n) ** 0.5
    assert disc.mean(0).abs().max() < 4 * (1 / 4 / n) ** 0.5


@NORMS
@quick
@given(
    seed=seeds,
    scale=st.sampled_from([1.0, 1e-12, 1e-30, 1e-38, 1e12, 1e30]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_ascent_is_the_maximiser_of_a_linear_loss(norm: type[Threat], seed: int, scale: float, dtype: torch.dtype) -> None:
    threat = norm(eps=0.1)
    g = (noise(seed, images(seed)).clamp(-5, 5) * scale).to(dtype)
    step = threat.ascent(g)
    assert step.dtype == dtype
    dual = g.double().flatten(1).abs().sum(1) if norm is Linf else torch.tensor([np.linalg.norm(s.double().numpy()) for s in g])
    assert torch.allclose(length(norm, step.double()), torch.ones(4, dtype=torch.float64), atol=1e-5)
    assert torch.allclose((g.double() * step.double()).flatten(1).sum(1), dual, rtol=1e-5, atol=0)


@NORMS
def test_no_gradient_no_direction(norm: type[Threat]) -> None:
    g = torch.zeros(3, 2, 2)
    g[1, 0, 0] = -4.0
    step = norm(eps=1.0).ascent(g)
    assert torch.equal(step[0], torch.zeros(2, 2))
    assert torch.equal(step[2], torch.zeros(2, 2))
    assert torch.equal(step[1], torch.tensor([[-1.0, 0.0], [0.0, 0.0]]))


@NORMS
def test_containment_by_hand(norm: type[Threat]) -> None:
    x = torch.full((5, 1, 1, 2), 0.5)
    moved = x.clone()
    moved[1] += torch.tensor([0.3, 0.4])  # length 0.5, largest 0.4
    moved[2, 0, 0, 0] = 1.2  # out of the range
    moved[3, 0, 0, 0] = torch.nan
    moved[4] += torch.tensor([0.05, 0.05])
    threat = norm(eps=0.45)
    assert threat.contains(moved, x).tolist() == [True, norm is Linf, False, False, True]
    assert threat.distance(moved, x)[1] == pytest.approx(0.4 if norm is Linf else 0.5)


@NORMS
def test_a_batch_of_none(norm: type[Threat]) -> None:
    threat, x = norm(eps=0.1), torch.zeros(0, 3, 2, 2)
    threat.check(x)
    assert threat.sample(x, 0).shape == x.shape
    assert threat.project(x, x).shape == x.shape
    assert threat.distance(x, x).shape == (0,)
    assert threat.ascent(x).shape == x.shape


@NORMS
def test_nothing_allowed_moves_nothing(norm: type[Threat]) -> None:
    threat, x = norm(eps=0), images(0)
    assert torch.equal(threat.project(x + 1, x), x)
    assert torch.equal(threat.sample(x, 0), x)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), r"floating-point tensor \[N, \.\.\.\], found torch.uint8 \(2, 3, 4, 4\)"),
        (torch.full((2, 1, 2, 2), 255.0), r"must lie in \[0.0, 1.0\], found \[255, 255\]; scale them \(uint8 / 255\)"),
        (torch.full((2, 1, 2, 2), -0.5), r"must lie in \[0.0, 1.0\], found \[-0.5, -0.5\]"),
        (torch.tensor([[0.5, 0.5], [0.5, torch.nan], [torch.inf, 0.1]]), "2 of 3 images contain NaN or infinity"),
        (torch.zeros(4), r"found torch.float32 \(4,\)"),
        (np.zeros((2, 3, 4, 4), dtype=np.float32), "found ndarray"),
        ("a.png", "found str"),
    ],
)
def test_bad_images_are_refused_readably(bad: object, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        Linf(eps=0.1).check(bad)  # type: ignore[arg-type]


def test_good_images_pass() -> None:
    Linf(eps=0.1).check(torch.rand(2, 3, 4, 4))
    Linf(eps=0.1).check(torch.rand(2, 3, 4, 4).bfloat16())
    L2(eps=8, low=-1, high=255).check(torch.tensor([[-1.0, 255.0]]))
    Linf(eps=0.1).check(torch.tensor([[0.0, 1 + 1e-7]]))


@pytest.mark.parametrize("data", [{"eps": -0.1}, {"eps": float("inf")}, {"eps": 0.1, "low": 1.0, "high": 1.0}, {}])
def test_bad_settings_are_refused(data: dict[str, float]) -> None:
    with pytest.raises(InvalidRecipe):
        Linf.parse(data)
