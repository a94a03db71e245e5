"""Files, folders and hub names: what is read, what is refused and how, what is cached."""

import shutil
import socket
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

from snnguard.cache import folder as folder_of_caches
from snnguard.data import decode, hub
from snnguard.errors import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def hub_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub that holds the folder as revision "abc"; `state["error"]` takes it offline."""
    state: dict[str, Any] = {"error": None, "loads": []}
    files = {name: str(folder / f"{name}.parquet") for name in ("train", "test")}
    parts = {name: datasets.Dataset.from_parquet(file, cache_dir=str(folder / "x")) for name, file in files.items()}

    class Info:
        sha = "abc"

    def dataset_info(self: object, name: str, *, timeout: float) -> Info:
        if state["error"]:
            raise state["error"]
        return Info()

    def load_dataset(path: str, **options: Any) -> Any:
        state["loads"].append((path, options))
        if state["error"]:
            raise ConnectionError("Couldn't reach it")
        return parts

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return state


def test_parquet_pixels_and_labels(folder: Path, encode: Any) -> None:
    source = hub.read(str(folder))
    assert list(source.splits) == ["train", "test"]
    train = source.splits["train"]
    assert train.images.shape == (20, 3, 8, 8)
    assert train.labels.tolist() == [i % 4 for i in range(20)]
    expected, _ = decode._open(encode(3), "here")
    assert torch.equal(train.images[3], torch.from_numpy(expected.copy()).permute(2, 0, 1))
    assert (source.names, source.lossy) == ((), False)


def test_hub_layout_columns_and_own_validation(tmp_path: Path, write: Any) -> None:
    for i, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-0-of-1", "valid-0-of-1")):
        write(tmp_path / "a [b]*" / "data" / f"{name}.parquet", 6, image="image", label="fine_label", start=10 * i)
    (tmp_path / "a [b]*" / "data" / "._train.parquet").write_bytes(b"left by a file manager")
    source = hub.read(str(tmp_path / "a [b]*"))
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 12, "test": 6, "validation": 6}


def test_validation_alone_serves_as_test(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "train" / "0.parquet")
    write(tmp_path / "valid" / "0.parquet", 5)
    assert len(hub.read(str(tmp_path)).splits["test"]) == 5


def test_class_names_come_from_the_file(tmp_path: Path, encode: Any) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"img": [{"bytes": encode(i), "path": None} for i in range(4)], "label": [0, 1, 0, 1]}
    for name in ("train", "test"):
        table = datasets.Dataset.from_dict(rows, features=features)
        pyarrow.parquet.write_table(table.data.table, tmp_path / f"{name}.parquet")
    source = hub.read(str(tmp_path))
    assert source.names == ("cat", "dog")
    assert source.splits["test"].labels.tolist() == [0, 1, 0, 1]


def test_image_folder(tmp_path: Path, encode: Any) -> None:
    for split in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            (tmp_path / "x *" / split / name).mkdir(parents=True)
            for i in range(3):
                (tmp_path / "x *" / split / name / f"{i}.png").write_bytes(encode(10 * k + i, "L"))
    source = hub.read(str(tmp_path / "x *"))
    assert source.names == ("cat", "dog")
    assert source.splits["train"].images.shape == (6, 1, 8, 8)
    assert source.splits["test"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    (tmp_path / "x *" / "test" / "eel").mkdir()
    with pytest.raises(DataError, match="test has the classes eel, train has not"):
        hub.read(str(tmp_path / "x *"))
    shutil.rmtree(tmp_path / "x *" / "test" / "eel")
    (tmp_path / "x *" / "train" / "dog" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train split: the image in row 4 is damaged"):
        hub.read(str(tmp_path / "x *"))


def test_gray_and_colour(tmp_path: Path, write: Any, encode: Any) -> None:
    write(tmp_path / "train.parquet", images=[encode(i, "L") for i in range(4)])
    write(tmp_path / "test.parquet", images=[encode(9, "L"), encode(8, "RGBA")])
    source = hub.read(str(tmp_path))
    train, test = source.splits["train"].images, source.splits["test"].images
    assert train.shape == (4, 3, 8, 8)
    assert torch.equal(train[:, 0], train[:, 2])
    assert torch.equal(test[0, 0], test[0, 1])
    assert not torch.equal(test[1, 0], test[1, 1])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (("size",), r"row 2 is 9x8 \(height x width\), the first is 8x8"),
        (("bytes",), "row 2 is damaged or no image"),
        (("cut",), "row 2 is damaged or no image"),
        (("none",), "row 2 is missing"),
        (("deep",), "mode 'I;16'; convert it to 8 bits"),
    ],
)
def test_bad_images_name_their_row(tmp_path: Path, write: Any, encode: Any, broken: Any, message: str) -> None:
    bad = {
        "size": encode(0, size=(9, 8)),
        "bytes": b"hello",
        "cut": encode(0, size=(8, 8))[:-60],
        "none": None,
        "deep": encode(0, "I;16"),
    }[broken[0]]
    write(tmp_path / "train.parquet", images=[encode(0), encode(1), bad])
    write(tmp_path / "test.parquet", 3)
    with pytest.raises(DataError, match=f"train split: the image in .*{message}"):
        hub.read(str(tmp_path))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, -1], "label -1 in row 2 is negative"),
        ([0, None, 1], "row 1 has no label"),
        ([0.0, 1.0, float("nan")], "row 2 has no label"),
        ([0.0, 0.5, 1.0], "label 0.5 in row 1 is no whole number"),
        (["cat", "dog", "cat"], "label 'cat' in row 0 is no whole number"),
    ],
)
def test_bad_labels_name_their_row(tmp_path: Path, write: Any, labels: list[Any], message: str) -> None:
    write(tmp_path / "train.parquet", 3, labels=labels)
    write(tmp_path / "test.parquet", 3, labels=labels)
    with pytest.raises(DataError, match=f"train split: {message}"):
        hub.read(str(tmp_path))


def test_missing_parts(tmp_path: Path, write: Any) -> None:
    with pytest.raises(DataError, match=r"no file or folder .*nowhere"):
        hub.read(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no train split; found nothing"):
        hub.read(str(tmp_path))
    file = write(tmp_path / "train.parquet")
    for path in (tmp_path, file):
        with pytest.raises(DataError, match="has no test split; found train"):
            hub.read(str(path))
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    (tmp_path / "pictures" / "test").mkdir()
    with pytest.raises(DataError, match="train folder has no class folders"):
        hub.read(str(tmp_path / "pictures"))
    write(tmp_path / "test.parquet", label="class")
    write(tmp_path / "train.parquet", label="class")
    with pytest.raises(DataError, match=r"no label column; found img, class; rename .* to label or labels or fine_label"):
        hub.read(str(tmp_path))


def test_damaged_files(folder: Path, write: Any) -> None:
    train = folder / "train.parquet"
    whole = train.read_bytes()
    for data in (b"", whole[: len(whole) // 2]):
        train.write_bytes(data)
        with pytest.raises(DataError, match=r"train.parquet \(\d+ bytes\) is no complete parquet file"):
            hub.read(str(folder))
    train.write_bytes(whole[:4] + bytes(len(whole) - 8) + whole[-4:])
    with pytest.raises(DataError, match=r"no complete parquet file.*fetch it again"):
        hub.read(str(folder))
    body = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # before the footer
    train.write_bytes(whole[:4] + bytes(body - 4) + whole[body:])
    with pytest.raises(DataError, match=r"cannot read .*fetch it again"):
        hub.read(str(folder))
    write(train, 0)
    with pytest.raises(DataError, match=r"train.parquet has columns but not a single image"):
        hub.read(str(folder))


def test_the_cache_is_used_and_renewed(
    folder: Path, cache_folder: Path, write: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = hub.read(str(folder))
    (kept,) = cache_folder.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", None)  # calling it would fail
        again = hub.read(str(folder))
    assert torch.equal(first.splits["test"].images, again.splits["test"].images)
    data = bytearray(kept.read_bytes())
    for damage in (bytes(data[:-100]), b"", bytes(data[:-1]) + bytes([data[-1] ^ 1])):
        kept.write_bytes(damage)
        caplog.clear()
        renewed = hub.read(str(folder))
        assert "ignoring the damaged cache file" in caplog.text
        assert torch.equal(first.splits["train"].images, renewed.splits["train"].images)
        assert kept.read_bytes() == bytes(data)
    write(folder / "test.parquet", 9)
    assert len(hub.read(str(folder)).splits["test"]) == 9
    assert len(list(cache_folder.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SNNGUARD_CACHE", str(tmp_path / "file"))
    assert len(hub.read(str(folder)).splits["test"]) == 8
    assert "not cached" in caplog.text
    monkeypatch.delenv("SNNGUARD_CACHE")
    assert folder_of_caches("data") == Path.home() / ".cache" / "snnguard" / "data"


def test_hub_name_is_cached_by_revision(hub_of: dict[str, Any], cache_folder: Path) -> None:
    first = hub.read("user/set", config="small")
    assert hub_of["loads"] == [("user/set", {"name": "small", "revision": "abc"})]
    assert [file.name for file in cache_folder.iterdir()] == ["user--set--small--abc.safetensors"]
    hub_of["error"] = OSError("no route")
    again = hub.read("user/set", config="small")
    assert torch.equal(first.splits["train"].images, again.splits["train"].images)
    assert len(hub_of["loads"]) == 1


@pytest.mark.parametrize(("error", "loads"), [(OSError("no route"), 0), (OfflineModeIsEnabled("offline mode"), 1)])
def test_no_network_says_what_to_do(hub_of: dict[str, Any], error: OSError, loads: int) -> None:
    hub_of["error"] = error
    with pytest.raises(DataError, match=r"no folder 'user/set' here, and .* hub is out of reach.*give their folder"):
        hub.read("user/set")
    assert len(hub_of["loads"]) == loads


def test_progress_bars_come_back(folder: Path) -> None:
    assert not datasets.are_progress_bars_disabled()
    hub.read(str(folder))
    assert not datasets.are_progress_bars_disabled()


def test_a_name_that_exists_nowhere(hub_of: dict[str, Any]) -> None:
    hub_of["error"] = RepositoryNotFoundError.__new__(RepositoryNotFoundError)  # its constructor wants an HTTP response
    with pytest.raises(DataError, match="no folder 'user/sat' here and no data set 'user/sat' on the Hugging Face hub"):
        hub.read("user/sat")
