"""HopSkipJump: one run written out on its questions and answers, distances in closed form, and what it does not see."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import Attack, HopSkipJump
from snnguard.attacks.hop_skip_jump import between, coarse
from snnguard.errors import InvalidInput, RequestError
from snnguard.threat import L2, Linf, Threat

Make = Callable[..., Any]
BALLS = pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.3)], ids=["linf", "l2"])
WHOLE = pytest.mark.parametrize("whole", [Linf(eps=1), L2(eps=99)], ids=["linf", "l2"])
W = torch.tensor([0.5, -1.0, 2.0, 0.25, -0.5, 1.5, -1.25, 0.75], dtype=torch.float64)
"""The normal of the half-space that is class 1."""


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


class Recorded(nn.Module):
    """Class 1 where `side` is positive; keeps what it is asked about."""

    def __init__(self, side: Make) -> None:
        super().__init__()
        self.side, self.asked = side, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.clone())
        side = self.side(x)
        return torch.stack([torch.zeros_like(side), side], 1)


def beyond(x: Tensor) -> Tensor:
    """Positive beyond a plane at distance 0.9 / ||W|| from the centre of the range."""
    return ((x.flatten(1) - 0.5) * W.to(x)).sum(1) - 0.9


def test_between_by_hand() -> None:
    x, far = torch.tensor([[[[0.5, 0.5, 0.5]]]]), torch.tensor([[[[0.9, 0.4, 0.5]]]])
    half = torch.tensor([0.5])
    torch.testing.assert_close(between(x, far, half, L2(eps=1)), torch.tensor([[[[0.7, 0.45, 0.5]]]]))
    torch.testing.assert_close(between(x, far, half, Linf(eps=1)), torch.tensor([[[[0.7, 0.4, 0.5]]]]))
    for threat in (L2(eps=1), Linf(eps=1)):
        torch.testing.assert_close(between(x, far, torch.ones(1), threat), far)
        assert torch.equal(between(x, far, torch.zeros(1), threat), x)


def test_coarse_noise_by_hand() -> None:
    noise = torch.arange(20.0).reshape(1, 1, 4, 5)
    assert torch.equal(coarse(noise, 0), noise)
    two = [[0, 0, 2, 2, 4], [0, 0, 2, 2, 4], [10, 10, 12, 12, 14], [10, 10, 12, 12, 14]]
    assert coarse(noise, 1)[0, 0].tolist() == two
    assert coarse(noise, 2)[0, 0].tolist() == [[0, 0, 0, 0, 4]] * 4
    assert torch.equal(coarse(noise, 3), noise)
    assert torch.equal(coarse(noise[0, 0], 1), noise[0, 0])  # of features [N, F] there is no grain


@pytest.mark.parametrize("probe", [0.5, None])
@WHOLE
def test_a_run_of_two_hops_written_out(whole: Threat, probe: float | None, images: Make) -> None:
    x, model = images(1), Recorded(beyond)
    attack = HopSkipJump(steps=2, evaluations=40, probe=probe, early_stop=False)
    x_adv = attack(model, x, zeros(1), threat=whole, seed=0)
    asked, closest = iter(model.asked), (math.inf, x)

    def ask(expected: Tensor) -> bool:
        question = next(asked)
        torch.testing.assert_close(question, expected, rtol=0, atol=1e-12)
        return bool(beyond(question) > 0)

    def bisected(far: Tensor) -> Tensor:
        low, high = 0.0, 1.0
        for _ in range(10):  # 8^-1.5 and 8^-2 are coarser than the 2^-10 that is asked for
            middle = (low + high) / 2
            if ask(between(x, far, torch.tensor([middle]).double(), whole)):
                high = middle
            else:
                low = middle
        return between(x, far, torch.tensor([high]).double(), whole)

    assert not ask(x)
    far = next(asked)
    while not beyond(far) > 0:
        far = next(asked)
    for step in (1, 2, 3):
        at = bisected(far)
        distance = float(whole.distance(at, x))
        closest = min(closest, (distance, at), key=lambda pair: pair[0])
        if step == 3:
            break
        width = distance / 8 if probe is None else probe * float((at - x).norm())
        total, questions = int(40 * math.sqrt(step)), []
        while len(questions) < total:
            questions += list(next(asked))
        assert len(questions) == total
        answers = [1 if beyond(q[None]) > 0 else -1 for q in questions]
        directions = [(q - at[0]) / width for q in questions]
        assert all(float(u.norm()) <= 1 + 1e-9 for u in directions)
        assert sum(float(u.norm()) > 1 - 1e-9 for u in directions) > total / 4  # the others were cut by the range
        mean = sum(answers) / total
        assert abs(mean) < 1
        normal = whole.ascent(sum((a - mean) * u for a, u in zip(answers, directions, strict=True))[None])
        length = distance / math.sqrt(step)
        while not ask((at + length * normal).clamp(0, 1)):
            length /= 2
        far = (at + length * normal).clamp(0, 1)
    assert next(asked, None) is None
    torch.testing.assert_close(x_adv, closest[1], rtol=0, atol=1e-12)


def test_the_number_of_directions_grows_with_the_root_of_the_step_up_to_a_bound(images: Make) -> None:
    model = Recorded(beyond)
    attack = HopSkipJump(steps=5, evaluations=50, most=90, early_stop=False)
    attack(model, images(1), zeros(1), threat=L2(eps=9), seed=0)
    sizes = [len(points) for points in model.asked if len(points) > 1]
    # 50, 50 sqrt(2) = 70.7, 50 sqrt(3) = 86.6, and then 90, asked in blocks of 32
    assert sizes == [32, 18, 32, 32, 6, 32, 32, 22, 32, 32, 26, 32, 32, 26]


@pytest.mark.parametrize(("pixels", "dtype", "norm", "times"), [
    (1, torch.float64, L2, 10), (8, torch.float64, L2, 10), (400, torch.float64, L2, 13), (400, torch.float64, Linf, 18),
    (4000, torch.float64, Linf, 24), (4000, torch.float32, Linf, 23),
])  # fmt: skip
def test_the_bisection_ends_at_its_threshold(pixels: int, dtype: Any, norm: Any, times: int) -> None:
    # log2 of 400^1.5 = 12.97, of 400^2 = 17.3, of 4000^2 = 23.9; float32 has 23 bits.
    x, model = torch.full((1, 1, 1, pixels), 0.25, dtype=dtype), Recorded(lambda x: x.flatten(1).mean(1) - 0.4)
    HopSkipJump(steps=1, evaluations=1)(model, x, zeros(1), threat=norm(eps=99), seed=0)
    starts = next(i for i, points in enumerate(model.asked) if points.mean() > 0.4)
    assert len(model.asked) == starts + 1 + times  # and then it is in the ball


@WHOLE
def test_it_finds_the_distance_to_a_plane(whole: Threat, images: Make) -> None:
    x = images(4)
    attack = HopSkipJump(steps=20, early_stop=False)
    wide = whole.model_copy(update={"eps": 99.0, "low": -9.0, "high": 9.0})
    x_adv = attack(Recorded(beyond), x, zeros(4), threat=wide, seed=0)
    norm = W.abs().sum() if whole.kind == "linf" else W.norm()
    ratio = wide.distance(x_adv, x) / (-beyond(x) / norm)
    assert (beyond(x_adv) > 0).all()
    assert (ratio >= 1).all()
    assert (ratio < 1.05).all()


@BALLS
def test_outside_the_ball_the_closest_point_is_pulled_into_it(threat: Threat, images: Make) -> None:
    x, attack = images(4), HopSkipJump(steps=3, early_stop=False)
    whole = threat.model_copy(update={"eps": 99.0})
    best = attack(Recorded(beyond), x, zeros(4), threat=whole, seed=0)
    near = threat.model_copy(update={"eps": float(whole.distance(best, x).median()) + 1e-6})
    x_adv = attack(Recorded(beyond), x, zeros(4), threat=near, seed=0)
    assert torch.equal(x_adv, near.project(best, x))
    won = beyond(x_adv) > 0
    assert torch.equal(won, whole.distance(best, x) <= near.eps)
    assert 0 < won.sum() < 4
    torch.testing.assert_close(near.distance(x_adv, x)[~won], torch.full_like(x[~won, 0, 0, 0], near.eps))


@BALLS
def test_who_is_in_the_ball_leaves_with_a_success(threat: Threat, images: Make) -> None:
    x, sizes = images(6), []
    wide = threat.model_copy(update={"eps": 3 * threat.eps})
    for early_stop in (True, False):
        model = Recorded(beyond)
        x_adv = HopSkipJump(steps=6, evaluations=10, early_stop=early_stop)(model, x, zeros(6), threat=wide, seed=0)
        assert ((beyond(x_adv) > 0) == (wide.distance(x_adv, x) < wide.eps - 1e-9)).all()
        assert (beyond(x_adv) > 0).sum() > 3
        sizes.append(sum(map(len, model.asked)))
    assert sizes[0] < sizes[1] / 2


def test_who_is_there_already_or_finds_no_start_comes_back(images: Make) -> None:
    x = images(3)
    for threat in (Linf(eps=0.1), L2(eps=0.1)):
        there = Recorded(lambda x: x.flatten(1).sum(1))
        assert torch.equal(HopSkipJump()(there, x, zeros(3), threat=threat, seed=0), x)
        assert [len(points) for points in there.asked] == [3]
        for never in (lambda x: x.flatten(1).sum(1) - 99, lambda x: x.flatten(1).sum(1) * 0):
            model = Recorded(never)
            assert torch.equal(HopSkipJump(tries=17)(model, x, zeros(3), threat=threat, seed=0), x)
            assert [len(points) for points in model.asked] == [3] * 18
        assert torch.equal(HopSkipJump(steps=3)(Recorded(beyond), x, zeros(3), threat=type(threat)(eps=0), seed=0), x)


def test_the_first_points_are_noise_uniform_in_the_range() -> None:
    x, model = torch.zeros(4, 1, 8, 8), Recorded(lambda x: x.flatten(1).sum(1) - 999)
    HopSkipJump(tries=8)(model, x + torch.arange(4).reshape(4, 1, 1, 1) / 9, zeros(4), threat=L2(eps=1, low=-1, high=3), seed=0)
    for grain, points in zip((1, 2, 4, 8, 1, 2, 4, 8), model.asked[1:], strict=True):
        assert -1 <= points.min() < points.max() <= 3
        blocks = points.unfold(2, grain, grain).unfold(3, grain, grain).flatten(4)
        assert (blocks == blocks[..., :1]).all()
        assert len(points.unique()) == 4 * (8 // grain) ** 2
    fine = torch.stack(model.asked[1::4])
    assert abs(fine.mean() - 1) < 4 * 4 / math.sqrt(12 * fine.numel())


def test_it_sees_labels_alone(images: Make) -> None:
    x, attack, whole = images(3), HopSkipJump(steps=4), L2(eps=0.2)
    plain = attack(Recorded(beyond), x, zeros(3), threat=whole, seed=0)
    bent = attack(Recorded(lambda x: beyond(x).sign() * beyond(x).abs().sqrt() * 1e6), x, zeros(3), threat=whole, seed=0)
    assert torch.equal(plain, bent)


@WHOLE
def test_it_reaches_the_class_that_it_is_sent_to(whole: Threat, smooth: nn.Module, images: Make) -> None:
    x = images(12)
    y = smooth(x).argmax(1)
    attack = HopSkipJump(steps=5, early_stop=False)
    x_adv = attack(smooth, x, y, threat=whole, seed=0, targets=(y + 1) % 4)
    free = attack(smooth, x, y, threat=whole, seed=0)
    assert (smooth(x_adv).argmax(1) == (y + 1) % 4).sum() > 10
    assert whole.distance(free, x).mean() < whole.distance(x_adv, x).mean()


class Moody(nn.Module):
    """Answers by the calendar: in every three calls `yes` of them say class 1 of everything."""

    def __init__(self, yes: int) -> None:
        super().__init__()
        self.yes, self.calls = yes, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        side = torch.full((len(x),), 1.0 if self.calls % 3 < self.yes else -1.0)
        return torch.stack([torch.zeros_like(side), side], 1)


def test_with_draws_the_majority_answers_and_nobody_leaves(images: Make) -> None:
    x = images(2)
    for yes, calls in ((2, 3), (1, 3 * (1 + 6))):
        model = Moody(yes)
        assert torch.equal(HopSkipJump(draws=3, tries=6)(model, x, zeros(2), threat=L2(eps=0.1), seed=0), x)
        assert model.calls == calls
    one, three = Recorded(beyond), Recorded(beyond)
    HopSkipJump(steps=3, early_stop=False)(one, x, zeros(2), threat=L2(eps=9), seed=0)
    HopSkipJump(steps=3, draws=3)(three, x, zeros(2), threat=L2(eps=9), seed=0)
    assert len(three.asked) == 3 * len(one.asked)
    assert all(torch.equal(a, b) for a, b in zip(three.asked[::3], one.asked, strict=True))


@WHOLE
def test_it_asks_about_images_alone_and_works_from_the_edges_of_the_range(whole: Threat) -> None:
    x = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(1, 1, 4, 4)
    model = Recorded(lambda x: 0.1 - (x.flatten(1).mean(1) - 0.4).abs())  # greys from 0.3 to 0.5
    x_adv = HopSkipJump(steps=10, early_stop=False)(model, x, zeros(2), threat=whole, seed=0)
    assert min(float(points.min()) for points in model.asked) == 0
    assert max(float(points.max()) for points in model.asked) == 1
    assert (model.side(x_adv) > 0).all()
    # From black 0.3 in every pixel, from white 0.5.
    least = torch.tensor([0.3, 0.5]) * (1 if whole.kind == "linf" else 4)
    assert (whole.distance(x_adv, x) / least < 1.2).all()


class Waves(nn.Module):
    """Logits in the type of the images, whose arithmetic is the same for an image in any batch."""

    def forward(self, x: Tensor) -> Tensor:
        w = torch.randn(4, x[0].numel(), generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(x)
        return (torch.sin(5 * x.flatten(1))[:, None, :] * w).sum(-1)


@WHOLE
def test_what_is_returned_is_still_a_success_after_rounding(whole: Threat) -> None:
    x = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = Waves()(x).argmax(1)
    x_adv = HopSkipJump(steps=2, evaluations=20)(Waves(), x, y, threat=whole, seed=0)
    assert (Waves()(x_adv).argmax(1) != y).all()


@pytest.mark.parametrize("early_stop", [False, True])
@BALLS
def test_the_size_of_the_batch_changes_no_bit(threat: Threat, early_stop: bool, images: Make) -> None:
    x, attack = images(5), HopSkipJump(steps=3, evaluations=40, early_stop=early_stop)
    y = Waves()(x).argmax(1)
    whole = attack(Waves(), x, y, threat=threat, seed=3)
    for size in (1, 3):
        parts = [attack(Waves(), a, b, threat=threat, seed=3) for a, b in zip(x.split(size), y.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(attack(Waves(), x, y, threat=threat, seed=4), whole)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Threat:
    """A threat that nobody has heard of; it leaves the registry afterwards."""
    monkeypatch.setattr(Threat, "_members", dict(Threat.members()))

    class Other(Threat, kind="other"):
        def distance(self, x_adv, x):
            return x_adv.flatten(1).sum(1)

        def shrink(self, delta):
            return delta

        def sample(self, x, seed):
            return x

        def ascent(self, gradient):
            return gradient

    return Other(eps=0.1)


def test_a_threat_that_it_does_not_know_is_refused(other: Threat, images: Make) -> None:
    with pytest.raises(InvalidInput, match="linf and l2, not other"):
        HopSkipJump()(Waves(), images(2), zeros(2), threat=other, seed=0)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"evaluations": 0}, {"most": 0}, {"tries": 0}, {"probe": 0}, {"queries": 3}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "hop-skip-jump", **wrong})
