"""Attacks without gradients against torchattacks and adversarial-robustness-toolbox (ART), at equal numbers of queries.

On digits of 16 x 16 in three equal channels, because the peers are weaker on 8 x 8: no square of theirs touches the last row
and column, a quarter of such an image. (Held to the same places, Square leaves 0.77 and 0.67 standing where torchattacks
leaves 0.76 and 0.65.) ART moreover keeps the start only where it lowers the loss, and stays behind in L2 at either size.
There ours only has to be no weaker.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.attacks import Attack, HopSkipJump, Square
from snnguard.data import digits
from snnguard.threat import L2, Linf, Threat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own, at import
    torchattacks = pytest.importorskip("torchattacks")
    evasion = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own

QUERIES, SEEDS = 500, 2
Victim = tuple[nn.Module, Tensor, Tensor]
Peer = Callable[[Victim, Threat, int], Tensor]
BALLS = {
    8: (Linf(eps=0.08), L2(eps=0.6)),
    16: (Linf(eps=0.08), L2(eps=1.8)),
}
"""Radii at which about half of the images fall, for images of this side."""


def resized(x: Tensor, side: int) -> Tensor:
    return x if side == 8 else functional.interpolate(x, size=(side, side), mode="bilinear").repeat(1, 3, 1, 1).clamp(0, 1)


@pytest.fixture(scope="module")
def victims() -> dict[int, Victim]:
    """Per side a small convolutional network after some steps on the digits, and 200 test images that it gets right."""
    data, found = digits(), {}
    for side, channels in ((8, 1), (16, 3)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(
                nn.Conv2d(channels, 8, 5, stride=side // 8, padding=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1),
                nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
            )  # fmt: skip
            optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
            for _ in range(10):
                for index in torch.randperm(len(data.train)).split(64):
                    loss = functional.cross_entropy(model(resized(data.train.pixels(index), side)), data.train.labels[index])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
        model.eval().requires_grad_(False)
        x, y = resized(data.test.pixels(slice(None)), side), data.test.labels
        right = (model(x).argmax(1) == y).nonzero().flatten()[:200]
        found[side] = (model, x[right], y[right])
    return found


def ours(attack: Attack) -> Peer:
    return lambda victim, threat, seed: attack(*victim, threat=threat, seed=seed)


def square_by_torchattacks(victim: Victim, threat: Threat, seed: int) -> Tensor:
    model, x, y = victim
    norm = "Linf" if threat.kind == "linf" else "L2"
    return torchattacks.Square(model, norm=norm, eps=threat.eps, n_queries=QUERIES, seed=seed)(x, y)


class Single(nn.Module):
    """In single precision, whatever comes: ART asks in double in the course of HopSkipJump."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.float())


def estimator(victim: Victim) -> PyTorchClassifier:
    model, x, _ = victim
    return PyTorchClassifier(
        Single(model), loss=nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]), nb_classes=10, clip_values=(0.0, 1.0),
        device_type="cpu",
    )  # fmt: skip


def generated(attack: object, victim: Victim, seed: int) -> Tensor:
    _, x, y = victim
    np.random.seed(seed)  # noqa: NPY002, the only generator that ART knows
    return torch.from_numpy(attack.generate(x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()]))


def square_by_art(victim: Victim, threat: Threat, seed: int) -> Tensor:
    attack = evasion.SquareAttack(
        estimator(victim), norm=np.inf if threat.kind == "linf" else 2, max_iter=QUERIES, eps=threat.eps,
        batch_size=len(victim[1]), verbose=False,
    )  # fmt: skip
    return generated(attack, victim, seed)


def robust(peer: Peer, victim: Victim, threat: Threat) -> float:
    """Robust accuracy, averaged over the seeds."""
    model, x, y = victim
    shares = []
    for seed in range(SEEDS):
        x_adv = peer(victim, threat, seed)
        assert (threat.distance(x_adv, x) <= threat.eps + 1e-5).all()
        shares.append(float((model(x_adv).argmax(1) == y).double().mean()))
    return sum(shares) / SEEDS


@pytest.mark.parametrize("norm", [0, 1], ids=["linf", "l2"])
@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("peer", [square_by_torchattacks, square_by_art])
def test_square_breaks_as_many_at_as_many_queries(peer: Peer, side: int, norm: int, victims: dict[int, Victim]) -> None:
    threat, victim = BALLS[side][norm], victims[side]
    own, other = robust(ours(Square(queries=QUERIES)), victim, threat), robust(peer, victim, threat)
    width = 1.96 * math.sqrt(2 * other * (1 - other) / len(victim[1]))
    print(
        f"\n{peer.__name__}, {side} x {side}, {threat}, {QUERIES} queries: robust {own:.4f} against {other:.4f} "
        f"(95 % of differences by chance up to {width:.4f})", end="",
    )  # fmt: skip
    assert 0.1 < own < 0.95  # else the comparison says nothing
    assert own <= other + 0.005
    if side == 16 and (peer, threat.kind) != (square_by_art, "l2"):
        assert abs(own - other) <= width


@pytest.mark.parametrize("threat", [Linf(eps=1.0), L2(eps=99.0)], ids=["linf", "l2"])
def test_hop_skip_jump_comes_as_close(threat: Threat, victims: dict[int, Victim]) -> None:
    model, x, y = victims[8]
    victim, steps = (model, x[:60], y[:60]), 10
    peer = evasion.HopSkipJump(estimator(victim), norm=np.inf if threat.kind == "linf" else 2, max_iter=steps, verbose=False)
    theirs = generated(peer, victim, 0).float()
    for name, probe in (("of the paper", None), ("of its own", HopSkipJump().probe)):
        x_adv = HopSkipJump(steps=steps, probe=probe, early_stop=False)(*victim, threat=threat, seed=0)
        both = (model(x_adv).argmax(1) != victim[2]) & (model(theirs).argmax(1) != victim[2])
        assert both.sum() > 50
        own, other = (float(threat.distance(images, victim[1])[both].median()) for images in (x_adv, theirs))
        print(f"\nHopSkipJump {threat.kind}, probe {name}: median {own:.4f} / {other:.4f} = {own / other:.3f}", end="")
        assert own <= 1.05 * other
