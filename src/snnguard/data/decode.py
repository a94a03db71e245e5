"""From a table of encoded images and labels to one uint8 tensor and one label tensor."""

import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snnguard.errors import DataError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
BATCH = 1000
GRAY = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "PA", "RGBX")


def columns(table: Any, where: str) -> tuple[str, str]:
    """The names of the image and the label column of a `datasets.Dataset`. Raises `DataError` if one is missing."""
    found = list(table.column_names)
    picked = []
    for what, known in (("image", IMAGE_COLUMNS), ("label", LABEL_COLUMNS)):
        name = next((name for name in known if name in found), None)
        if name is None:
            raise DataError(
                f"{where}: no {what} column; found {', '.join(found) or 'no column at all'}; "
                f"rename the one that holds the {what}s to {' or '.join(known)}"
            )
        picked.append(name)
    return picked[0], picked[1]


def labels(table: Any, column: str, where: str) -> Tensor:
    """int64 [N], all 0 or more. Raises `DataError` with the row that holds anything else."""
    values: list[int] = []
    for batch in _batches(table, column):
        for value in batch:
            row = len(values)
            if value is None or value != value:  # NaN differs from itself
                raise DataError(f"{where}: row {row} has no label ({value!r} in column {column!r}); drop or label it")
            if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
                values.append(int(value))
            else:
                raise DataError(f"{where}: label {value!r} in row {row} is no whole number; number the classes from 0 upwards")
            if values[-1] < 0:
                raise DataError(
                    f"{where}: label {value} in row {row} is negative, which usually marks an unlabelled image; "
                    "labels run from 0 upwards, use a split that has them"
                )
    return torch.tensor(values, dtype=torch.int64)


def images(table: Any, column: str, where: str) -> tuple[Tensor, bool]:
    """uint8 [N, C, H, W], C = 1 if all images are gray, else 3; and whether any of them was a JPEG.

    Raises `DataError` with the row of an image that is missing, damaged, of another size or of more than 8 bits.
    """
    out = np.empty((0, 3, 0, 0), dtype=np.uint8)
    gray, lossy = True, False
    rows = (value for batch in _batches(table, column) for value in batch)
    for row, value in enumerate(rows):
        place = f"{where}: the image in row {row}"
        pixels, encoding = _open(_encoded(value, place), place)
        if row == 0:
            out = np.empty((len(table), 3, *pixels.shape[:2]), dtype=np.uint8)
        if pixels.shape[:2] != out.shape[2:]:
            raise DataError(
                f"{place} is {pixels.shape[0]}x{pixels.shape[1]} (height x width), the first is "
                f"{out.shape[2]}x{out.shape[3]}; bring all images to one size"
            )
        out[row] = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels  # gray: the same in all channels
        gray = gray and pixels.ndim == 2
        lossy = lossy or encoding == "JPEG"
    stacked = torch.from_numpy(out)
    return (stacked[:, :1].clone() if gray else stacked), lossy


def _batches(table: Any, column: str) -> Iterator[Iterable[Any]]:
    """The raw values of a column: in Arrow form, `datasets` neither decodes nor checks them one by one."""
    for batch in table.select_columns([column]).with_format("arrow").iter(batch_size=BATCH):
        yield batch[column].to_pylist()


def _encoded(value: Any, place: str) -> bytes:
    """The file content of an image given as bytes, as {bytes, path} or by its path alone."""
    inside = value.get("bytes") if isinstance(value, dict) else value
    path = value.get("path") if isinstance(value, dict) else None
    if inside is None and path:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise DataError(f"{place} cannot be read from {path}: {error.strerror or error}") from None
    if not isinstance(inside, bytes):
        raise DataError(f"{place} is missing: expected the bytes of an image file, found {type(inside).__name__}")
    return inside


def _open(data: bytes, place: str) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], str]:
    """Pixels [H, W] or [H, W, 3] and the name of the format."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in GRAY + COLOUR:
                raise DataError(f"{place} has pixels of mode {image.mode!r}; convert it to 8 bits per channel")
            encoding = image.format or ""
            if image.mode not in ("L", "RGB"):
                through = image.convert("RGBA") if image.mode in ("P", "PA") else image  # for palettes with transparency
                return np.asarray(through.convert("L" if image.mode in GRAY else "RGB")), encoding
            return np.asarray(image), encoding
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"{place} is damaged or no image ({error}); replace or remove it") from None
