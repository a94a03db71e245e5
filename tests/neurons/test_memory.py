"""The memory of a gradient rule: each sample keeps what is its own, whichever others are still there."""

import pytest
import torch

from snnguard.errors import RequestError
from snnguard.neurons import Memory


def test_rows_are_read_and_written_alone() -> None:
    memory, like = Memory(4), torch.zeros(2, 4, 3)
    assert torch.equal(memory.about(None).recall("a", like, start=1.5), torch.full((2, 4, 3), 1.5))
    rows = torch.tensor([3, 1])
    memory.about(rows).keep("a", torch.arange(12.0).reshape(2, 2, 3), start=-1)
    everyone = memory.about(None).recall("a", like, start=0)
    assert torch.equal(everyone[:, rows], torch.arange(12.0).reshape(2, 2, 3))
    assert (everyone[:, [0, 2]] == -1).all()
    assert torch.equal(memory.about(torch.tensor([1])).recall("a", like[:, :1], start=0), everyone[:, [1]])
    assert torch.equal(memory.recall("another", like[:, :1], start=7), torch.full((2, 1, 3), 7.0))


def test_a_call_that_does_not_learn_changes_nothing() -> None:
    memory = Memory(1)
    memory.about(None).keep("a", torch.ones(1, 1, 1), start=0)
    memory.about(None, learns=False).keep("a", torch.zeros(1, 1, 1), start=0)
    assert float(memory.recall("a", torch.zeros(1, 1, 1), start=5)) == 1


def test_rows_seen_later_begin_at_the_start_and_keep_the_memory_order() -> None:
    memory = Memory(3)
    value = torch.arange(2.0 * 2 * 3 * 4 * 4).reshape(4, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    value = value.unflatten(0, (2, 2))
    memory.about(torch.tensor([2, 0])).keep("a", value, start=5)
    everyone = memory.about(None).recall("a", torch.zeros(2, 3, 3, 4, 4), start=0)
    assert (everyone[:, 1] == 5).all()
    assert torch.equal(everyone[:, [2, 0]], value)
    assert everyone.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    part = memory.about(torch.tensor([1, 2])).recall("a", value, start=0)
    assert part.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_all_rows_in_order_are_everyone() -> None:
    memory, value = Memory(3), torch.arange(3.0).reshape(1, 3, 1)
    assert memory.about(torch.arange(3)).rows is None
    memory.keep("a", value, start=0)
    assert memory.about(torch.tensor([2, 1, 0])).recall("a", value, start=0).flatten().tolist() == [2, 1, 0]
    assert memory.about(torch.arange(2)).recall("a", value[:, :2], start=0).flatten().tolist() == [0, 1]


def test_a_layer_that_sees_another_batch_is_refused() -> None:
    for rows in (None, torch.tensor([1])):
        with pytest.raises(RequestError, match="a neuron saw 5 rows"):
            Memory(2).about(rows).recall("a", torch.zeros(1, 5, 1), start=0)
