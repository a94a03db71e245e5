"""FAB and APGD towards each class against torchattacks, ART and foolbox, on a network trained on the digits.

The peers stop looking at an image at its first success within eps, so distances are compared with a ball that holds the
whole range. torchattacks' FAB-T keeps the first class that succeeds there, not the nearest: its runs per class are taken.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import FAB, PGD, Attack, apgd_t
from snnguard.data import digits
from snnguard.threat import L2, Linf, Threat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own, at import
    foolbox = pytest.importorskip("foolbox")
    torchattacks = pytest.importorskip("torchattacks")
    evasion = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own

STEPS = 100
THREATS: dict[str, Threat] = {"Linf": Linf(eps=0.1), "L2": L2(eps=0.6)}
WIDE = 100.0
NORMS = pytest.mark.parametrize("norm", list(THREATS))


class Case(NamedTuple):
    model: nn.Module
    x: Tensor
    y: Tensor

    def stands(self, x_adv: Tensor) -> Tensor:
        return self.model(x_adv).argmax(1) == self.y


@pytest.fixture(scope="module")
def case() -> Case:
    """An adversarially trained network with ReLUs, and the 500 or so unseen digits that it gets right."""
    data = digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for epoch in range(20):
            for index in torch.randperm(len(data.train)).split(64):
                x, y = data.train.pixels(index), data.train.labels[index]
                if epoch >= 5:
                    x = PGD(steps=5)(model, x, y, threat=THREATS["Linf"], seed=epoch)
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimiser.step()
    model.eval().requires_grad_(False)
    x = torch.cat([data.test.pixels(slice(None)), data.validation.pixels(slice(None))])
    y = torch.cat([data.test.labels, data.validation.labels])
    right = model(x).argmax(1) == y
    assert right.sum() > 450
    return Case(model, x[right], y[right])


def fab(case: Case, norm: str, *, towards_each: bool, eps: float) -> "torchattacks.FAB":
    return torchattacks.FAB(case.model, norm=norm, eps=eps, steps=STEPS, multi_targeted=towards_each)


def by_fab_t(case: Case, norm: str) -> Tensor:
    return fab(case, norm, towards_each=True, eps=THREATS[norm].eps)(case.x, case.y)


def by_fab(case: Case, norm: str) -> Tensor:
    return fab(case, norm, towards_each=False, eps=THREATS[norm].eps)(case.x, case.y)


def by_apgd_t(case: Case, norm: str) -> Tensor:
    return torchattacks.APGDT(case.model, norm=norm, eps=THREATS[norm].eps, steps=STEPS)(case.x, case.y)


def by_art(case: Case, norm: str) -> Tensor:
    """ART's APGD on the (untargeted) DLR of each target, lowered: its own form of a targeted run."""
    eps = THREATS[norm].eps
    estimator = PyTorchClassifier(
        case.model, loss=nn.CrossEntropyLoss(), input_shape=(1, 8, 8), nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    found = case.x.clone()
    np.random.seed(0)  # noqa: NPY002, the only generator that ART knows
    for target in range(10):
        rows = (case.stands(found) & (case.y != target)).nonzero().flatten()
        attack = evasion.AutoProjectedGradientDescent(
            estimator, norm=np.inf if norm == "Linf" else 2, eps=eps, eps_step=2 * eps, max_iter=STEPS, targeted=True,
            nb_random_init=1, batch_size=len(rows), loss_type="difference_logits_ratio", verbose=False,
        )  # fmt: skip
        aim = np.eye(10, dtype=np.float32)[np.full(len(rows), target)]
        found[rows] = torch.from_numpy(attack.generate(case.x[rows].numpy(), aim))
    return found


WEAKER = {("APGD-T, ART", "L2")}
"""Where the peer is another algorithm and leaves more: by more than the interval, so that equality cannot be asked for."""

Peer = Callable[[Case, str], Tensor]
PAIRS: dict[str, tuple[Attack, Peer]] = {
    "FAB-T, torchattacks": (FAB(steps=STEPS), by_fab_t),
    "FAB, torchattacks": (FAB(steps=STEPS, variant="untargeted"), by_fab),
    "APGD-T, torchattacks": (apgd_t(steps=STEPS), by_apgd_t),
    "APGD-T, ART": (apgd_t(steps=STEPS), by_art),
}


@NORMS
@pytest.mark.parametrize("name", list(PAIRS))
def test_as_few_images_stand_at_equal_steps(name: str, norm: str, case: Case) -> None:
    attack, peer = PAIRS[name]
    theirs = peer(case, norm)
    ours = attack(case.model, case.x, case.y, threat=THREATS[norm], seed=0)
    assert THREATS[norm].contains(theirs, case.x, atol=1e-5).all()
    left, other = (float(case.stands(x_adv).float().mean()) for x_adv in (ours, theirs))
    both = float((case.stands(ours) & case.stands(theirs)).float().mean())
    half = 1.96 * (left * (1 - left) / len(case.x)) ** 0.5
    print(
        f"\n{norm} {name}: {100 * left:.2f} % against {100 * other:.2f} % of {len(case.x)} stand, {100 * both:.2f} % both; "
        f"95 % interval +-{100 * half:.2f}", end="",
    )  # fmt: skip
    assert 0.2 < left < 0.95  # else the comparison says nothing
    assert left <= other + 0.005
    if (name, norm) in WEAKER:
        assert both == left < other  # image by image: whatever stands here stands there
    else:
        assert abs(left - other) <= half


def per_class_distance(case: Case, norm: str) -> Tensor:
    attack, found = fab(case, norm, towards_each=True, eps=WIDE), []
    for rank in range(2, 11):
        attack.target_class = rank
        found.append(distance(case, norm, attack.attack_single_run_targeted(case.x, case.y)))
    return torch.stack(found).amin(0)


def distance(case: Case, norm: str, x_adv: Tensor) -> Tensor:
    """From the image, infinite where the class has not changed."""
    return torch.where(case.stands(x_adv), torch.inf, THREATS[norm].distance(x_adv, case.x))


def untargeted_distance(case: Case, norm: str) -> Tensor:
    return distance(case, norm, fab(case, norm, towards_each=False, eps=WIDE)(case.x, case.y))


@NORMS
@pytest.mark.parametrize("variant", ["targeted", "untargeted"])
def test_fab_comes_as_close(variant: str, norm: str, case: Case) -> None:
    attack = FAB.parse({"kind": "fab", "steps": STEPS, "variant": variant, "early_stop": False})
    wide = THREATS[norm].model_copy(update={"eps": WIDE})
    ours = distance(case, norm, attack(case.model, case.x, case.y, threat=wide, seed=0))
    theirs = (per_class_distance if variant == "targeted" else untargeted_distance)(case, norm)
    ratio = ours / theirs
    low, middle, high = (float(ratio.quantile(q)) for q in (0.01, 0.5, 0.99))
    print(
        f"\n{norm} FAB {variant}: distance {middle:.5f} of torchattacks' (median; 1 and 99 %: {low:.5f}, {high:.5f}; "
        f"largest {float(ratio.max()):.4f}); median {float(ours.median()):.4f}", end="",
    )  # fmt: skip
    assert torch.isfinite(ours).all()
    assert middle == pytest.approx(1, abs=1e-3)
    assert high < 1.02


@NORMS
def test_fab_comes_closer_than_foolbox_deepfool(norm: str, case: Case) -> None:
    """Another boundary attack, which stops at its first success; FAB's own points stay up to 1 % beyond the boundary."""
    deepfool = {"Linf": foolbox.attacks.LinfDeepFoolAttack, "L2": foolbox.attacks.L2DeepFoolAttack}[norm](steps=STEPS)
    bounded = foolbox.PyTorchModel(case.model, bounds=(0, 1), device="cpu")
    _, raw, _ = deepfool(bounded, case.x, foolbox.criteria.Misclassification(case.y), epsilons=[None])
    theirs = distance(case, norm, raw[0] if isinstance(raw, list) else raw)
    wide = THREATS[norm].model_copy(update={"eps": WIDE})
    attack = FAB(steps=STEPS, early_stop=False)
    ours = distance(case, norm, attack(case.model, case.x, case.y, threat=wide, seed=0))
    ratio = ours / theirs
    farther = float((ratio > 1.02).float().mean())
    quantiles = ", ".join(f"{float(ratio.quantile(q)):.3f}" for q in (0.01, 0.25, 0.5, 0.75, 0.99, 1.0))
    print(f"\n{norm} FAB: distance of DeepFool's at 1, 25, 50, 75, 99, 100 %: {quantiles}", end="")
    assert float(ratio.median()) < 1
    assert farther < 0.02
