"""Square Attack: its schedule, its squares and its windows, against tables and loops written out by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD, Attack, Square
from snnguard.attacks.square import bump, bumps, pull, repaint, share_at, side_l2, side_linf, stripes, window
from snnguard.errors import InvalidInput, RequestError
from snnguard.threat import L2, Linf, Threat

Make = Callable[..., Any]
BALLS = pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.4)], ids=["linf", "l2"])
WIDE_L2 = L2(eps=0.7, low=-100, high=100)


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def some(n: int, channels: int = 2, height: int = 6, width: int = 7) -> Tensor:
    """Images away from both ends of the range."""
    generator = torch.Generator().manual_seed(3)
    return 0.3 + 0.4 * torch.rand(n, channels, height, width, generator=generator, dtype=torch.float64)


# The paper's schedule for 10,000 queries and a first share of 0.8: the share from this query on.
SCHEDULE = {
    0: 0.8, 11: 0.4, 51: 0.2, 201: 0.1, 501: 0.05, 1001: 0.025, 2001: 0.0125, 4001: 0.00625, 6001: 0.003125, 8001: 0.0015625,
}  # fmt: skip


def test_the_share_of_a_square_follows_the_table() -> None:
    expected = 0.0
    for query in range(10_000):
        expected = SCHEDULE.get(query, expected)
        assert share_at(query, queries=10_000, share=0.8) == expected


def test_the_table_is_stretched_to_the_budget() -> None:
    # Query q of 5,000 stands where query 2q of 10,000 stands, of 500 where 20q does.
    assert [share_at(q, queries=5000, share=0.8) for q in (5, 6, 25, 26, 4000, 4001)] == [
        0.8, 0.4, 0.4, 0.2, 0.003125, 0.0015625]  # fmt: skip
    assert [share_at(q, queries=500, share=0.3) for q in (0, 1, 2, 3, 10, 11)] == [0.3, 0.15, 0.15, 0.075, 0.075, 0.0375]


def test_the_side_of_a_square() -> None:
    x = torch.zeros(1, 3, 32, 32)
    # sqrt(0.8) * 32 = 28.6, sqrt(0.4) * 32 = 20.2, sqrt(0.1) * 32 = 10.1, sqrt(0.0015625) * 32 = 1.26
    assert [side_linf(share, x) for share in (0.8, 0.4, 0.1, 0.0015625)] == [29, 20, 10, 1]
    assert [side_l2(share, x) for share in (0.8, 0.4, 0.1, 0.0015625)] == [29, 21, 11, 3]
    small = torch.zeros(1, 1, 4, 9)
    assert [side_linf(share, small) for share in (1.0, 0.25, 1e-9)] == [3, 3, 1]
    assert [side_l2(share, small) for share in (1.0, 1e-9)] == [4, 3]
    assert side_linf(1.0, torch.zeros(1, 1, 1, 1)) == side_l2(1.0, torch.zeros(1, 1, 1, 1)) == 1


def test_it_starts_from_vertical_stripes() -> None:
    x, threat = some(8, 3, 5, 6), Linf(eps=0.125)
    delta = stripes(x, threat, 0) - x
    torch.testing.assert_close(delta, delta[:, :, :1].expand_as(delta))
    torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.125))
    signs = (delta[:, :, 0] > 0).flatten(1)
    assert len(signs.unique(dim=0)) == 8  # another pattern per image
    assert 0.25 < signs.double().mean() < 0.75
    black = torch.zeros_like(x)
    assert set(stripes(black, threat, 0).unique().tolist()) == {0.0, 0.125}


def numbers(n: int, count: int, seed: int = 0) -> Tensor:
    return torch.rand(n, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_square_gets_one_new_colour_written_out() -> None:
    x, threat, side = some(40), Linf(eps=0.1), 3
    best = stripes(x, threat, 0)
    best[:, :, 1:5, 1:6] = threat.project(x + 0.1, x)[:, :, 1:5, 1:6]
    drawn, idle = numbers(40, 3 + 2), 0
    found = repaint(best, x, threat, side, drawn)
    for i in range(40):
        top, left = int(drawn[i, 0] * (6 - side + 1)), int(drawn[i, 1] * (7 - side + 1))
        sign = [1 if u >= 0.5 else -1 for u in drawn[i, 3:].tolist()]
        expected = best[i].clone()
        for turn in range(2):
            for channel in range(2):
                for row in range(top, top + side):
                    for column in range(left, left + side):
                        expected[channel, row, column] = x[i, channel, row, column] + sign[channel] * 0.1
            if turn == 0 and torch.allclose(expected, best[i]):
                idle += 1
                sign[int(drawn[i, 2] * 2)] *= -1
        torch.testing.assert_close(found[i], expected)
        assert not torch.allclose(found[i], best[i])
    assert idle > 2  # else the case was not tried


def test_squares_reach_every_pixel_alike_and_the_last_row_too() -> None:
    n, side = 4000, 5
    x = torch.full((n, 1, 6, 7), 0.5, dtype=torch.float64)
    changed = (repaint(x, x, Linf(eps=0.1), side, numbers(n, 4)) != x).double().mean(0)[0]
    # Tops 0 and 1, lefts 0 to 2, equally likely.
    rows = torch.tensor([0.5, 1, 1, 1, 1, 0.5]).double()
    columns = torch.tensor([1, 2, 3, 3, 3, 2, 1]).double() / 3
    torch.testing.assert_close(changed, rows[:, None] * columns, atol=4 * 0.5 / n**0.5, rtol=0)


def test_a_bump_by_hand() -> None:
    third = torch.full((3, 3), 1 / 4, dtype=torch.float64)
    third[1, 1] = 1 + 1 / 4
    torch.testing.assert_close(bump(3, 3), third)
    fifth = torch.full((5, 5), 1 / 9, dtype=torch.float64)
    fifth[1:4, 1:4] = 1 / 4 + 1 / 9
    fifth[2, 2] = 1 + 1 / 4 + 1 / 9
    torch.testing.assert_close(bump(5, 5), fifth)
    # Two rows of five: the middle is in the second one.
    flat = torch.tensor([[1 / 9, 13 / 36, 13 / 36, 13 / 36, 1 / 9], [1 / 9, 13 / 36, 49 / 36, 13 / 36, 1 / 9]])
    torch.testing.assert_close(bump(2, 5), flat.double())


def test_a_window_is_a_bump_up_and_a_bump_down_of_length_one() -> None:
    for side in (1, 2, 3, 5, 8, 11):
        shape, half = window(side), side // 2
        assert shape.shape == (side, side)
        assert float(shape.norm()) == pytest.approx(1)
        assert (shape[:half] > 0).all()
        assert (shape[half:] < 0).all()
    ratio = window(5)[:2] / bump(2, 5)
    torch.testing.assert_close(ratio, ratio[:1, :1].expand(2, 5))
    torch.testing.assert_close(window(5)[2:], -ratio[0, 0] * bump(3, 5))


def test_in_l2_it_starts_from_a_grid_of_windows_of_length_eps() -> None:
    x = torch.full((3, 2, 22, 22), 0.5, dtype=torch.float64)
    delta = bumps(x, WIDE_L2, 0) - x
    torch.testing.assert_close(delta.flatten(1).norm(dim=1), torch.full((3,), 0.7, dtype=torch.float64))
    # Five tiles of four pixels in twenty, with a margin of one on either side.
    assert (delta[:, :, [0, 21]] == 0).all()
    assert (delta[:, :, :, [0, 21]] == 0).all()
    size, orders = 0.7 / (2 * 25) ** 0.5, set()
    for i in range(3):
        for row in range(5):
            for column in range(5):
                tiles = delta[i, :, 1 + 4 * row : 5 + 4 * row, 1 + 4 * column : 5 + 4 * column] / size
                fits = [[[torch.allclose(t, s * w) for s in (1, -1)] for w in (window(4), window(4).T)] for t in tiles]
                assert all(sum(map(sum, fit)) == 1 for fit in fits)
                assert [sum(f) for f in fits[0]] == [sum(f) for f in fits[1]]  # all channels lie or all stand
                orders.add((i, str(fits)))
    assert len(orders) > 15


def test_two_windows_are_drawn_together_written_out() -> None:
    x, side, eps = torch.full((30, 2, 6, 7), 0.5, dtype=torch.float64), 3, 0.7
    generator = torch.Generator().manual_seed(1)
    before = 0.6 * WIDE_L2.ascent(torch.randn(x.shape, generator=generator, dtype=torch.float64))  # 0.6 of 0.7 is spent
    drawn = numbers(30, 5 + 2)
    found = pull(x + before, x, WIDE_L2, side, drawn) - x
    for i in range(30):
        tops = [int(drawn[i, k] * (6 - side + 1)) for k in (0, 2)]
        lefts = [int(drawn[i, k] * (7 - side + 1)) for k in (1, 3)]
        shape = window(side) if drawn[i, 4] < 0.5 else window(side).T
        expected = before[i].clone()
        for channel in range(2):
            nu = before[i, channel]
            first = nu[tops[0] : tops[0] + side, lefts[0] : lefts[0] + side]
            union = {(r, c) for t, s in zip(tops, lefts, strict=True) for r in range(t, t + side) for c in range(s, s + side)}
            spent = sum(float(nu[r, c]) ** 2 for r, c in union)
            mixed = (1 if drawn[i, 5 + channel] >= 0.5 else -1) * shape + first / first.norm()
            available = (spent + (eps**2 - 0.36) / 2) ** 0.5
            for r, c in union:
                expected[channel, r, c] = 0
            expected[channel, tops[0] : tops[0] + side, lefts[0] : lefts[0] + side] = available * mixed / mixed.norm()
        torch.testing.assert_close(found[i], expected)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((30,), eps, dtype=torch.float64))


def test_a_window_where_nothing_was_stays_finite() -> None:
    x = torch.full((4, 2, 6, 7), 0.5)
    for eps in (0.0, 1e-30, 0.5):
        found = pull(x, x, L2(eps=eps), 3, numbers(4, 7))
        assert torch.isfinite(found).all()
        torch.testing.assert_close((found - x).flatten(1).norm(dim=1), torch.full((4,), float(eps)))


class Counted(nn.Module):
    """Counts the images that it is asked about; `score` gives the margin of class 0."""

    def __init__(self, score: Make) -> None:
        super().__init__()
        self.score, self.asked = score, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(len(x))
        score = self.score(x)
        return torch.stack([torch.zeros_like(score), score], 1)


@BALLS
def test_it_comes_close_to_the_optimum_of_a_linear_model(threat: Threat) -> None:
    x = some(3, 1, 4, 4)
    w = torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = Counted(lambda x: x.flatten(1) @ w - 100)
    rise = (Square(queries=400)(model, x, zeros(3), threat=threat, seed=0) - x).flatten(1) @ w
    # In L2 no window is smaller than 3 x 3, too coarse for weights that differ from pixel to pixel.
    share, best = (0.9, w.abs().sum()) if threat.kind == "linf" else (0.5, w.norm())
    assert (rise > share * threat.eps * best).all()
    assert model.asked == [3] * 400


@BALLS
def test_a_won_sample_is_not_asked_about_again(threat: Threat) -> None:
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    # By its mean: the first image is won from the start, the second never, the third once it is a little brighter.
    hurdles = torch.tensor([-1, 9, 0.902], dtype=torch.float64)
    x = levels[:, None, None, None] + 0.02 * (some(3) - some(3).mean((1, 2, 3), keepdim=True))

    def score(points: Tensor) -> Tensor:
        mean = points.flatten(1).mean(1)
        return mean - hurdles[(mean[:, None] - levels).abs().argmin(1)]

    threat = threat.model_copy(update={"low": -1.0, "high": 2.0})
    model = Counted(score)
    x_adv = Square(queries=60)(model, x, zeros(3), threat=threat, seed=0)
    assert (model.asked[0], model.asked[-1], len(model.asked)) == (3, 1, 60)
    assert (score(x_adv) > 0).tolist() == [True, False, True]
    assert (score(x) > 0).tolist() == [True, False, False]
    wholly = Counted(lambda x: x.flatten(1).sum(1) + 9)
    Square(queries=60)(wholly, x, zeros(3), threat=threat, seed=0)
    assert wholly.asked == [3]
    Square(queries=60, early_stop=False)(wholly, x, zeros(3), threat=threat, seed=0)
    assert wholly.asked == [3] + [3] * 60


def test_restarts_see_what_is_left_and_never_lose_a_success(smooth: nn.Module, images: Make) -> None:
    x, threat, wins = images(24), Linf(eps=0.04), []
    y = smooth(x).argmax(1)
    for restarts in (1, 4):
        attack = Square(queries=3, restarts=restarts)
        wins.append(smooth(attack(smooth, x, y, threat=threat, seed=0)).argmax(1) != y)
    assert (wins[1] | ~wins[0]).all()
    assert wins[0].sum() < wins[1].sum() < 24
    model = Counted(lambda x: x.flatten(1).sum(1) * 0 - 1)
    Square(queries=5, restarts=3)(model, x, zeros(24), threat=threat, seed=0)
    assert model.asked == [24] * 15


class Hidden(nn.Module):
    """A smooth network behind a step: its scores move, its gradient is zero everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x * 50).round() / 50)


