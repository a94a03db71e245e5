"""What the settings of a training refuse, and the device."""

import pytest
import torch

from snnguard.errors import InvalidRecipe, RequestError
from snnguard.training import SGD, AdamW, Training, resolve_device


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": -1}, "batch_size"),
        ({"epochs": 2, "warmup_epochs": 2}, "warmup_epochs"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"precision": "16"}, "precision"),
        ({"device": "tpu"}, "device"),
        ({"optimiser": {"kind": "sgdd"}}, r"unknown optimiser 'sgdd'; did you mean 'sgd'"),
        ({"optimiser": {"kind": "sgd", "beta1": 0.5}}, "beta1"),
        ({"max_steps": 0}, "max_steps"),
        ({"checkpoint_seconds": float("nan")}, "checkpoint_seconds"),
    ],
)
def test_refused(given: dict[str, object], where: str) -> None:
    with pytest.raises(InvalidRecipe, match=where):
        Training.parse(given)


def test_round_trip_and_bare_names() -> None:
    given = Training(optimiser=AdamW(learning_rate=1e-3), clip_norm=1.0, max_steps=7)
    assert Training.parse(given.to_json()) == given
    assert Training.parse({"optimiser": "sgd"}).optimiser == SGD()


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(RequestError, match=r"no cuda device.*choose auto or cpu"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
