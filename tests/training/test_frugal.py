"""Running out of memory: the same step is made again with recomputation, and ends with the same bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from snnguard import networks
from snnguard.data import fake
from snnguard.defenses import AWP, MPDSGR, TGO, AdversarialTraining, Defense, Stack, awp
from snnguard.errors import OutOfMemory
from snnguard.training import SGD, Training, fit
from snnguard.training.fit import Loop


@contextmanager
def small_machine(monkeypatch: pytest.MonkeyPatch, *, failing: int, forever: bool = False) -> Iterator[list[int]]:
    """The backward pass of one step finds no memory as long as nothing is recomputed, or ever."""
    original, calls = torch.Tensor.backward, [0]

    def backward(self: torch.Tensor, *a: Any, **k: Any) -> Any:
        calls[0] += 1
        if calls[0] == failing or (forever and calls[0] > failing):
            torch.rand(3)  # what was drawn before the failure must not shift what comes after
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99999999 bytes")
        return original(self, *a, **k)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", backward)
        yield calls


def trained(monkeypatch: pytest.MonkeyPatch, defense: Defense = TGO(), *, failing: int = 0, forever: bool = False) -> Any:  # noqa: B008
    data = fake(train=32, validation=8, test=8)
    network = defense.design(networks.Network(name="vgg5-slim", steps=2))
    model = networks.construct(network, classes=10, image_shape=data.image_shape, mean=data.mean, std=data.std)
    training = Training(epochs=2, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu")
    with small_machine(monkeypatch, failing=failing, forever=forever) as calls:
        fit(model, data.train, data.validation, defense=defense, training=training)
    return model, calls[0]


@pytest.mark.parametrize("defense", [TGO(), Stack((AdversarialTraining(), MPDSGR()))], ids=["noise", "crafting"])
def test_a_step_that_does_not_fit_is_made_again_and_changes_no_bit(
    defense: Defense, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain, calls = trained(monkeypatch, defense)
    rescued, again = trained(monkeypatch, defense, failing=3)
    assert again == calls + 1
    assert rescued.recompute
    assert not plain.recompute
    assert "computed twice" in caplog.text
    for one, other in zip(plain.state_dict().values(), rescued.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_what_does_not_fit_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemory, match=r"lower training\.batch_size"):
        trained(monkeypatch, failing=2, forever=True)


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Loop, *_: Any) -> Any:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Loop, "_descend", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        trained(monkeypatch)


def test_memory_may_end_anywhere_before_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = trained(monkeypatch, AWP())
    original, calls = awp.weight_gradient, [0]

    def full(*a: Any, **k: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*a, **k)

    monkeypatch.setattr(awp, "weight_gradient", full)
    rescued, _ = trained(monkeypatch, AWP())
    assert rescued.recompute
    for one, other in zip(plain.state_dict().values(), rescued.state_dict().values(), strict=True):
        assert torch.equal(one, other)
