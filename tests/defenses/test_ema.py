"""EMA: the average by hand, what is averaged, and that an interruption does not change a bit of it."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.data import fake
from snnguard.defenses import REG, ConvexResiduals, Defense, Stack, Step
from snnguard.defenses.ema import EMA
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.training import SGD, Outcome, Stopped, Training, fit, read_tensors

DOUBLE = torch.float64


def step() -> Step:
    return Step(progress=0.5, seed=0, membranes={})


def scalar() -> nn.Linear:
    return nn.Linear(1, 1, bias=False).double()


def run(defense: EMA, values: list[float]) -> tuple[nn.Linear, Step]:
    """One weight that takes these values, one after each step of the optimiser."""
    model, where = scalar(), step()
    for value in values:
        nn.init.constant_(model.weight, value)
        defense.constrain(model, where)
    return model, where


def test_three_steps_by_hand() -> None:
    # A1 = 1; d1 = 2/11: A2 = 2/11 + 18/11 = 20/11; d2 = 3/12: A3 = 5/11 + 3 = 38/11.
    model, where = run(EMA(), [1, 2, 4])
    assert float(where.memory["ema.weight"]) == pytest.approx(38 / 11)
    assert int(where.memory["ema.updates"]) == 3
    assert model.weight.item() == 4  # training goes on from its own weights
    EMA().finish(model, where)
    assert model.weight.item() == pytest.approx(38 / 11)


def test_a_decay_below_the_warm_up_acts_at_once() -> None:
    # d = 1/10 throughout: A2 = 0.1 + 1.8 = 1.9; A3 = 0.19 + 3.6 = 3.79.
    assert float(run(EMA(decay=0.1), [1, 2, 4])[1].memory["ema.weight"]) == pytest.approx(3.79)


def test_after_the_warm_up_a_constant_trajectory_is_approached_geometrically() -> None:
    # (1 + n) / (10 + n) reaches 1/2 at n = 8. From there the distance to a constant halves with each step.
    _, where = run(EMA(decay=0.5), [0.0] * 8 + [1.0] * 10)
    assert 1 - float(where.memory["ema.weight"]) == pytest.approx(0.5**10)


@pytest.mark.parametrize("value", [1.0, 0.1, -1e30, 1e-40])
def test_a_constant_stays_what_it_is_bit_for_bit(value: float) -> None:
    model, where = run(EMA(), [value] * 50)
    assert torch.equal(where.memory["ema.weight"], model.weight)


def test_the_warm_up_forgets_as_fast_as_one_over_n() -> None:
    # The share of the first value is the product of (1 + n) / (10 + n) for n = 1 to N - 1, here below the decay throughout.
    _, where = run(EMA(decay=0.9999), [1.0] + [0.0] * 40)
    share = 1.0
    for n in range(1, 41):
        share *= (1 + n) / (10 + n)
    assert float(where.memory["ema.weight"]) == pytest.approx(share)


def test_what_is_averaged() -> None:
    model, where = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train(), step()
    seen = []
    for i in range(2):
        model(torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(i)) + i)
        EMA().constrain(model, where)
        seen.append({name: t.clone() for name, t in model.state_dict().items()})
    floating = {name for name, t in seen[0].items() if t.is_floating_point()}
    assert {"0.weight", "0.bias", "1.running_mean", "1.running_var", "1.weight", "1.bias"} == floating
    assert where.memory.keys() == {f"ema.{name}" for name in floating} | {"ema.updates"}
    for name in floating:
        torch.testing.assert_close(where.memory[f"ema.{name}"], (2 * seen[0][name] + 9 * seen[1][name]) / 11)
    assert not torch.equal(where.memory["ema.1.running_mean"], seen[1]["1.running_mean"])
    EMA().finish(model, where)
    assert int(model[1].num_batches_tracked) == 2
    assert all(torch.equal(model.state_dict()[name], where.memory[f"ema.{name}"]) for name in floating)
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert not any(t.requires_grad for t in where.memory.values())


def test_a_learned_number_is_averaged_and_a_scheduled_one_is_kept() -> None:
    class Scheduled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.learned = nn.Parameter(torch.tensor(0.0))
            self.register_buffer("p", torch.tensor(0.0))

    model, where = Scheduled(), step()
    for value in (0.0, 1.0):
        nn.init.constant_(model.learned, value)
        model.p.fill_(value)
        EMA().constrain(model, where)
    EMA().finish(model, where)
    assert model.learned.item() == pytest.approx(9 / 11)
    assert model.p.item() == 1


def test_without_decay_it_remembers_and_changes_nothing() -> None:
    model, where = run(EMA(decay=0), [1, 2, 4])
    EMA(decay=0).finish(model, where)
    assert where.memory == {}
    assert model.weight.item() == 4


def network(defense: Defense) -> SpikingClassifier:
    design = defense.design(Network(name="vgg4-tiny", steps=2))
    return construct(design, classes=3, image_shape=(1, 8, 8), mean=[0.4], std=[0.2], seed=3)


def train(defense: Defense, out: Path | None = None, report: Any = None, **changes: Any) -> tuple[dict[str, Tensor], Outcome]:
    data = fake(classes=3, image_shape=(1, 8, 8), train=24, validation=8, test=8)
    model = network(defense)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 8, "device": "cpu", "probe_size": 8, "checkpoint_seconds": 1e-9}
    training = Training(optimiser=SGD(learning_rate=0.05), **settings, **changes)
    outcome = fit(model, data.train, data.validation, defense=defense, training=training, out=out, report=report)
    return {name: t.clone() for name, t in model.state_dict().items()}, outcome


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_ends_with_the_average_of_the_same_trajectory(tmp_path: Path) -> None:
    """The raw weights after every step of a plain training, read from its files, averaged in double precision."""
    trajectory: list[dict[str, Tensor]] = []

    def look(done: int, steps: int, line: Any) -> None:
        if done > 1:
            trajectory.append(read_tensors(tmp_path / "plain" / "state.safetensors")[0])

    plain, raw = train(Stack(), tmp_path / "plain", look)
    trajectory.append(read_tensors(tmp_path / "plain" / "state.safetensors")[0])
    averaged, outcome = train(EMA())
    assert len(trajectory) == 6
    for name, found in averaged.items():
        if not found.is_floating_point():
            continue
        expected = trajectory[0][f"model.{name}"].double()
        for n, state in enumerate(trajectory[1:], 1):
            kept = (1 + n) / (10 + n)
            expected = kept * expected + (1 - kept) * state[f"model.{name}"].double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert not same(plain, averaged)
    assert [line["loss"] for line in outcome.lines] == [line["loss"] for line in raw.lines]
    assert same(plain, train(EMA(decay=0))[0])


@pytest.mark.parametrize("at", [1, 3, 5])
def test_interrupted_and_resumed_it_has_the_same_bits(at: int, tmp_path: Path) -> None:
    def interrupt(done: int, steps: int, line: Any) -> None:
        if done == at:
            os.kill(os.getpid(), signal.SIGINT)

    whole, _ = train(EMA())
    with pytest.raises(Stopped):
        train(EMA(), tmp_path, interrupt)
    tensors, card = read_tensors(tmp_path / "state.safetensors")
    assert card["step"] == at == int(tensors["memory.ema.updates"])
    resumed, _ = train(EMA(), tmp_path)
    assert same(whole, resumed)
    assert same(whole, train(EMA(), tmp_path)[0])  # a finished training, asked again


def test_the_state_on_disk_keeps_the_raw_weights_so_that_a_longer_training_goes_on_from_them(tmp_path: Path) -> None:
    short, outcome = train(EMA(), tmp_path, max_steps=2)
    assert outcome.finished
    assert not same(short, {k.removeprefix("model."): t for k, t in read_tensors(tmp_path / "state.safetensors")[0].items()})
    assert same(train(EMA())[0], train(EMA(), tmp_path)[0])


def test_behind_a_projection_it_averages_what_was_projected() -> None:
    defense = Stack((ConvexResiduals(), REG(), EMA()))
    model = nn.Linear(4, 3)
    where = step()
    before = model.weight.detach().clone()
    defense.constrain(model, where)
    assert torch.equal(where.memory["ema.weight"], model.weight)
    assert not torch.equal(where.memory["ema.weight"], before)


def test_fields() -> None:
    assert EMA().decay == 0.999
    for decay in (1.0, -0.1):
        with pytest.raises(ValueError, match="decay"):
            EMA(decay=decay)
