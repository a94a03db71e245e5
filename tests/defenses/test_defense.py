"""The protocol: a defense that overrides nothing contributes nothing."""

import torch

from snnguard.defenses import Batch, Defense, Group, Stack, Step
from snnguard.networks import Network


def test_every_hook_defaults_to_no_contribution() -> None:
    nothing, network = Stack(), Network(name="vgg4-tiny")
    x = torch.rand(2, 1, 2, 2)
    batch, step = Batch(x=x, y=torch.tensor([0, 1]), clean=x), Step(progress=0.0, seed=0, membranes={})
    assert Defense.design(nothing, network) is network
    assert Defense.batch(nothing, None, batch, step) is batch
    assert Defense.objective(nothing, None, batch, x, step) is None
    assert Defense.penalty(nothing, None, batch, x, step) is None
    assert Defense.penalties(nothing, None, batch, x, step) == {}
    assert Defense.groups(nothing, None) == []
    assert Defense.constrain(nothing, None, step) is None
    assert Defense.adaptive(nothing) == ()
    assert not Defense.watch.fget(nothing)


def test_a_batch_remembers_its_clean_images() -> None:
    x = torch.rand(2, 1, 2, 2)
    changed = Batch(x=x, y=torch.tensor([0, 1]), clean=x).with_x(x + 1)
    assert torch.equal(changed.clean, x)
    assert torch.equal(changed.x, x + 1)
    assert changed.y.tolist() == [0, 1]


def test_a_group_keeps_the_recipes_settings_by_default() -> None:
    assert Group(parameters=[]).weight_decay is None
    assert Group(parameters=[]).learning_rate_scale == 1
