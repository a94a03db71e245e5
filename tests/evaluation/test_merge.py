"""Shards: the parts are the whole."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from snnguard.data import Dataset
from snnguard.errors import RequestError
from snnguard.evaluation import Shard, evaluate, gather, merged, suite
from snnguard.record import AttackResult, Flags, Record
from snnguard.threat import Linf


def shards(model: nn.Module, faked: Dataset, of: int, name: str = "paper") -> list[Record]:
    x, y = faked.test.pixels(torch.arange(30)).double(), faked.test.labels[:30]
    parts = []
    for index in range(of):
        record = evaluate(model, x[index::of], y[index::of], suite=suite(name), threat=Linf(eps=0.13), batch_size=7)
        parts.append(replace(record, notes={"shard": {"index": index, "of": of}} if of > 1 else {}))
    return parts


def test_four_shards_are_one_evaluation(trained: nn.Module, faked: Dataset) -> None:
    model = trained.double()
    [whole], parts = shards(model, faked, 1), shards(model, faked, 4)
    record = merged(parts[::-1])
    assert record.clean == whole.clean
    assert [a.correct for a in record.attacks] == [a.correct for a in whole.attacks]
    assert record.worst == whole.worst
    assert 0 < record.worst.point < record.accuracy.point
    for ours, theirs in zip(record.attacks, whole.attacks, strict=True):
        assert (ours.attacked, ours.forwards, ours.backwards) == (theirs.attacked, theirs.forwards, theirs.backwards)
        assert ours.mean_l2 == pytest.approx(theirs.mean_l2)
    assert {s.code for s in record.suspicions} == {s.code for s in whole.suspicions}
    for rule in ("bptt", "rate"):
        name = f"zero-gradient/{rule}"
        assert record.measures[name] == pytest.approx(whole.measures[name])
    assert record.notes == {}
    assert Record.from_json(record.to_json()) == record


def test_what_is_no_whole_is_refused(trained: nn.Module, faked: Dataset) -> None:
    parts = shards(trained, faked, 2, "quick")
    with pytest.raises(RequestError, match="each of the 2 shards once; found 0"):
        merged(parts[:1])
    with pytest.raises(RequestError, match="found 1, 1"):
        merged([parts[1], parts[1]])
    with pytest.raises(RequestError, match="whole evaluation"):
        merged([parts[0], replace(parts[1], notes={})])
    with pytest.raises(RequestError, match="whole evaluation"):
        merged([])
    with pytest.raises(RequestError, match="differ in threat"):
        merged([parts[0], replace(parts[1], threat=Linf(eps=0.2).to_json())])
    other = replace(parts[1], provenance=replace(parts[1].provenance, weights="others"))
    with pytest.raises(RequestError, match="differ in weights"):
        merged([parts[0], other])


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "a/b", "1/0", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="a shard is i/n"):
        Shard.parse(text)
    assert Shard.parse("3/4") == Shard(index=3, of=4)


def part(index: int, stands: str, **measures: float) -> Record:
    """The record of one of two shards, by hand; all are right clean."""
    flags = Flags(tuple(c == "1" for c in stands))
    result = AttackResult(
        name="pgd/bptt", attack={"bounded": True}, rule="bptt", correct=flags, seed=0, seconds=1.0, attacked=len(flags),
        zero_gradient_share=measures["zero_gradient__bptt"], mean_linf=float(index),
    )  # fmt: skip
    return Record(
        name="toy", threat={}, suite="toy", labels=(), clean=Flags((True,) * len(flags)), attacks=(result,), suspicions=(),
        provenance=replace(gather(seed=0), data=f"images, shard {index}/2"),
        measures={name.replace("__", "/").replace("_", "-"): value for name, value in measures.items()},
        notes={"shard": {"index": index, "of": 2}, "kept": 1},
    )  # fmt: skip


def test_shares_are_averaged_and_of_gaps_the_largest_stays() -> None:
    one = part(0, "101", zero_gradient__bptt=0.0, state_gap=0.0, gradient_stops__body=1.0)
    other = part(1, "10", zero_gradient__bptt=0.5, state_gap=0.0015)
    record = merged([other, one])
    assert record.measures == {
        "zero-gradient/bptt": pytest.approx(0.2), "state-gap": 0.0015, "gradient-stops/body": pytest.approx(0.6),
    }  # fmt: skip
    [result] = record.attacks
    assert result.correct.values == (True, True, False, False, True)
    assert result.zero_gradient_share == record.measures["zero-gradient/bptt"]
    assert (result.mean_linf, result.attacked, result.seconds) == (pytest.approx(0.4), 5, 2)
    assert {s.code for s in record.suspicions} == {"state-leaks", "zero-gradient", "gradient-stops"}
    assert (record.provenance.data, record.notes) == ("images", {"kept": 1})


def test_shards_of_other_images_are_no_whole() -> None:
    one, other = part(0, "1", zero_gradient__bptt=0.0), part(1, "1", zero_gradient__bptt=0.0)
    other = replace(other, provenance=replace(other.provenance, data="others, shard 1/2"))
    with pytest.raises(RequestError, match="differ in data"):
        merged([one, other])
