"""Contestants are the same network, measurements take turns, and what is printed is what was measured."""

import os
import signal
import sys
import time

import pytest
import torch

from snnguard import bench
from snnguard.bench import apart
from snnguard.bench.contestants import calibrated, ours
from snnguard.bench.speed import action
from snnguard.errors import RequestError


def one(name: str) -> bench.Contestant:
    return next(contestant for contestant in bench.CONTESTANTS if contestant.name == name)


@pytest.mark.parametrize("network", ["vgg5-slim", "wrn16"])
@pytest.mark.parametrize("training", [False, True])
def test_the_loop_of_published_code_is_the_same_network(network: str, training: bool) -> None:
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = calibrated(ours(network, steps=3), x)
    twin = one("loop").make(model, 3)
    found = []
    for net in (model, twin):
        net.train(training)
        leaf = x.clone().requires_grad_()
        logits = net(leaf)
        found.append((logits.detach(), torch.autograd.grad(logits.square().sum(), leaf)[0]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-4 * float(found[0][1].abs().max()))
    assert found[0][0].std() > 0


def test_the_floor_runs_over_all_time_steps() -> None:
    rows = []
    model = one("floor").make(ours("vgg5-slim", steps=5), 5)
    model.body[1].register_forward_hook(lambda _, __, out: rows.append(out.shape[:2]))
    model(torch.rand(2, 3, 32, 32))
    assert rows == [(5, 2)]


def test_contestants_take_turns_and_the_warm_up_is_not_kept() -> None:
    order: list[str] = []
    seconds = bench.alternate({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3, warm_up=2)
    assert order == list("ab" * 5)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_the_ratio_is_that_within_a_round() -> None:
    # The machine becomes ten times slower halfway: the ratio does not notice.
    assert bench.ratio([2.0, 2.0, 20.0], [1.0, 1.0, 10.0]) == 2


@pytest.mark.parametrize("work", ["training step", "input gradient"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_case_is_measured(work: bench.Work, precision: bench.Precision) -> None:
    case = bench.Case(work=work, network="vgg5-slim", steps=2, batch=2, precision=precision)
    among = [one(name) for name in ("floor", "snnguard", "loop")]
    rows = bench.measure(case, rounds=2, among=among)
    assert [row.contestant for row in rows] == ["floor", "snnguard", "loop"]
    assert rows[0].to_floor == rows[1].to_snnguard == 1
    assert all(row.seconds > 0 for row in rows)
    table = bench.markdown(rows)
    assert f"| {work}, vgg5-slim, T=2, batch 2, {precision} |" in table
    assert f"{1000 * rows[2].seconds:.0f} ({rows[2].to_floor:.2f})" in table


def test_a_process_that_ends_is_said_and_made_anew() -> None:
    with pytest.raises(RequestError, match="measured nobody has ended"):
        apart.ask("nobody", os._exit, 1)
    assert apart.ask("nobody", abs, -3) == 3
    os.kill(apart.ask("nobody", os.getpid), signal.SIGKILL)  # while it has nothing to do
    time.sleep(1)
    with pytest.raises(RequestError, match="measured nobody has ended"):
        apart.ask("nobody", abs, -3)
    assert apart.ask("nobody", abs, -3) == 3
    apart.leave("nobody")
    apart.leave("nobody")


def test_an_attacker_computes_no_weight_gradients() -> None:
    case = bench.Case(work="input gradient", network="vgg5-slim", steps=2, batch=2)
    gradient = action(one("snnguard"), case)()
    assert isinstance(gradient, torch.Tensor)
    assert gradient.shape == (2, 3, 32, 32)
    assert gradient.any()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="on a CPU it is read from Linux's /proc")
def test_peak_memory_sees_what_is_held_and_given_back() -> None:
    def hold(size: int) -> None:
        torch.ones(size * 2**18)  # size MiB

    small = bench.peak_memory(lambda: hold(1))
    large = bench.peak_memory(lambda: hold(256))
    assert 200 * 2**20 < large - small < 300 * 2**20


def test_the_tables_hold_every_figure() -> None:
    case = {"work": "training step", "network": "vgg11", "steps": 4, "batch": 32, "precision": "float32"}
    shares = {"floor": (0.5, 1.0, 0.8), "snnguard": (0.625, 1.25, 1.0)}
    rows = [
        {"case": case, "contestant": name, "seconds": seconds, "to_floor": floor, "to_snnguard": own}
        for name, (seconds, floor, own) in shares.items()
    ]
    text = bench.tables({
        "rows": rows, "growth": [], "memory": {"a case": {"floor": 2**30, "snnguard": 2**29}}, "created": "2020-02-03T04:05",
        "command": "speed.py", "hardware": "an abacus", "versions": {"torch": "2"},
    })  # fmt: skip
    for said in (
        "2020-02-03",
        "an abacus",
        "torch 2",
        "| 500 (1.00) | 625 (1.25) |",
        "| 0.80 | 1.00 |",
        "| 1024 (1.00) | 512 (0.50) |",
    ):
        assert said in text
    assert "Growth" not in text
