"""The judge: verdicts counted by hand, suspicions deserved and undeserved, interruptions, and what must not matter."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from snnguard.attacks import PGD, Attack, InputGradient, UniformNoise, fgsm, predict
from snnguard.data import Dataset
from snnguard.encoders import Poisson
from snnguard.errors import AttackFault, InvalidInput
from snnguard.evaluation import Entry, Progress, Suite, evaluate, suite
from snnguard.networks import build
from snnguard.neurons import BPTT, GradientRule, RateGradient, Sigmoid, Triangle, fused, neurons_of, nlif
from snnguard.record import Record
from snnguard.threat import Linf

PAPER, QUICK = suite("paper"), suite("quick")
NewAttack = Callable[..., Attack]

X = torch.tensor([0.55, 0.58, 0.70, 0.45, 0.42, 0.20, 0.52, 0.48]).reshape(8, 1, 1, 1)
Y = torch.tensor([1, 1, 1, 0, 0, 0, 0, 1])  # the last two are wrong clean
EPS = Linf(eps=0.1)


def a_suite(**attacks: Attack) -> Suite:
    return Suite(name="toy", entries=tuple(Entry(name=name, attack=attack) for name, attack in attacks.items()))


def ups_and_downs(new_attack: NewAttack) -> Suite:
    return a_suite(
        down=new_attack("down", lambda model, x, y: x - 0.1),
        up=new_attack("up", lambda model, x, y: x + 0.1),
        far=new_attack("far", lambda model, x, y: 1 - x, bounded=False),
    )


def test_the_worst_case_per_sample_by_hand(threshold: nn.Module, new_attack: NewAttack) -> None:
    record = evaluate(threshold, X, Y, suite=ups_and_downs(new_attack), threat=EPS, name="toy", labels=("low", "high"))
    t, f = True, False
    assert record.clean.values == (t, t, t, t, t, t, f, f)
    assert record.find("down").correct.values == (f, f, t, t, t, t, f, f)
    assert record.find("up").correct.values == (t, t, t, f, f, t, f, f)
    assert record.find("far").correct.hits == 0
    # The unbounded attack is shown but is no evidence about the ball.
    assert record.worst_flags.values == (f, f, t, f, f, t, f, f)
    assert (record.accuracy.point, record.worst.point) == (6 / 8, 2 / 8)
    assert (record.name, record.suite, record.labels, record.stochastic) == ("toy", "toy", ("low", "high"), False)
    assert record.threat == EPS.to_json()
    assert Record.from_json(record.to_json()) == record


def test_success_counts_among_the_images_that_were_right(threshold: nn.Module, new_attack: NewAttack) -> None:
    record = evaluate(threshold, X, Y, suite=ups_and_downs(new_attack), threat=EPS)
    assert record.find("down").success(record.clean).point == 2 / 6
    assert record.find("far").success(record.clean).point == 1
    for name in ("down", "up"):
        assert record.find(name).mean_linf == pytest.approx(0.1)
        assert record.find(name).mean_l2 == pytest.approx(0.1)
    # |1 - 2x| over the six attacked images
    assert record.find("far").mean_linf == pytest.approx((0.10 + 0.16 + 0.40 + 0.10 + 0.16 + 0.60) / 6, abs=1e-6)


def test_intervals_are_wilsons(threshold: nn.Module, new_attack: NewAttack) -> None:
    record = evaluate(threshold, X, Y, suite=ups_and_downs(new_attack), threat=EPS)
    for interval, hits in ((record.accuracy, 6), (record.worst, 2), (record.find("far").accuracy, 0)):
        expected = binomtest(hits, 8).proportion_ci(method="wilson")
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_images_that_are_wrong_clean_are_lost_and_not_attacked(threshold: nn.Module, new_attack: NewAttack) -> None:
    attacked: list[float] = []

    def rescue(model: object, x: Tensor, y: Tensor) -> Tensor:
        attacked.extend(x.flatten().tolist())
        return x + 0.1 * (2 * y[:, None, None, None] - 1)

    record = evaluate(threshold, X, Y, suite=a_suite(rescue=new_attack("rescue", rescue)), threat=EPS, batch_size=3)
    assert attacked == X[:6].flatten().tolist()
    assert record.find("rescue").correct == record.clean


def test_no_attack_is_believed(threshold: nn.Module, new_attack: NewAttack) -> None:
    with pytest.raises(AttackFault):
        evaluate(threshold, X, Y, suite=a_suite(cheat=new_attack("cheat", lambda m, x, y: x - 0.2)), threat=EPS)


def test_required_attacks_are_added_and_count(threshold: nn.Module, new_attack: NewAttack) -> None:
    base = a_suite(still=new_attack("still", lambda model, x, y: x))
    record = evaluate(threshold, X, Y, suite=base, threat=EPS, required=(fgsm(), PGD(steps=2)))
    assert [a.name for a in record.attacks] == ["still", "adaptive-1", "adaptive-2"]
    assert record.find("still").correct == record.clean
    assert record.worst.point == 2 / 8  # FGSM moves every image towards the threshold
    assert record.find("adaptive-1").attack["steps"] == 1


def test_all_wrong_is_judged_too(threshold: nn.Module) -> None:
    record = evaluate(threshold, X[:6], 1 - Y[:6], suite=PAPER, threat=EPS)
    assert record.accuracy.point == record.worst.point == 0
    assert all(result.correct.hits == 0 for result in record.attacks)


def test_a_cascade_attacks_what_is_left_and_comes_to_the_same_worst_case(threshold: nn.Module, new_attack: NewAttack) -> None:
    base = ups_and_downs(new_attack)
    apart = evaluate(threshold, X, Y, suite=base, threat=EPS)
    record = evaluate(threshold, X, Y, suite=base.model_copy(update={"cascade": True}), threat=EPS)
    assert [a.attacked for a in apart.attacks] == [6, 6, 6]
    assert [a.attacked for a in record.attacks] == [6, 4, 2]  # "far" is unbounded: it sees what is left and takes nothing away
    assert record.find("up").correct == record.find("up").correct & record.find("down").correct
    assert record.worst_flags == apart.worst_flags
    assert record.find("up").success(record.clean).point == 2 / 4


def test_a_larger_ball_is_a_control_and_no_worst_case(threshold: nn.Module) -> None:
    chosen = Suite(
        name="toy", entries=(Entry(name="near", attack=fgsm(), radius=0.1), Entry(name="wide", attack=fgsm(), radius=5))
    )
    record = evaluate(threshold, X, Y, suite=chosen, threat=EPS)
    assert record.find("wide").mean_linf == pytest.approx(0.5, abs=1e-6)
    assert (record.find("near").correct.hits, record.find("wide").correct.hits) == (6, 0)
    assert record.worst_flags == record.find("near").correct


class Shifted(nn.Module):
    """The threshold at 0.3 instead of 0.5: its gradient is as good, and every image below 0.5 has another class there."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1)[:, 0] - 0.3
        return torch.stack([-score, score], 1)


