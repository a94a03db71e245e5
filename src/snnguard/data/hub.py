"""Images through Hugging Face `datasets`: a parquet file or folder, an image folder, or a name on the hub.

What is decoded lands in a cache of its own (see `cache`), keyed by the names, sizes and times of the source files or by
the revision on the hub. `datasets` and its like are imported on first use: they take a second.
"""

import glob
import hashlib
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from snnguard.cache import folder as cache_folder
from snnguard.errors import DataError

from . import cache, decode
from .cache import Source
from .dataset import Split

V = TypeVar("V")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
TIMEOUT = 10.0
log = logging.getLogger(__name__)


def read(name: str, *, config: str | None = None) -> Source:
    """The decoded splits of a local path or of a hub name such as "user/set"; `config` is for the hub only.

    A path that exists, or that cannot be a hub name, is never looked up on the network. Raises `DataError`.
    """
    path = Path(name).expanduser()
    if path.exists() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return _read_local(path)
    return _read_hub(name, config)


def _read_local(path: Path) -> Source:
    if not path.exists():
        raise DataError(f"no file or folder {path}; give the folder that holds train.parquet and test.parquet")
    try:
        kind, files = _layout(path)
        kept = cache_folder("data") / f"{path.stem}-{_key(path, files)}.safetensors"
    except OSError as error:
        raise DataError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
    source = cache.restore(kept)
    if source is None:
        with tempfile.TemporaryDirectory(prefix="snnguard-") as scratch:
            escaped = {split: [glob.escape(str(file)) for file in found] for split, found in files.items()}
            if kind == "imagefolder":
                escaped = {split: [f"{folder}/**" for folder in found] for split, found in escaped.items()}
            options = {"drop_labels": False} if kind == "imagefolder" else {}
            source = _decode(_load(str(path), kind, data_files=escaped, cache_dir=scratch, **options), str(path))
        cache.store(kept, source)
    return source


def _read_hub(name: str, config: str | None) -> Source:
    from huggingface_hub.errors import OfflineModeIsEnabled

    stem = "--".join((*name.split("/"), config or "default"))
    revision: str | None = None
    kept: Path | None = None
    try:
        revision = _revision(name)
        kept = cache_folder("data") / f"{stem}--{revision}.safetensors"
    except ConnectionError as error:
        copies = cache_folder("data").glob(f"{glob.escape(stem)}--*.safetensors")
        kept = max(copies, key=lambda copy: copy.stat().st_mtime, default=None)
        if kept:
            log.warning("the hub is out of reach; using the copy of %s that was decoded last", name)
        elif not isinstance(error.__cause__, OfflineModeIsEnabled):  # offline on purpose: `datasets` may have a copy
            raise DataError(_unreachable(name, str(error))) from error
    source = cache.restore(kept) if kept else None
    if source is None:
        source = _decode(_load(name, name, name=config, revision=revision), name)
        if kept and revision:
            cache.store(kept, source)
    return source


