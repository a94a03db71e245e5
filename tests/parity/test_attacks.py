"""Attacks against adversarial-robustness-toolbox (ART), foolbox and torchattacks, on one smooth network.

Conventions that differ and how they meet: torchattacks and ART average the loss over the batch (32 images, a power of two,
so it scales exactly); foolbox takes absolute steps here; ART cuts to the range before it projects into the ball, which in
L2 is another point wherever a pixel reaches the edge, so its L2 runs see images away from the edges.
"""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import CW, PGD, Attack, bim, fgsm, mifgsm
from snnguard.threat import L2, Linf, Threat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own, at import
    foolbox = pytest.importorskip("foolbox")
    torchattacks = pytest.importorskip("torchattacks")
    evasion = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own

EPS, STEP, STEPS = 0.1, 0.03, 7
LENGTH, L2_STEP = 1.0, 0.25
TOLERANCE = 1e-6
Gap = Callable[[str, Tensor, Tensor], float]
Peer = Callable[[nn.Module, Tensor, Tensor], Tensor]


def estimator(model: nn.Module) -> PyTorchClassifier:
    return PyTorchClassifier(
        model, loss=nn.CrossEntropyLoss(), input_shape=(1, 8, 8), nb_classes=4, clip_values=(0.0, 1.0), device_type="cpu"
    )


def by_art(kind: str, **settings: object) -> Peer:
    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        attack = getattr(evasion, kind)(estimator(model), batch_size=32, **settings)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return run


def by_foolbox(kind: str, eps: float, *, targeted: bool = False, **settings: object) -> Peer:
    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        aim = foolbox.criteria.TargetedMisclassification(y) if targeted else foolbox.criteria.Misclassification(y)
        return getattr(foolbox.attacks, kind)(**settings).run(wrapped, x, aim, epsilon=eps)

    return run


def by_torchattacks(kind: str, *, targeted: bool = False, **settings: object) -> Peer:
    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        attack = getattr(torchattacks, kind)(model, **settings)
        if targeted:
            attack.set_mode_targeted_by_label(quiet=True)
        return attack(x, y)

    return run


LINF: dict[str, tuple[Attack, dict[str, Peer]]] = {
    "fgsm": (
        fgsm(),
        {
            "art": by_art("FastGradientMethod", eps=EPS),
            "foolbox": by_foolbox("LinfFastGradientAttack", EPS),
            "torchattacks": by_torchattacks("FGSM", eps=EPS),
        },
    ),
    "bim": (
        bim(steps=STEPS, step_size=STEP),
        {
            "art": by_art("BasicIterativeMethod", eps=EPS, eps_step=STEP, max_iter=STEPS, verbose=False),
            "foolbox": by_foolbox("LinfBasicIterativeAttack", EPS, abs_stepsize=STEP, steps=STEPS),
            "torchattacks": by_torchattacks("BIM", eps=EPS, alpha=STEP, steps=STEPS),
        },
    ),
    "pgd": (
        PGD(steps=STEPS, step_size=STEP, random_start=False),
        {
            "art": by_art("ProjectedGradientDescent", eps=EPS, eps_step=STEP, max_iter=STEPS, verbose=False),
            "foolbox": by_foolbox(
                "LinfProjectedGradientDescentAttack", EPS, abs_stepsize=STEP, steps=STEPS, random_start=False
            ),
            "torchattacks": by_torchattacks("PGD", eps=EPS, alpha=STEP, steps=STEPS, random_start=False),
        },
    ),
    # foolbox's MI-FGSM accumulates signs instead of gradients divided by their mean size: another attack.
    "mifgsm": (
        mifgsm(steps=STEPS, step_size=STEP),
        {
            "art": by_art("MomentumIterativeMethod", eps=EPS, eps_step=STEP, max_iter=STEPS, decay=1.0, verbose=False),
            "torchattacks": by_torchattacks("MIFGSM", eps=EPS, alpha=STEP, steps=STEPS, decay=1.0),
        },
    ),
}

LENGTHWISE: dict[str, tuple[Attack, dict[str, Peer]]] = {
    "fgsm": (
        fgsm(),
        {
            "art": by_art("FastGradientMethod", eps=LENGTH, norm=2),
            "foolbox": by_foolbox("L2FastGradientAttack", LENGTH),
            "torchattacks": by_torchattacks("PGDL2", eps=LENGTH, alpha=LENGTH, steps=1, random_start=False, eps_for_division=0),
        },
    ),
    "bim": (
        bim(steps=STEPS, step_size=L2_STEP),
        {"foolbox": by_foolbox("L2BasicIterativeAttack", LENGTH, abs_stepsize=L2_STEP, steps=STEPS)},
    ),
    "pgd": (
        PGD(steps=STEPS, step_size=L2_STEP, random_start=False),
        {
            "art": by_art("ProjectedGradientDescent", eps=LENGTH, eps_step=L2_STEP, max_iter=STEPS, norm=2, verbose=False),
            "foolbox": by_foolbox(
                "L2ProjectedGradientDescentAttack", LENGTH, abs_stepsize=L2_STEP, steps=STEPS, random_start=False
            ),
            "torchattacks": by_torchattacks(
                "PGDL2", eps=LENGTH, alpha=L2_STEP, steps=STEPS, random_start=False, eps_for_division=0
            ),
        },
    ),
}


def pairs(table: dict[str, tuple[Attack, dict[str, Peer]]]) -> list[tuple[str, str]]:
    return [(name, library) for name, (_, peers) in table.items() for library in peers]


