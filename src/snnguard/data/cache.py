"""Decoded splits, in memory and as safetensors files, so that images are decoded once."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from snnguard.errors import RequestError
from snnguard.record import write_atomic

from .dataset import Split, fingerprint

VERSION = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """The splits `train`, `test` and perhaps `validation` as they lie in the source.

    `names` are the class names if the source gives any; `lossy` says that at least one image was a JPEG.
    """

    splits: dict[str, Split]
    names: tuple[str, ...]
    lossy: bool


def store(path: Path, source: Source) -> None:
    """Writes the decoded splits, all or nothing; a cache that cannot be written is logged and costs only time."""
    tensors = _tensors(source)
    facts = {"names": source.names, "lossy": source.lossy, "digest": fingerprint(tensors.values()), "version": VERSION}
    try:
        write_atomic(path, save(tensors, metadata={"snnguard": json.dumps(facts)}))
    except RequestError as error:
        log.warning("the decoded images are not cached: %s", error)


def restore(path: Path) -> Source | None:
    """The splits that `store` wrote, or None if the file is missing, of another version or damaged (logged)."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["snnguard"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        names = dict.fromkeys(name.split(".")[0] for name in tensors)
        splits = {name: Split(tensors[f"{name}.images"], tensors[f"{name}.labels"]) for name in names}
        source = Source(splits=splits, names=tuple(facts["names"]), lossy=facts["lossy"])
        if facts["version"] != VERSION or facts["digest"] != fingerprint(_tensors(source).values()):
            raise ValueError("its content is not what was written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        log.warning("ignoring the damaged cache file %s (%s); decoding again", path, error)
        return None
    return source


def _tensors(source: Source) -> dict[str, Tensor]:
    parts = {}
    for name, split in sorted(source.splits.items()):
        parts[f"{name}.images"] = split.images.contiguous()
        parts[f"{name}.labels"] = split.labels.contiguous()
    return parts