def _revision(name: str) -> str:
    """The commit of a data set on the hub. Raises `DataError` if there is none, `ConnectionError` if out of reach."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return str(HfApi().dataset_info(name, timeout=TIMEOUT).sha)
    except RepositoryNotFoundError:
        raise DataError(
            f"there is no folder {name!r} here and no data set {name!r} on the Hugging Face hub (or it is private); "
            "check the spelling"
        ) from None
    except Exception as error:  # the hub's client changed its HTTP library, and so the type of this error, twice
        raise ConnectionError(str(error).partition("\n")[0]) from error


def _load(asked: str, kind: str, **options: Any) -> Mapping[str, Any]:
    """`datasets.load_dataset` without bars; whatever it raises becomes a `DataError` with the first cause."""
    import datasets

    try:
        with _quiet():
            found: Mapping[str, Any] = datasets.load_dataset(kind, **options)
            return found
    except ConnectionError as error:
        raise DataError(_unreachable(asked, str(error))) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError, TypeError, RuntimeError) as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        why = str(first).strip().partition("\n")[0] or type(first).__name__
        raise DataError(f"cannot read {asked}: {why} (a file may be damaged: fetch it again)") from error


def _decode(tables: Mapping[str, Any], asked: str) -> Source:
    splits: dict[str, Split] = {}
    names: tuple[str, ...] = ()
    lossy = False
    for name, table in _pick({split: [table] for split, table in tables.items()}, asked).items():
        where = f"{asked}, {name} split"
        image, label = decode.columns(table[0], where)
        if len(table[0]) == 0:
            raise DataError(f"{where} has not a single image; fetch or make it again")
        known = getattr(table[0].features[label], "names", None)
        names = tuple(known) if known and not names else names
        numbers = decode.labels(table[0], label, where)  # first, because it is fast and often at fault
        pixels, jpeg = decode.images(table[0], image, where)
        splits[name], lossy = Split(pixels, numbers), lossy or jpeg
    channels = max(split.images.shape[1] for split in splits.values())
    for name, split in splits.items():  # gray images beside coloured ones
        if split.images.shape[1] < channels:
            splits[name] = Split(split.images.expand(-1, channels, -1, -1).contiguous(), split.labels)
    return Source(splits=splits, names=names, lossy=lossy)


def _layout(path: Path) -> tuple[str, dict[str, list[Path]]]:
    """ "parquet" with the files of each split, or "imagefolder" with its folder."""
    parquet = [path] if path.is_file() else _visible(path, "*.parquet")
    for file in parquet:
        _check(file)
    if parquet:
        return "parquet", _pick(_group(parquet, path), str(path))
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir()]
    found = _pick(_group(folders, path), str(path))
    classes = {split: {f.name for folder in group for f in folder.iterdir() if f.is_dir()} for split, group in found.items()}
    for split, names in classes.items():
        if not names:
            raise DataError(f"{path}: the {split} folder has no class folders; put the images into {split}/CLASS/")
        if names - classes["train"]:
            raise DataError(
                f"{path}: {split} has the classes {', '.join(sorted(names - classes['train']))}, train has not; "
                "give both the same class folders"
            )
    return "imagefolder", found


def _check(file: Path) -> None:
    """Raises `DataError` for a parquet file that is truncated, of another format or empty."""
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        rows = pyarrow.parquet.read_metadata(file).num_rows
    except PermissionError:
        raise
    except (OSError, pyarrow.ArrowInvalid) as error:
        why = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{file} ({file.stat().st_size} bytes) is no complete parquet file, it is truncated or of another format "
            f"({why}); fetch it again"
        ) from error
    if rows == 0:
        raise DataError(f"{file} has columns but not a single image; fetch or make it again")


def _group(paths: list[Path], root: Path) -> dict[str, list[Path]]:
    """Paths by the split that their own name, or else the nearest folder below `root`, tells."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        parts = path.relative_to(root).parts or (path.name,)
        words = [word for part in reversed(parts) for word in re.split(r"[^a-z]+", part.lower())]
        split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), path.stem)
        groups.setdefault(split, []).append(path)
    return groups


def _pick(found: Mapping[str, list[V]], asked: str) -> dict[str, list[V]]:
    """The parts called train, test and, beside a test, validation; a validation part alone serves as test."""
    named: dict[str, list[V]] = {}
    for name, part in found.items():
        named.setdefault(SPLIT_WORDS.get(name.lower(), name), []).extend(part)
    if "test" not in named and "validation" in named:
        named["test"] = named.pop("validation")
    for needed in ("train", "test"):
        if needed not in named:
            raise DataError(
                f"{asked} has no {needed} split; found {', '.join(sorted(found)) or 'nothing'}; it needs files, "
                "folders or splits called train and test (or validation)"
            )
    return {name: named[name] for name in ("train", "test", "validation") if name in named}


def _key(root: Path, groups: Mapping[str, list[Path]]) -> str:
    """16 hex digits of the names, sizes and modification times of all source files."""
    digest = hashlib.blake2b(digest_size=8)
    for split, paths in sorted(groups.items()):
        for path in paths:
            for file in _visible(path, "*") if path.is_dir() else [path]:
                facts = file.stat()
                digest.update(f"{split}|{file.relative_to(root)}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _visible(root: Path, pattern: str) -> list[Path]:
    """The files below `root` whose path below it has no part that starts with a dot, sorted."""
    files = (file for file in root.rglob(pattern) if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts))


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of `datasets` inside the block."""
    import datasets

    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def _unreachable(name: str, why: str) -> str:
    return (
        f"there is no folder {name!r} here, and the Hugging Face hub is out of reach ({why}); connect to the network, "
        "or fetch the parquet files elsewhere and give their folder as path"
    )
