"""What an interrupted evaluation keeps on disk."""

from pathlib import Path

import pytest
import torch
from torch import nn

from snnguard.errors import RequestError
from snnguard.evaluation.partial import Partial, digest


def test_a_finished_batch_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    result = {"right": [True, False], "linf": 0.1 + 0.2, "l2": 1.0, "seconds": 0.5}
    Partial(folder, "key").put("fgsm", 0, result)
    again = Partial(folder, "key")
    assert again.get("fgsm", 0) == result
    assert again.get("fgsm", 1) is None
    assert again.get("pgd", 0) is None
    assert Partial(folder, "another").get("fgsm", 0) is None


def test_a_half_written_line_is_ignored_and_harms_no_later_one(tmp_path: Path) -> None:
    Partial(tmp_path, "key").put("a", 0, {"right": []})
    [file] = tmp_path.iterdir()
    with file.open("a") as handle:
        handle.write('\n{"attack": "a", "batch": 1, "res')
    broken = Partial(tmp_path, "key")
    assert broken.get("a", 0) == {"right": []}
    assert broken.get("a", 1) is None
    broken.put("a", 2, {"right": [True]})
    assert Partial(tmp_path, "key").get("a", 2) == {"right": [True]}


def test_without_a_folder_nothing_is_kept_on_disk() -> None:
    memory = Partial(None, "key")
    memory.put("a", 0, {"linf": 1.0})
    assert memory.get("a", 0) == {"linf": 1.0}


def test_the_key_knows_weights_evidence_and_request() -> None:
    model, x = nn.BatchNorm1d(3), torch.arange(6.0)
    base = digest(model, [x], ["asked", 1])
    assert digest(model, [x.clone()], ["asked", 1]) == base
    assert digest(model, [x], ["asked", 2]) != base
    assert digest(model, [x.reshape(2, 3)], ["asked", 1]) != base
    assert digest(model, [x.double()], ["asked", 1]) != base
    assert digest(model, [x + 1e-6], ["asked", 1]) != base
    assert digest(len, [x], ["asked", 1]) != base
    model.running_mean[0] = 1e-6
    assert digest(model, [x], ["asked", 1]) != base


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RequestError, match=r"cannot keep finished batches in .*; free some space"):
        Partial(tmp_path / "file", "key").put("pgd", 0, {"right": [True]})
