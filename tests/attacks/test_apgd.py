"""Auto-PGD: its checkpoints and step sizes, the optimum of a linear model, and what it returns."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import APGD, PGD, Attack, InputGradient, Margin
from snnguard.attacks.apgd import checkpoints
from snnguard.data import digits
from snnguard.errors import RequestError
from snnguard.threat import L2, Linf

Make = Callable[..., Any]

UNCAPPED = InputGradient(loss=Margin(confidence=1e9))


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def weights() -> Tensor:
    return torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_checkpoints_of_a_hundred_steps() -> None:
    # Distances 22, 19, 16, 13, 10, 7, 6, 6.
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(50) == [11, 21, 30, 38, 45]  # 11, 10, 9, 8, 7, and 6 would be beyond the end
    assert checkpoints(1) == [1]
    assert checkpoints(4) == [1, 2, 3, 4]


class Constant(torch.autograd.Function):
    """Zero, with a gradient of one: a loss that never rises though there is a way to go."""

    @staticmethod
    def forward(ctx: Any, score: Tensor) -> Tensor:
        return torch.zeros_like(score)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Recorded(nn.Module):
    """Keeps the images that it is asked about; `score` gives the margin of class 0."""

    def __init__(self, score: Make) -> None:
        super().__init__()
        self.score, self.asked = score, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach().clone())
        score = self.score(x.flatten(1).sum(1))
        return torch.stack([torch.zeros_like(score), score], 1)


def test_on_a_constant_loss_the_step_halves_at_exactly_the_checkpoints() -> None:
    model, eps, x = Recorded(Constant.apply), 1 / 8, torch.full((1, 1, 2, 2), 0.5)
    attack = APGD(steps=100, momentum=1, random_start=False, gradient=UNCAPPED)
    attack(model, x, zeros(1), threat=Linf(eps=eps), seed=0)
    moved = [float((asked - x).abs().max()) for asked in model.asked]
    # No step raises the loss, so each phase goes on from the start, whose loss is as good as any.
    expected, eta = [0.0], 2 * eps
    for begin, end in zip([0, *checkpoints(100)], [*checkpoints(100), 100], strict=True):
        expected += [min(eps, eta * (k + 1)) for k in range(end - begin)]
        eta /= 2
    assert moved == expected
    assert moved[80:83] == [eps, eps / 16, eps / 8]  # by step 80 the fifth halving of 2 eps


def test_while_the_loss_rises_the_step_stays() -> None:
    model, x = Recorded(lambda score: score), torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    # In a ball this wide 2 eps never reaches the edge of it within one phase, so each step raises the loss.
    threat = Linf(eps=0.1, low=-100, high=100)
    wide = threat.model_copy(update={"eps": 10.0})
    attack = APGD(steps=9, momentum=1, random_start=False, gradient=UNCAPPED)
    x_adv = attack(model, x, zeros(1), threat=wide, seed=0)
    assert [float((asked - x).max()) for asked in model.asked][:2] == [0, 10]
    torch.testing.assert_close(x_adv, x + 10)


def test_too_few_rises_halve_the_step_and_it_goes_on_from_the_best_point() -> None:
    # The loss is highest at 0.8. Steps of 2 eps = 1 leap from end to end of [0, 1]; only smaller ones come near.
    model, x = Recorded(lambda pixel: -(pixel - 0.8).abs()), torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    attack = APGD(steps=60, momentum=1, random_start=False, gradient=UNCAPPED)
    x_adv = attack(model, x, zeros(1), threat=Linf(eps=0.5), seed=0)
    asked = [float(value) for value in model.asked]
    loss = [-abs(value - 0.8) for value in asked]
    # The rule, written out on numbers.
    at, current, step, rises, last = asked[0], loss[0], 1.0, 0, 0
    halved, earlier = 0, (step, loss[0])
    for k in range(1, 61):
        at = min(1.0, max(0.0, at + (step if at < 0.8 else -step)))
        assert asked[k] == pytest.approx(at)
        rises, current = rises + (loss[k] > current), loss[k]
        if k in checkpoints(60):
            best = max(loss[: k + 1])
            stuck, earlier = earlier == (step, best), (step, best)
            if rises < 0.75 * (k - last) or stuck:
                at, current, step, halved = asked[loss.index(best)], best, step / 2, halved + 1
            rises, last = 0, k
    assert halved > 4
    assert float(x_adv) == asked[loss.index(max(loss))]
    assert abs(float(x_adv) - 0.8) <= 2 * step


@pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.1)], ids=["linf", "l2"])
def test_it_reaches_the_optimum_of_a_linear_model(threat: Any, linear: Make, images: Make) -> None:
    w, x = weights(), images(5)
    model = linear(torch.stack([torch.zeros_like(w), w]))
    rise = (APGD(steps=60, gradient=UNCAPPED)(model, x, zeros(5), threat=threat, seed=1) - x).flatten(1) @ w
    best = threat.eps * (w.abs().sum() if threat.kind == "linf" else w.norm())
    torch.testing.assert_close(rise, best.expand(5), rtol=1e-9, atol=0)


def test_the_first_two_steps_by_hand() -> None:
    # Weight 0.75 of the new step and 0.25 of the last move, in a ball that is never left: 1, then 1 + 0.75 * 1 + 0.25 * 1.
    asked: list[float] = []

    def gradient(total: Tensor) -> Tensor:
        asked.append(float(total.detach()))
        return total * (1 if len(asked) < 2 else -1)

    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    attack = APGD(steps=100, random_start=False, gradient=UNCAPPED)
    attack(Recorded(gradient), x, zeros(1), threat=Linf(eps=1.0, low=-9, high=9), seed=0)
    # 0; up by 2 eps, cut at 1; then z = project(1 - 2) = -1, and 1 + 0.75 * (-2) + 0.25 * 1 = -0.25.
    assert asked[:3] == [0, 1, -0.25]


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A smooth network after some steps on the digits, in double precision, and test images that it gets right.

    Not a spiking one: there the surrogate's gradient is not that of the loss by whose rise APGD judges its steps, so
    that either of them can be the stronger.
    """
    data = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 10)).double()
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
        for _ in range(10):
            for index in torch.randperm(len(data.train)).split(64):
                loss = nn.functional.cross_entropy(model(data.train.pixels(index).double()), data.train.labels[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    x, y = data.test.pixels(slice(0, 96)).double(), data.test.labels[:96]
    with torch.no_grad():
        right = model.eval()(x).argmax(1) == y
    assert right.sum() > 40
    return model, x[right], y[right]


def left(attack: Attack, threat: Any, trained: tuple[nn.Module, Tensor, Tensor]) -> int:
    model, x, y = trained
    with torch.no_grad():
        return int((model(attack(model, x, y, threat=threat, seed=0)).argmax(1) == y).sum())


@pytest.mark.parametrize("threat", [Linf(eps=16 / 255), L2(eps=0.4)], ids=["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross-entropy", "dlr"])
def test_it_is_about_as_strong_as_pgd_with_as_many_steps(threat: Any, loss: str, trained: Any) -> None:
    gradient = InputGradient.parse({"loss": loss})
    pgd = left(PGD(steps=50, step_fraction=0.1, early_stop=True, gradient=gradient), threat, trained)
    assert 0 < pgd < len(trained[1])  # else the comparison says nothing
    assert left(APGD(steps=50, early_stop=True, gradient=gradient), threat, trained) <= pgd + 1


def test_restarts_never_lose_a_success(trained: Any) -> None:
    model, x, y = trained
    threat, wins = Linf(eps=16 / 255), []
    for restarts in (1, 3):
        attack = APGD(steps=10, restarts=restarts)
        wins.append(model(attack(model, x, y, threat=threat, seed=0)).argmax(1) != y)
    assert (wins[1] | ~wins[0]).all()
    assert 0 < wins[0].sum() < len(x)


def test_restarts_begin_at_different_points() -> None:
    model, x = Recorded(lambda score: -score.abs() - 1), torch.full((1, 1, 2, 2), 0.5)
    APGD(steps=1, restarts=3)(model, x, zeros(1), threat=Linf(eps=0.1), seed=0)
    assert len(model.asked) == 6
    starts = torch.cat(model.asked[::2])
    assert len(starts.flatten(1).unique(dim=0)) == 3
    with pytest.raises(RequestError, match="random_start"):
        Attack.parse({"kind": "apgd", "restarts": 2, "random_start": False})


class Island(nn.Module):
    """In a narrow band misclassified, at cross-entropy log(1 + e^0.1) = 0.74; beside it right, but at about log 3 = 1.1."""

    def forward(self, x: Tensor) -> Tensor:
        pixel = x.flatten(1)[:, :1]
        inside, outside = torch.tensor([[0.0, 0.1, -50.0]]).to(x), torch.tensor([[0.02, 0.0, 0.0]]).to(x)
        rise = torch.tensor([[0.0, 1.0, 0.0]]).to(x) * (pixel - pixel.detach())
        return torch.where((pixel - 0.55).abs() < 0.01, inside, outside) + rise


def test_a_misclassified_point_counts_more_than_a_higher_loss_unless_the_model_is_random() -> None:
    x = torch.full((1, 1, 1, 1), 0.55, dtype=torch.float64)
    sure = APGD(steps=20, random_start=False)(Island(), x, zeros(1), threat=Linf(eps=0.1), seed=0)
    assert int(Island()(sure).argmax(1)) == 1
    random = APGD(steps=20, random_start=False, gradient=InputGradient(draws=2))
    x_adv = random(Island(), x, zeros(1), threat=Linf(eps=0.1), seed=0)
    assert int(Island()(x_adv).argmax(1)) == 0
    assert float(x_adv) == pytest.approx(0.65)


class Coin(nn.Module):
    """Each look adds noise of its own to the score, whose mean rises along x and stays below zero."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1).sum(1) - 2.5 + 3 * torch.randn(len(x), dtype=x.dtype)
        return torch.stack([torch.zeros_like(score), score], 1)


def test_with_draws_no_single_look_counts_as_a_success() -> None:
    x = torch.full((40, 1, 2, 2), 0.5, dtype=torch.float64)
    lucky = APGD(steps=10, early_stop=True)(Coin(), x, zeros(40), threat=Linf(eps=0.1), seed=0)
    sober = APGD(steps=10, early_stop=True, gradient=InputGradient(draws=200))(
        Coin(), x, zeros(40), threat=Linf(eps=0.1), seed=0
    )
    # Believing single looks, most samples stop at their start; the expectation leads to the corner.
    assert float((sober - x).flatten(1).mean()) > 0.07
    assert float((lucky - x).flatten(1).mean()) < 0.07


def test_without_a_gradient_it_stays_where_it_is(images: Make) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.flatten(1).sum(1) * 0 + 1, x.flatten(1).sum(1) * 0], 1)

    x = images(3)
    for threat in (Linf(eps=0.1), L2(eps=0.1)):
        assert torch.equal(APGD(steps=30, random_start=False)(Flat(), x, zeros(3), threat=threat, seed=0), x)
        assert torch.isfinite(APGD(steps=30)(Flat(), x, zeros(3), threat=threat, seed=0)).all()


class Curved(nn.Module):
    """Logits whose arithmetic is the same for an image in any batch."""

    def forward(self, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        w = torch.randn(4, x[0].numel(), generator=generator, dtype=x.dtype)
        return (torch.sin(5 * x.flatten(1))[:, None, :] * w).sum(-1)


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.2)], ids=["linf", "l2"])
def test_the_size_of_the_batch_changes_no_bit(threat: Any, early_stop: bool, images: Make) -> None:
    x, y = images(12), torch.arange(12) % 4
    attack = APGD(steps=30, restarts=2, early_stop=early_stop)
    whole = attack(Curved(), x, y, threat=threat, seed=3)
    for size in (1, 5):
        parts = [attack(Curved(), a, b, threat=threat, seed=3) for a, b in zip(x.split(size), y.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(attack(Curved(), x, y, threat=threat, seed=4), whole)


def test_the_global_generator_is_not_reseeded(images: Make) -> None:
    draws = []

    class Drawing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            draws.append(float(torch.rand(())))
            return torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)

    APGD(steps=20, restarts=2)(Drawing(), images(2), zeros(2), threat=Linf(eps=0.1), seed=0)
    assert len(set(draws)) == len(draws) == 42


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"momentum": 0}, {"rho": 1.5}, {"restarts": 0}, {"step": 3}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "apgd", **wrong})
