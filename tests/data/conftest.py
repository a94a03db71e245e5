"""Small data sets on disk, in the layouts that people have."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

Encode = Callable[..., bytes]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("SNNGUARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def encode() -> Encode:
    """encode(seed, mode="RGB", size=(8, 8), format="PNG") -> an image file of random pixels; size is (H, W)."""

    def make(seed: int, mode: str = "RGB", size: tuple[int, int] = (8, 8), format: str = "PNG") -> bytes:
        channels = {"L": (), "RGB": (3,), "RGBA": (4,), "I;16": ()}[mode]
        kind = np.uint16 if mode == "I;16" else np.uint8
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels)).astype(kind)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format)
        return stream.getvalue()

    return make


@pytest.fixture
def write(encode: Encode) -> Write:
    """write(path, n=20, images=[...], labels=[...], image="img", label="label") -> the parquet file."""

    def make(
        path: Path,
        n: int = 20,
        *,
        images: Sequence[Any] | None = None,
        labels: Sequence[Any] | None = None,
        image: str = "img",
        label: str = "label",
        start: int = 0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = [encode(start + i) for i in range(n)] if images is None else images
        rows = [{"bytes": e, "path": f"{i}.png"} if isinstance(e, bytes) else e for i, e in enumerate(encoded)]
        form = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        numbers = [i % 4 for i in range(len(rows))] if labels is None else labels
        kind = pyarrow.array(numbers) if numbers else pyarrow.array([], pyarrow.int64())
        table = pyarrow.table({image: pyarrow.array(rows, form), label: kind})
        pyarrow.parquet.write_table(table, path)
        return path

    return make


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    """A folder with train.parquet (20 images) and test.parquet (8), classes 0 to 3."""
    write(tmp_path / "set" / "train.parquet")
    write(tmp_path / "set" / "test.parquet", 8, start=100)
    return tmp_path / "set"
