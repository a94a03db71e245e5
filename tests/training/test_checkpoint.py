"""Tensors on disk: nothing but what was written ever comes back."""

import errno
import json
import os
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snnguard.errors import CheckpointError, RequestError
from snnguard.training import load_weights, read_tensors, write_tensors
from snnguard.training.checkpoint import pack_optimiser, previous, read_latest, unpack_optimiser

CARD = {"step": 12, "lines": [{"loss": 0.5}], "note": "é"}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "body.weight": torch.randn(3, 2, generator=generator),
        "body.bias": torch.zeros(3),
        "count": torch.tensor(7),
        "half": torch.randn(2, generator=generator).bfloat16(),
    }


@pytest.fixture
def path(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    write_tensors(tmp_path / "a.safetensors", tensors, CARD)
    return tmp_path / "a.safetensors"


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[k].dtype == other[k].dtype and torch.equal(one[k], other[k]) for k in one)


def test_round_trip(path: Path, tensors: dict[str, Tensor]) -> None:
    found, card = read_tensors(path)
    assert same(found, tensors)
    assert {k: v for k, v in card.items() if k != "sha256"} == CARD
    assert re.fullmatch("[0-9a-f]{64}", card["sha256"])


def test_channels_last_and_transposed_tensors_come_back_as_values(tmp_path: Path) -> None:
    given = {"a": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), "b": torch.randn(2, 3).T}
    write_tensors(tmp_path / "a.safetensors", given, {})
    assert same(read_tensors(tmp_path / "a.safetensors")[0], given)


def test_the_checksum_is_that_of_the_tensors_alone(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    one = write_tensors(tmp_path / "a.safetensors", tensors, CARD)
    assert one == write_tensors(tmp_path / "b.safetensors", tensors, {"step": 13})
    tensors["body.bias"][0] = 1e-30
    assert one != write_tensors(tmp_path / "c.safetensors", tensors, CARD)


def test_every_flipped_byte_is_noticed(path: Path, tensors: dict[str, Tensor]) -> None:
    """Each byte of the file, header and data, changed in three ways: an error, or (in padding) the same content."""
    whole = path.read_bytes()
    draw = random.Random(0)
    passed = 0
    for place in range(len(whole)):
        for flip in {1, 1 << draw.randrange(8), draw.randrange(1, 256)}:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                found, card = read_tensors(path)
            except CheckpointError:
                continue
            else:
                passed += 1
                assert same(found, tensors), f"byte {place} ^ {flip} changed the tensors unnoticed"
                assert card == CARD | {"sha256": card["sha256"]}, f"byte {place} ^ {flip} changed the card unnoticed"
    assert passed < 10


def test_a_changed_type_or_card_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for old, new in ((b'"F32","shape":[3,2]', b'"I32","shape":[3,2]'), (b'step\\": 12', b'step\\": 13')):
        assert whole.count(old) == 1
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(CheckpointError, match="damaged"):
            read_tensors(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_or_empty_file_is_damaged(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged or half-written"):
        read_tensors(path)


def test_a_longer_file_is_damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointError):
        read_tensors(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_tensors(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"card": "{}"}, {"sha256": "0"}, {"format": "pt"}])
def test_a_foreign_file_has_no_card(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CheckpointError, match="not written by SNNGuard"):
        read_tensors(tmp_path / "a.safetensors")


def test_no_pickle_is_read(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "b.safetensors").write_bytes(b"")
    torch.save({"a": torch.zeros(2)}, tmp_path / "c.safetensors")
    for name in "abc":
        with pytest.raises(CheckpointError):
            read_tensors(tmp_path / f"{name}.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_a_file_of_the_first_version_is_still_read(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    checksum = write_tensors(tmp_path / "a.safetensors", tensors, CARD)
    save_file(tensors, tmp_path / "old.safetensors", {"card": json.dumps(CARD), "sha256": checksum})
    assert same(read_tensors(tmp_path / "old.safetensors")[0], tensors)


class TestLoading:
    def model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

    def changed(self, **changes: Tensor | None) -> dict[str, Tensor]:
        state = {k: v + 1 for k, v in self.model().state_dict().items()} | {k.replace("_", "."): v for k, v in changes.items()}
        return {k: v for k, v in state.items() if v is not None}

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"0_weight": None}, r"missing: 0\.weight"),
            ({"2_weight": torch.zeros(1)}, r"not in this network: 2\.weight"),
            ({"0_weight": torch.zeros(3, 4)}, r"of another shape: 0\.weight \(3, 4\) instead of \(3, 2\)"),
            ({"0_weight": torch.zeros(2, 3)}, r"of another shape"),
            ({"0_bias": None, "x": torch.zeros(1), "1_bias": torch.zeros(4)}, r"missing: 0\.bias; not in this network: x; of"),
        ],
    )
    def test_what_does_not_fit_is_named_and_nothing_is_loaded(self, changes: dict[str, Tensor | None], said: str) -> None:
        model = self.model()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=said) as caught:
            load_weights(model, self.changed(**changes), Path("runs/x/model.safetensors"))
        assert "runs/x/model.safetensors belongs to another network" in str(caught.value)
        assert "nothing was loaded" in str(caught.value)
        assert same(before, model.state_dict())

    def test_what_fits_is_loaded_in_place(self) -> None:
        model = self.model()
        weight = model[0].weight
        load_weights(model, self.changed(), Path("x"))
        assert same(model.state_dict(), self.changed())
        assert model[0].weight is weight


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_optimiser_state_comes_back(kind: Callable[..., torch.optim.Optimizer], tmp_path: Path) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        more = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return model, kind(model.parameters(), lr=0.1, **more)

    def step(model: nn.Module, optimiser: torch.optim.Optimizer, count: int) -> None:
        for i in range(count):
            optimiser.zero_grad()
            model(torch.full((1, 3), 1.0 + i)).square().sum().backward()
            optimiser.step()

    with torch.random.fork_rng():
        one, first = make()
        step(one, first, 3)
        write_tensors(tmp_path / "a.safetensors", pack_optimiser(first), {})
        other, second = make()
        other.load_state_dict(one.state_dict())
        unpack_optimiser(second, read_tensors(tmp_path / "a.safetensors")[0])
        step(one, first, 2)
        step(other, second, 2)
    assert same(one.state_dict(), other.state_dict())