@pytest.mark.parametrize(("name", "library"), pairs(LINF))
def test_linf_attacks_agree(name: str, library: str, model: nn.Module, x: Tensor, y: Tensor, gap: Gap) -> None:
    attack, peers = LINF[name]
    ours = attack(model, x, y, threat=Linf(eps=EPS), seed=0)
    assert (ours - x).abs().max() > 0.9 * EPS
    assert gap(f"Linf {name} {library}", ours, peers[library](model, x, y)) <= TOLERANCE


@pytest.mark.parametrize(("name", "library"), pairs(LENGTHWISE))
def test_l2_attacks_agree(name: str, library: str, model: nn.Module, x: Tensor, y: Tensor, gap: Gap) -> None:
    attack, peers = LENGTHWISE[name]
    if library == "art":
        x = 0.5 + (x - 0.5) / 5
    ours = attack(model, x, y, threat=L2(eps=LENGTH), seed=0)
    assert (ours - x).flatten(1).norm(dim=1).max() > 0.7 * LENGTH
    assert gap(f"L2 {name} {library}", ours, peers[library](model, x, y)) <= TOLERANCE


TARGETED: dict[str, Peer] = {
    "art": by_art("FastGradientMethod", eps=EPS, targeted=True),
    "foolbox": by_foolbox("LinfBasicIterativeAttack", EPS, targeted=True, abs_stepsize=EPS, steps=1),
    "torchattacks": by_torchattacks("FGSM", targeted=True, eps=EPS),
}


@pytest.mark.parametrize("library", list(TARGETED))
def test_targeted_fgsm_agrees(library: str, model: nn.Module, x: Tensor, y: Tensor, gap: Gap) -> None:
    targets = (y + 1) % 4
    ours = fgsm()(model, x, y, threat=Linf(eps=EPS), seed=0, targets=targets)
    assert gap(f"targeted fgsm {library}", ours, TARGETED[library](model, x, targets)) <= TOLERANCE


def lengths(x_adv: Tensor, x: Tensor) -> Tensor:
    return (x_adv - x).flatten(1).norm(dim=1)


def cw_by_art(model: nn.Module, x: Tensor, y: Tensor, c: float, rounds: int, steps: int) -> Tensor:
    attack = evasion.CarliniL2Method(
        estimator(model), binary_search_steps=rounds, max_iter=steps, initial_const=c, learning_rate=0.01,
        batch_size=len(x), verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(x.numpy(), np.eye(4, dtype=np.float32)[y.numpy()]))


def cw_by_foolbox(model: nn.Module, x: Tensor, y: Tensor, c: float, rounds: int, steps: int) -> Tensor:
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=rounds, steps=steps, stepsize=0.01, initial_const=c, abort_early=False
    )
    found = attack.run(wrapped, x, foolbox.criteria.Misclassification(y))
    failed = ~found.flatten(1).any(1)  # foolbox returns a black image where it found nothing
    return torch.where(failed[:, None, None, None], x, found)


def cw_by_torchattacks(model: nn.Module, x: Tensor, y: Tensor, c: float, rounds: int, steps: int) -> Tensor:
    # No search for c, so it gets the largest useful one; its margin is against max(0, other logits), ours against theirs.
    return torchattacks.CW(model, c=10 * c, steps=steps, lr=0.01)(x, y)


CW_CASES = [
    (cw_by_art, 1.0, 1, 100),
    (cw_by_art, 0.1, 3, 100),
    (cw_by_art, 0.1, 6, 200),
    (cw_by_foolbox, 1.0, 1, 100),
    (cw_by_foolbox, 0.1, 3, 100),
    (cw_by_foolbox, 0.1, 6, 200),
    (cw_by_torchattacks, 0.1, 6, 200),
]


@pytest.mark.parametrize(("peer", "c", "rounds", "steps"), CW_CASES)
def test_cw_breaks_as_many_with_no_larger_changes(
    peer: Callable[..., Tensor], c: float, rounds: int, steps: int, model: nn.Module, x: Tensor, y: Tensor
) -> None:
    attack = CW(c=c, steps=steps, learning_rate=0.01, searches=rounds - 1)
    ours, theirs = attack(model, x, y, threat=L2(eps=1.0), seed=0), peer(model, x, y, c, rounds, steps)
    right = model(x).argmax(1) == y
    broken, other = ((model(adv).argmax(1) != y)[right] for adv in (ours, theirs))
    both = broken & other
    assert both.any()
    length, length_other = (float(lengths(adv, x)[right][both].mean()) for adv in (ours, theirs))
    print(
        f"\nCW {peer.__name__}, c {c}, {rounds} x {steps} steps: of {int(right.sum())} broken {int(broken.sum())} against "
        f"{int(other.sum())}; mean L2 on {int(both.sum())} broken by both {length:.5f} against {length_other:.5f}", end="",
    )  # fmt: skip
    assert broken.sum() >= other.sum()
    # The peers start at 0.999999 of the way to the edges, or at the same 1 - 1e-6: equal up to that.
    assert length <= length_other * (1 + 1e-4)


def test_the_threats_of_the_peers_are_ours(x: Tensor) -> None:
    """Distances are measured alike: the largest change per pixel, the Euclidean length per image."""
    other = (x + 0.05).clamp(0, 1)
    measured: list[tuple[Threat, object]] = [
        (Linf(eps=0.1), foolbox.distances.linf),
        (L2(eps=0.1), foolbox.distances.l2),
    ]
    for threat, distance in measured:
        assert torch.allclose(threat.distance(other, x), distance(x, other), atol=1e-6)
