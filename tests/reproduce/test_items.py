"""Tables and figures: the declared grids against the numbers that the papers print, and the claims against the grids."""

import csv
from importlib.resources import files

import pytest

from snnguard import reproduce
from snnguard.errors import UnknownName
from snnguard.reproduce import Item, Pair, published
from snnguard.reproduce.item import Cell, Setting, ahead, falling

ITEMS = [reproduce.get(name) for name in reproduce.names()]
WANTED = {
    *(f"mpd-sgr/table-{name}" for name in ("1", "2", "3", "4", "5", "s1", "s2", "s3")),
    *(f"mpd-sgr/figure-{name}" for name in ("2", "3", "s2", "s3", "s4", "s5", "s6")),
    *(f"tgo/{name}" for name in ("table-main", "table-ablation", "table-advanced", "figure-proximal", "figure-landscape")),
}


def printed() -> dict[str, set[tuple[str, ...]]]:
    """What the files hold, by table, read without the library's own reader."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for paper in ("mpd-sgr", "tgo"):
        text = files("snnguard.reproduce").joinpath(f"published/{paper}.csv").read_text()
        for row in csv.DictReader(text.splitlines()):
            found.setdefault(f"{paper}/table-{row['table']}", set()).add(tuple(row[field] for field in published.FIELDS))
    return found


def test_every_table_and_figure_is_there() -> None:
    assert set(reproduce.names()) == WANTED


def test_the_grids_are_the_printed_tables_no_cell_more_and_none_less() -> None:
    declared = {item.name: {published.key(cell) for cell in item.cells} for item in ITEMS}
    for name, cells in printed().items():
        assert declared[name] == cells, name
    assert sum(map(len, printed().values())) == 584


@pytest.mark.parametrize(
    ("table", "dataset", "training", "method", "attack", "accuracy"),
    [
        ("mpd-sgr/table-1", "cifar10", "vanilla", "mpd-sgr", "pgd7", 20.55),
        ("mpd-sgr/table-1", "cifar100", "adversarial", "sr", "clean", 61.26),
        ("tgo/table-main", "cifar10", "vanilla", "tgo", "pgd40", 0.45),
        ("mpd-sgr/table-3", "cifar100", "vanilla", "mpd-sgr", "gaussian0.1", 53.01),
    ],
)
def test_numbers_of_the_papers(table: str, dataset: str, training: str, method: str, attack: str, accuracy: float) -> None:
    item = reproduce.get(table)
    [found] = [
        published.accuracy(item, cell) for cell in item.cells
        if cell.attack == attack
        and (cell.setting.dataset, cell.setting.training, cell.setting.method) == (dataset, training, method)
    ]  # fmt: skip
    assert found == accuracy


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_claims_speak_of_cells_of_their_table(item: Item) -> None:
    assert item.claims
    cells = set(item.cells)
    assert len(cells) == len(item.cells)
    for claim in item.claims:
        assert claim.pairs, claim.text
        for pair in claim.pairs:
            sides = [side for side in (pair.more, pair.less) if isinstance(side, Cell)]
            assert sides
            assert set(sides) <= cells
            assert pair.more != pair.less


@pytest.mark.parametrize(
    "name", ["mpd-sgr/table-1", "tgo/table-main", "mpd-sgr/table-3", "tgo/table-ablation", "mpd-sgr/table-5"]
)
def test_the_papers_own_numbers_bear_out_what_they_claim(name: str) -> None:
    """A claim that the paper's table contradicts would be one that we misread."""
    item = reproduce.get(name)
    pairs = [pair for claim in item.claims for pair in claim.pairs]
    against = [pair for pair in pairs if _number(item, pair.more) <= _number(item, pair.less)]
    assert not against


def _number(item: Item, side: Cell | float) -> float:
    if not isinstance(side, Cell):
        return side
    found = published.accuracy(item, side)
    assert found is not None
    return found


def network(method: str, training: str = "vanilla") -> Setting:
    return Setting(dataset="d", network="n", steps=4, training=training, method=method)


def test_ahead_pairs_each_better_one_with_every_equal_other() -> None:
    cells = [
        Cell(setting=network(m, t), attack=a) for t in ("vanilla", "at") for m in ("x", "y", "z") for a in ("fgsm", "pgd7")
    ]
    pairs = ahead(cells, lambda s: s.method == "x", ("fgsm",), by=("method",))
    expected = {(t, other) for t in ("vanilla", "at") for other in ("y", "z")}
    assert {
        (p.more.setting.training, p.less.setting.method) for p in pairs if isinstance(p.more, Cell) and isinstance(p.less, Cell)
    } == expected
    assert len(pairs) == 4
    assert all(isinstance(p.more, Cell) and p.more.setting.method == "x" and p.more.attack == "fgsm" for p in pairs)


def test_falling_pairs_neighbours_of_one_network() -> None:
    cells = [Cell(setting=network(m), attack=a) for m in ("x", "y") for a in ("clean", "pgd1", "pgd2", "pgd4")]
    pairs = falling(cells, ["pgd1", "pgd2", "pgd4"])
    assert len(pairs) == 4
    assert Pair(Cell(setting=network("x"), attack="pgd1"), Cell(setting=network("x"), attack="pgd2"), never_less=True) in pairs


def test_a_table_that_does_not_exist_is_said() -> None:
    with pytest.raises(UnknownName, match="did you mean 'mpd-sgr/table-1'"):
        reproduce.get("mpd-sgr/table1")
