"""Work over processes: what one piece does to the others."""

from pathlib import Path

from snnguard.recipes import pool

WAIT = "import os, time; time.sleep(0.2)"
ENDS = {
    "well": "open({path!r}, 'w').close()",
    "dies": "os._exit(137)",
    "fails": "from snnguard.errors import RequestError\nraise RequestError('that was wrong')",
    "breaks": "1 / 0",
}


def test_failures_and_deaths_are_named_and_the_others_end_well(tmp_path: Path) -> None:
    ends = {"a": "well", "b": "dies", "c": "fails", "d": "well", "e": "breaks", "f": "well"}
    said: list[tuple[str, int, int]] = []
    work = {name: (f"{WAIT}\n{ENDS[how].format(path=str(tmp_path / name))}",) for name, how in ends.items()}
    failed = pool.run(
        exec, work, jobs=2,
        report=lambda name, what, done, total: said.append((name, done, total)),
    )  # fmt: skip
    assert failed.keys() == {"b", "c", "e"}
    assert failed["c"] == "that was wrong"
    assert failed["e"] == "ZeroDivisionError: division by zero"
    assert "its process died" in failed["b"]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "d", "f"}
    assert sorted(name for name, _, _ in said) == sorted(ends)
    assert [(done, total) for _, done, total in said] == [(i, 6) for i in range(1, 7)]