class TestPredecessors:
    def write(self, path: Path, value: int) -> None:
        write_tensors(path, {"a": torch.tensor(value)}, {"step": value}, keep_previous=True)

    def test_the_newest_and_the_one_before(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        assert read_latest(path) is None
        for value in (1, 2, 3):
            self.write(path, value)
        assert read_latest(path)[1]["step"] == 3
        assert read_tensors(previous(path))[1]["step"] == 2
        assert sorted(p.name for p in tmp_path.iterdir()) == ["state.previous.safetensors", "state.safetensors"]

    def test_a_damaged_newest_is_passed_over_and_never_replaces_its_predecessor(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        for value in (1, 2):
            self.write(path, value)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.warns(UserWarning, match=r"is damaged.*Going on from the one before it, state\.previous"):
            assert read_latest(path)[1]["step"] == 1
        self.write(path, 5)
        assert read_tensors(path)[1]["step"] == 5
        assert read_tensors(previous(path))[1]["step"] == 1

    def test_a_missing_newest_is_passed_over_too(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        for value in (1, 2):
            self.write(path, value)
        path.unlink()
        with pytest.warns(UserWarning, match="Going on from the one before it"):
            assert read_latest(path)[1]["step"] == 1

    def test_two_damaged_ones_are_an_error_and_stay_where_they_are(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        for value in (1, 2):
            self.write(path, value)
        path.write_bytes(b"x")
        previous(path).write_bytes(b"y")
        with pytest.raises(CheckpointError, match="damaged"):
            read_latest(path)
        assert path.read_bytes() == b"x"

    def test_one_damaged_one_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        self.write(path, 1)
        path.write_bytes(b"x")
        with pytest.raises(CheckpointError, match="damaged"):
            read_latest(path)

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    @pytest.mark.parametrize("failing", [1, 2])
    def test_a_full_disk_leaves_what_was_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, failing: int
    ) -> None:
        path = tmp_path / "state.safetensors"
        for value in (1, 2):
            self.write(path, value)
        real, calls = getattr(os, call), 0

        def full(*given: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*given)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            if call == "replace":
                patch.setattr(Path, "replace", lambda self, target: full(self, target))
            with pytest.raises(RequestError, match=r"cannot write .*No space left on device.*untouched.*Free some space"):
                self.write(path, 3)
        assert read_tensors(path)[1]["step"] == 2
        assert read_tensors(previous(path))[1]["step"] in (1, 2)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["state.previous.safetensors", "state.safetensors"]
        self.write(path, 4)
        assert read_tensors(path)[1]["step"] == 4