@BALLS
def test_it_finds_what_a_vanished_gradient_hides(threat: Threat, smooth: nn.Module, images: Make) -> None:
    x, model = images(20), Hidden(smooth)
    y = model(x).argmax(1)
    by_gradient = model(PGD(steps=20, random_start=False, early_stop=True)(model, x, y, threat=threat, seed=0)).argmax(1) != y
    by_score = model(Square(queries=100)(model, x, y, threat=threat, seed=0)).argmax(1) != y
    assert not by_gradient.any()
    assert by_score.sum() > 5


@BALLS
def test_it_reaches_the_class_that_it_is_sent_to(threat: Threat, smooth: nn.Module, images: Make) -> None:
    x = images(20)
    y = smooth(x).argmax(1)
    threat = threat.model_copy(update={"eps": 3 * threat.eps})
    targets = (y + 1) % 4
    x_adv = Square(queries=200)(smooth, x, y, threat=threat, seed=0, targets=targets)
    assert (smooth(x_adv).argmax(1) == targets).sum() > 15


class Coin(nn.Module):
    """Each look adds noise of its own to a score whose mean rises with the brightness and stays below zero."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1).sum(1) - 2.5 + 3 * torch.randn(len(x), dtype=x.dtype)
        return torch.stack([torch.zeros_like(score), score], 1)


def test_with_draws_no_single_look_counts_as_a_success() -> None:
    x = torch.full((30, 1, 2, 2), 0.5, dtype=torch.float64) + torch.arange(30).reshape(30, 1, 1, 1) / 1000
    lucky = Square(queries=40)(Coin(), x, zeros(30), threat=Linf(eps=0.1), seed=0)
    sober = Square(queries=40, draws=150)(Coin(), x, zeros(30), threat=Linf(eps=0.1), seed=0)
    # Believing single looks, a sample stops at one of its first squares; the expectation leads to the bright corner.
    assert float((sober - x).mean()) > 0.07
    assert float((lucky - x).mean()) < 0.05


@BALLS
def test_at_the_edges_of_the_range_it_moves_inwards(threat: Threat) -> None:
    x = torch.zeros(2, 1, 5, 5)
    x[1] = 1
    model = Counted(lambda x: (x - 0.5).abs().flatten(1).sum(1) * -1)  # every step inwards helps
    x_adv = Square(queries=80)(model, x, zeros(2), threat=threat, seed=0)
    moved = (x_adv - x).abs().flatten(1)
    assert (moved.sum(1) > (0.9 * 25 * threat.eps if threat.kind == "linf" else 2 * threat.eps)).all()


@BALLS
def test_a_constant_model_leaves_it_where_it_started(threat: Threat) -> None:
    x = some(3)
    for value in (-1.0, 0.0):
        x_adv = Square(queries=30)(Counted(lambda x, v=value: x.flatten(1).sum(1) * 0 + v), x, zeros(3), threat=threat, seed=0)
        start = stripes if threat.kind == "linf" else bumps
        apart = [float((start(x, threat, seed) - x_adv).abs().max()) for seed in range(2)]
        assert torch.isfinite(x_adv).all()
        assert threat.contains(x_adv, x).all()
        assert (threat.distance(x_adv, x) > 0.9 * threat.eps).all()
        assert min(apart) > 0  # the seed is derived
    still = Square(queries=30)(Counted(lambda x: x.flatten(1).sum(1)), x, zeros(3), threat=type(threat)(eps=0), seed=0)
    assert torch.equal(still, x)


class Curved(nn.Module):
    """Logits whose arithmetic is the same for an image in any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.randn(4, 84, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return (torch.sin(5 * x.flatten(1))[:, None, :] * self.w).sum(-1)


@pytest.mark.parametrize("early_stop", [False, True])
@BALLS
def test_the_size_of_the_batch_changes_no_bit(threat: Threat, early_stop: bool) -> None:
    x, y = some(5), torch.arange(5) % 4
    attack = Square(queries=60, restarts=2, early_stop=early_stop)
    whole = attack(Curved(), x, y, threat=threat, seed=3)
    for size in (1, 3):
        parts = [attack(Curved(), a, b, threat=threat, seed=3) for a, b in zip(x.split(size), y.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(attack(Curved(), x, y, threat=threat, seed=4), whole)


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


@pytest.mark.parametrize("shape", [(2, 8), (2, 4, 2, 5, 5)])
def test_what_is_no_batch_of_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"\[N, C, H, W\], found .* take spsa"):
        Square()(Curved(), torch.zeros(shape), zeros(2), threat=Linf(eps=0.1), seed=0)


def test_a_threat_that_it_does_not_know_is_refused(other: Threat) -> None:
    with pytest.raises(InvalidInput, match="linf and l2, not other"):
        Square()(Curved(), some(2), zeros(2), threat=other, seed=0)


@pytest.mark.parametrize("wrong", [{"queries": 0}, {"share": 0}, {"share": 1.5}, {"restarts": 0}, {"draws": 0}, {"steps": 3}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "square", **wrong})
