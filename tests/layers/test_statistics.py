"""Passes without a trace: statistics come back on any exit, and graphs made before stay valid."""

import pytest
import torch
from torch import Tensor, nn

from snnguard.layers import TDBN, untracked
from snnguard.networks import build


def images(seed: int = 0) -> Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def network() -> nn.Module:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2, seed=1, tdbn_threshold=0.8).train()
    model(images())  # so that the statistics are not those of the start
    return model


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def test_the_same_objects_with_the_same_values_come_back() -> None:
    model = network()
    before, objects = statistics(model), {name: id(b) for name, b in model.named_buffers()}
    with untracked(model):
        model(images(1) * 5)
        inside = statistics(model)
    assert {name: id(b) for name, b in model.named_buffers()} == objects
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    moved = {name.rpartition(".")[2] for name in before if not torch.equal(inside[name], before[name])}
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}  # the block did move something


def test_they_come_back_after_an_error() -> None:
    model = network()
    before, objects = statistics(model), [id(b) for b in model.buffers()]

    def fail() -> None:
        with untracked(model):
            model(images(1) * 5)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert [id(b) for b in model.buffers()] == objects
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())


def test_training_goes_on_as_if_nothing_had_been() -> None:
    one, other = network(), network()
    with untracked(one):
        one(images(1) * 5)
    one(images(2))
    other(images(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_a_graph_made_before_stays_valid(training: bool) -> None:
    def gradients(*, disturb: bool) -> list[Tensor]:
        model = network().train(training)
        loss = model(images(1)).square().sum()
        if disturb:
            with untracked(model):
                model.train()(images(2) * 5)
            model.train(training)
        loss.backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    plain, disturbed = gradients(disturb=False), gradients(disturb=True)
    assert len(plain) == len(disturbed) > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, disturbed, strict=True))


def test_a_graph_made_inside_can_be_used_outside() -> None:
    model = network()
    with untracked(model):
        loss = model(images(1)).square().sum()
    plain = network()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    wanted = torch.autograd.grad(plain(images(1)).square().sum(), list(plain.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(gradients, wanted, strict=True))


def test_batch_statistics_are_those_of_the_mode() -> None:
    layer, x = TDBN(2), 3 * torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0)) + 7
    layer.train()
    with untracked(layer):
        torch.testing.assert_close(layer(x).mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
    layer.eval()
    with untracked(layer):
        torch.testing.assert_close(layer(x), x, rtol=1e-4, atol=1e-4)  # the first statistics are 0 and 1


def test_blocks_nest_and_layers_without_statistics_pass() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1, track_running_stats=False)).train()
    before = statistics(model)
    assert model[1].running_mean is None
    with untracked(model):
        model(images())
        outer = statistics(model)
        with untracked(model):
            model(images(1))
        assert all(torch.equal(b, outer[name]) for name, b in model.named_buffers())
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    assert not torch.equal(outer["0.running_mean"], before["0.running_mean"])
    assert model[1].running_mean is None
