"""Work over processes: what one piece does to the others."""

import os
import time
from pathlib import Path

from snnguard.errors import RequestError
from snnguard.recipes import pool


def leave(folder: Path, name: str, how: str) -> None:
    """A piece of work that ends well, or fails, or takes its process with it."""
    time.sleep(0.2)
    if how == "dies":
        os._exit(137)
    if how == "fails":
        raise RequestError("that was wrong")
    if how == "breaks":
        raise ZeroDivisionError("nobody thought of that")
    (folder / name).touch()


def test_failures_and_deaths_are_named_and_the_others_end_well(tmp_path: Path) -> None:
    ends = {"a": "well", "b": "dies", "c": "fails", "d": "well", "e": "breaks", "f": "well"}
    said: list[tuple[str, int, int]] = []
    failed = pool.run(
        leave, {name: (tmp_path, name, how) for name, how in ends.items()}, jobs=2,
        report=lambda name, what, done, total: said.append((name, done, total)),
    )  # fmt: skip
    assert failed.keys() == {"b", "c", "e"}
    assert failed["c"] == "that was wrong"
    assert failed["e"] == "ZeroDivisionError: nobody thought of that"
    assert "its process died" in failed["b"]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "d", "f"}
    assert sorted(name for name, _, _ in said) == sorted(ends)
    assert [(done, total) for _, done, total in said] == [(i, 6) for i in range(1, 7)]
