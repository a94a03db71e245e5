"""Combinations by name."""

import pytest

from snnguard.attacks import fgsm
from snnguard.defenses import REG, AdversarialTraining, ConvexResiduals, Defense, Stack, rat
from snnguard.errors import RequestError
from snnguard.layers import ConvexCombination
from snnguard.networks import Network, build, construct
from snnguard.threat import Linf


def test_rat_is_adversarial_training_retraction_and_convex_residuals() -> None:
    assert rat() == Stack(parts=(AdversarialTraining(), REG(beta=0.004), ConvexResiduals()))
    chosen = rat(beta=0.01, attack=fgsm(), threat=Linf(eps=4 / 255))
    assert chosen == Stack(
        parts=(AdversarialTraining(attack=fgsm(), threat=Linf(eps=4 / 255)), REG(beta=0.01), ConvexResiduals())
    )


def test_rat_from_a_recipe() -> None:
    assert Defense.parse("rat") == rat()
    assert Defense.parse({"kind": "rat", "attack": {"kind": "fgsm"}, "beta": 0.01}) == rat(attack=fgsm(), beta=0.01)
    with pytest.raises(RequestError, match="did you mean 'beta'"):
        Defense.parse({"kind": "rat", "betta": 0.01})
    with pytest.raises(RequestError, match="beta"):
        Defense.parse({"kind": "rat", "beta": -1})


def test_rat_builds_convex_blocks_and_decays_nothing() -> None:
    network = rat().design(Network(name="resnet19", steps=1))
    model = construct(network, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])
    assert sum(isinstance(m, ConvexCombination) for m in model.modules()) == 8
    small = build("vgg4-tiny", image_shape=(1, 8, 8))
    [group] = rat().groups(small)
    assert group.weight_decay == 0
    assert len(group.parameters) == len(list(small.parameters()))