def test_what_is_crafted_on_a_substitute_is_judged_on_the_model(threshold: nn.Module) -> None:
    chosen = Suite(
        name="toy", entries=tuple(Entry(name=name, attack=fgsm(), substitute=name) for name in ("shifted", "not there"))
    )
    record = evaluate(threshold, X, Y, suite=chosen, threat=EPS, substitutes={"shifted": Shifted()})
    assert [a.name for a in record.attacks] == ["shifted"]
    t, f = True, False
    assert record.worst_flags.values == (f, f, t, f, f, t, f, f)
    assert evaluate(threshold, X, Y, suite=chosen, threat=EPS).attacks == ()


def test_the_cost_counts_images(threshold: nn.Module) -> None:
    record = evaluate(threshold, X, Y, suite=a_suite(pgd=PGD(steps=3), noise=UniformNoise()), threat=EPS, batch_size=4)
    pgd, noise = record.attacks
    assert (pgd.forwards, pgd.backwards) == (3 * 6, 3 * 6)  # six images are right clean; the judging is not counted
    assert (noise.forwards, noise.backwards) == (0, 0)


BAD = {
    "no images": (X[:0], Y[:0], "no images"),
    "uint8": ((X * 255).to(torch.uint8), Y, "images must be a floating-point"),
    "nan": (X * torch.nan, Y, "NaN"),
    "range": (X * 255, Y, "must lie in"),
    "too few labels": (X, Y[:3], "labels"),
    "float labels": (X, Y.float(), "labels"),
    "labels beyond the classes": (X, Y + 1, "0 to 1; found 1 to 2"),
    "negative labels": (X, Y - 1, "labels"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_named(fault: str, threshold: nn.Module) -> None:
    x, y, says = BAD[fault]
    with pytest.raises(InvalidInput, match=says):
        evaluate(threshold, x, y, suite=QUICK, threat=EPS)


def test_a_model_that_returns_no_logits_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"logits \[N, K\]"):
        evaluate(lambda x: x.flatten(1).sum(1), X, Y, suite=QUICK, threat=EPS)


def test_labels_of_another_integer_type(threshold: nn.Module) -> None:
    first, second = (evaluate(threshold, X, y, suite=QUICK, threat=EPS) for y in (Y, Y.to(torch.uint8)))
    assert plain(first) == plain(second)


@pytest.mark.parametrize("as_function", [False, True])
def test_without_neurons_there_are_no_rules(as_function: bool, threshold: nn.Module) -> None:
    model = threshold.forward if as_function else threshold
    record = evaluate(model, X, Y, suite=PAPER, threat=EPS)
    names = ["fgsm", "rfgsm", "bim-7", "pgd-7", "pgd-10", "pgd-20", "pgd-40", "cw", "gaussian", "uniform"]
    assert [a.name for a in record.attacks] == names
    assert {a.rule for a in record.attacks} == {"own", ""}
    assert record.find("pgd-40").accuracy.point == 2 / 8


# --- what must not matter -------------------------------------------------------------------------------------------


def plain(record: Record) -> Record:
    """Without the clock."""
    attacks = tuple(replace(a, seconds=0.0) for a in record.attacks)
    return replace(record, attacks=attacks, provenance=replace(record.provenance, created=""))


def rounded(record: Record) -> list[tuple[object, ...]]:
    return [(a.name, a.correct, round(a.mean_linf, 9), round(a.mean_l2, 9), a.zero_gradient_share) for a in record.attacks]


def some_test_images(faked: Dataset, n: int = 32) -> tuple[Tensor, Tensor]:
    return faked.test.pixels(torch.arange(n)), faked.test.labels[:n]


def test_the_batch_size_does_not_matter(trained: nn.Module, faked: Dataset) -> None:
    model = copy.deepcopy(trained).double()
    x, y = some_test_images(faked)
    records = [evaluate(model, x.double(), y, suite=PAPER, threat=Linf(eps=0.13), batch_size=b) for b in (5, 32)]
    assert rounded(records[0]) == rounded(records[1])
    assert records[0].worst_flags == records[1].worst_flags
    assert 0 < records[0].worst.point < records[0].accuracy.point


def test_judging_leaves_the_model_and_the_generators_alone(trained: nn.Module, faked: Dataset) -> None:
    model = copy.deepcopy(trained).train()
    state = {name: t.clone() for name, t in model.state_dict().items()}
    generator = torch.get_rng_state()
    evaluate(model, *some_test_images(faked, 8), suite=QUICK, threat=Linf(eps=0.2))
    assert all(m.training for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


def test_two_surrogates_of_one_rule_are_told_apart(trained: nn.Module, faked: Dataset) -> None:
    blind = BPTT(surrogate=Triangle(gamma=1e-9))
    two = Suite(
        name="two",
        entries=tuple(
            Entry(name=f"fgsm-{i}", attack=fgsm(gradient=InputGradient(rule=rule))) for i, rule in enumerate((BPTT(), blind))
        ),
    )
    record = evaluate(trained, *some_test_images(faked), suite=two, threat=Linf(eps=0.2))
    assert record.find("fgsm-0").zero_gradient_share < 0.5
    assert record.find("fgsm-1").zero_gradient_share == 1
    assert record.find("fgsm-0").rule != record.find("fgsm-1").rule
    assert record.find("fgsm-1").mean_linf == 0


class Trembling(nn.Module):
    """A random model, whose verdicts are those of the model within."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + 1e-6 * torch.rand(len(x), 2)


@pytest.mark.parametrize(
    ("random", "early", "sizes"),
    [
        (False, True, [4] * 4 + [4] * 4 + [4] * 2 + [4, 4, 2]),  # 16 images at once, then the last 4
        (False, False, [4, 4, 4] * 5),
        (True, True, [4, 4, 2] * 5),
    ],
    ids=["refilled", "nobody leaves", "random"],
)
def test_batches_that_thin_out_are_refilled(threshold: nn.Module, random: bool, early: bool, sizes: list[int]) -> None:
    model = Trembling(threshold) if random else threshold
    x = torch.full((20, 1, 1, 1), 0.9)
    x[::2] = 0.55  # lost at the first step
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])) if torch.is_grad_enabled() else None)
    attack = PGD(steps=3, step_size=0.1, random_start=False, early_stop=early)
    asked: dict[str, Any] = {"suite": a_suite(pgd=attack), "threat": Linf(eps=0.3), "batch_size": 4}
    record = evaluate(model, x, torch.ones(20, dtype=torch.int64), **asked)
    assert record.worst_flags.hits == 10
    assert seen[-len(sizes) :] == sizes  # before them, the probes


# --- interruption ---------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.model(x)


def interrupt_after(batches: int) -> Callable[[Progress], None]:
    left = [batches]

    def report(progress: Progress) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return report


def test_an_interrupted_evaluation_goes_on_where_it_was(trained: nn.Module, faked: Dataset, tmp_path: Path) -> None:
    model = Counting(trained)
    asked: dict[str, Any] = {"suite": QUICK, "threat": Linf(eps=0.2), "batch_size": 2, "seed": 1}
    x, y = some_test_images(faked)
    whole = evaluate(model, x, y, **asked)
    calls_of_all, model.calls = model.calls, 0
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, x, y, partial=tmp_path, report=interrupt_after(70), **asked)
    assert len(list(tmp_path.iterdir())) == 1
    model.calls = 0
    reports: list[Progress] = []
    resumed = evaluate(model, x, y, partial=tmp_path, report=reports.append, **asked)
    assert plain(resumed) == plain(whole)
    assert len(reports) == 72  # PGD twice in 4 times 4 batches, the others one by one; the first 70 were there already
    assert (reports[0].attack, reports[0].done, reports[0].total) == ("fgsm/bptt", 2, 32)
    assert (reports[-1].attack, reports[-1].done, reports[-1].total) == ("apgd-dlr-50/assg", 32, 32)
    assert reports[-1].worst == whole.worst
    assert all(later.worst.point <= now.worst.point for now, later in itertools.pairwise(reports))
    assert model.calls < 0.7 * calls_of_all
    assert len(list(tmp_path.iterdir())) == 1  # until the record is safe


def test_finished_batches_are_not_attacked_again_and_nothing_else_reuses_them(
    threshold: nn.Module, new_attack: NewAttack, tmp_path: Path
) -> None:
    attacked: list[int] = []

    def down(model: object, x: Tensor, y: Tensor) -> Tensor:
        attacked.append(len(x))
        return x - 0.1

    chosen = a_suite(one=new_attack("one", down), two=new_attack("two", down))
    asked: dict[str, Any] = {"suite": chosen, "threat": EPS, "batch_size": 2, "seed": 0, "partial": tmp_path}

    def run(model: Any = threshold, x: Tensor = X, y: Tensor = Y, batches: int = 0, **other: Any) -> int:
        """Attacked batches of a run that is interrupted after `batches`, if any."""
        attacked.clear()
        if batches:
            with pytest.raises(KeyboardInterrupt):
                evaluate(model, x, y, report=interrupt_after(batches), **(asked | other))
        else:
            evaluate(model, x, y, **(asked | other))
        return len(attacked)

    assert run(batches=2) == 2
    # Everything that could change a verdict starts anew (six batches hold images that are right clean).
    assert run(seed=1) == 6
    assert run(threat=Linf(eps=0.11)) == 6
    assert run(batch_size=3) == 4
    assert run(suite=a_suite(two=chosen.entries[1].attack, one=chosen.entries[0].attack)) == 6
    assert run(x=X + 1e-3) == 6
    assert run(model=lambda x: 2 * threshold(x)) == 6
    assert run(y=torch.tensor([1, 1, 1, 0, 0, 0, 1, 1])) == 8
    # And the interrupted one is still there.
    assert run() == 4


def test_the_same_weights_in_another_network_are_another_model(faked: Dataset, tmp_path: Path) -> None:
    x, _ = some_test_images(faked, 8)
    y: list[Tensor] = []

    def judged(steps: int, partial: Path | None, report: Any = None) -> Record:
        model = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=steps, mean=[0.5], std=[0.1], seed=1)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 3.0)
        everything = a_suite(noise=fgsm())
        y.append(predict(model, x).argmax(1))  # what the first one says, so that it has something to attack
        return evaluate(model, x, y[0], suite=everything, threat=Linf(eps=0.3), partial=partial, report=report)

    with pytest.raises(KeyboardInterrupt):
        judged(1, tmp_path, interrupt_after(1))
    assert plain(judged(4, tmp_path)) == plain(judged(4, None))
    assert len(list(tmp_path.iterdir())) == 2  # one for each network


# --- suspicions -----------------------------------------------------------------------------------------------------


def codes(record: Record) -> set[str]:
    return {suspicion.code for suspicion in record.suspicions}


def test_a_healthy_network_raises_no_suspicion(trained: nn.Module, faked: Dataset) -> None:
    x, y = some_test_images(faked, 64)
    record = evaluate(trained, x, y, suite=QUICK, threat=Linf(eps=0.05), batch_size=64)
    assert record.accuracy.point > 0.9
    assert codes(record) == set()
    assert not record.stochastic
    assert all(a.draws == a.eval_draws == 1 for a in record.attacks)
    assert all(a.zero_gradient_share == 0 for a in record.attacks)
    assert {a.rule for a in record.attacks} == {"bptt", "rate", "assg"}


def test_a_dead_network_has_no_gradient() -> None:
    model = build("vgg4-tiny", classes=2, image_shape=(1, 8, 8), steps=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, -100.0)
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    record = evaluate(model, x, torch.zeros(8, dtype=torch.int64), suite=QUICK, threat=EPS)
    assert "zero-gradient" in codes(record)
    assert {s.measured for s in record.suspicions if s.code == "zero-gradient"} == {1.0}
    assert len([s for s in record.suspicions if s.code == "zero-gradient"]) == 2  # under both rules


def test_a_model_that_cuts_the_graph_has_no_gradient(threshold: nn.Module) -> None:
    record = evaluate(lambda x: threshold((x > 0.5).float()), X, Y, suite=QUICK, threat=EPS)
    assert codes(record) == {"zero-gradient", "loss-stays"}
    assert record.find("fgsm").correct == record.clean  # and so it looks robust


def test_a_rule_that_moves_the_forward_pass(trained: nn.Module, faked: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GradientRule, "_members", dict(GradientRule.members()))

    class Moves(GradientRule, kind="moves"):
        def spikes(self, current, *, steps, dynamics, surrogate, watch=None, noise=None, leak=None, inside=()):
            spikes, seen = fused(current, steps=steps, surrogate=surrogate, watch=watch, noise=noise, **dynamics.constants())
            return spikes * (1 + 1e-3), seen

    chosen = a_suite(fgsm=fgsm(gradient=InputGradient(rule=Moves())), own=fgsm(gradient=InputGradient(rule=RateGradient())))
    record = evaluate(trained, *some_test_images(faked, 8), suite=chosen, threat=EPS)
    [found] = [s for s in record.suspicions if s.code == "forward-differs"]
    assert "moves" in found.message
    assert found.measured > 0


def test_fgsm_better_than_pgd() -> None:
    def trap(x: Tensor) -> Tensor:
        """The gradient leads to a peak at 0.005 and back to it, but the wrong class begins only at 0.095."""
        d = x.flatten(1)[:, 0] - 0.5
        wrong = torch.where(d > 0.095, 10 + d, -(d - 0.005).abs())
        return torch.stack([torch.ones_like(d), wrong], 1)

    x = torch.full((40, 1, 1, 1), 0.5) + torch.linspace(0, 1e-4, 40).reshape(-1, 1, 1, 1)
    record = evaluate(trap, x, torch.zeros(40, dtype=torch.int64), suite=PAPER, threat=EPS)
    assert record.find("fgsm").accuracy.point == 0
    assert record.find("bim-7").accuracy.point == 1
    assert "fgsm-beats-pgd" in codes(record)


def test_another_rule_is_stronger_than_the_training_surrogate(trained: nn.Module, faked: Dataset) -> None:
    masked = copy.deepcopy(trained)
    for neuron in neurons_of(masked).values():
        neuron.settings = neuron.settings.model_copy(update={"surrogate": Sigmoid(alpha=500.0)})
    record = evaluate(masked, *some_test_images(faked, 64), suite=QUICK, threat=Linf(eps=0.2), batch_size=64)
    assert "other-rule-stronger" in codes(record)
    assert record.find("pgd-10/rate").accuracy.point < record.find("pgd-10/bptt").accuracy.point


@pytest.mark.parametrize("settings", [{"encoder": Poisson()}, {"neuron": nlif(sigma=0.3, inference_noise=True)}], ids=str)
def test_a_random_model_is_noticed_and_judged_with_ten_draws(settings: dict[str, Any], faked: Dataset) -> None:
    model = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=2, mean=[0.5], std=[0.2], seed=1, **settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3.0)
    x, y = some_test_images(faked, 8)
    one = a_suite(fgsm=fgsm())
    many = a_suite(fgsm=fgsm(gradient=InputGradient(draws=4)))
    record = evaluate(model, x, y, suite=one, threat=EPS)
    assert record.stochastic
    assert record.attacks[0].eval_draws == 10
    assert "one-draw" in codes(record)
    assert plain(evaluate(model, x, y, suite=one, threat=EPS)) == plain(record)  # and repeatably so
    better = evaluate(model, x, y, suite=many, threat=EPS, eval_draws=3)
    assert better.attacks[0].draws == 4
    assert better.attacks[0].eval_draws == 3
    assert "one-draw" not in codes(better)


def test_the_verdict_of_a_random_model_is_that_of_the_mean_logits() -> None:
    class Coin(nn.Module):
        """Wrong in one of ten draws by little, right in the others: right on average, whatever a single draw says."""

        def forward(self, x: Tensor) -> Tensor:
            noise = torch.rand(len(x), 1)
            return torch.cat([noise * 0 + 0.4, noise], 1)

    x = torch.rand(50, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    single = evaluate(Coin(), x, torch.ones(50, dtype=torch.int64), suite=a_suite(), threat=EPS, eval_draws=1)
    mean = evaluate(Coin(), x, torch.ones(50, dtype=torch.int64), suite=a_suite(), threat=EPS, eval_draws=400)
    assert single.stochastic
    assert 0.35 < single.accuracy.point < 0.85  # each draw is right with probability 0.6
    assert mean.accuracy.point == 1  # the mean of the noise is 0.5 +- 0.015
