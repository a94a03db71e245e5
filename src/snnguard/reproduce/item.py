"""What a table or figure of a paper consists of: networks, measured in columns; and what the paper claims of them."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from snnguard.choice import discover, unknown
from snnguard.errors import UnknownName

BPTT, BPTR = "bptt", "bptr"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One network of a paper, in the paper's words. `steps` None and an empty `surrogate` are what the paper does not state.

    `training` is how its images are crafted: vanilla, adversarial (MPD-SGR's AT), at, rat. `eta` is MPD-SGR's coefficient
    where a figure varies it.
    """

    dataset: str
    network: str
    steps: int | None
    training: str
    method: str
    surrogate: str = "triangle"
    encoding: str = "direct"
    eta: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number: a network under one attack (or "clean", or a reading of its membranes), by one attacker's gradient."""

    setting: Setting
    attack: str
    gradient: str = BPTT


@dataclass(frozen=True)
class Pair:
    """Part of a claim: `more` is larger than `less`, a cell or a number. With `never_less` equal is enough."""

    more: Cell | float
    less: Cell | float
    never_less: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper that says which numbers are larger than which; it holds if every pair does.

    Not `whole` where a request left pairs out: then it may fail, but cannot hold.
    """

    text: str
    source: str
    pairs: tuple[Pair, ...]
    whole: bool = True


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or figure. `name` is PAPER/TABLE; `note` says what had to be decided because the paper is silent."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]
    note: str = ""

    @property
    def paper(self) -> str:
        return self.name.partition("/")[0]

    @property
    def settings(self) -> tuple[Setting, ...]:
        return tuple(dict.fromkeys(cell.setting for cell in self.cells))


_items: dict[str, Callable[[], Item]] = {}


def item(make: Callable[[], Item]) -> Callable[[], Item]:
    """Registers a function without arguments under the name of the item that it returns."""
    _items[make().name] = make
    return make


def names() -> list[str]:
    """Every table and figure, as PAPER/TABLE."""
    discover(__name__.rpartition(".")[0])
    return sorted(_items)


def get(name: str) -> Item:
    """The table or figure called `name`. Raises `UnknownName` with the nearest names."""
    if name not in names():
        raise UnknownName(unknown("table or figure", name, names()))
    return _items[name]()


def grid(settings: Iterable[Setting], attacks: Sequence[str], gradients: Sequence[str] = (BPTT,)) -> tuple[Cell, ...]:
    """Every setting clean, and under every attack by every gradient. Clean accuracy has no attacker; it stands with BPTT."""
    cells = []
    for setting in settings:
        cells.append(Cell(setting=setting, attack="clean"))
        cells += [Cell(setting=setting, attack=a, gradient=g) for g in gradients for a in attacks]
    return tuple(cells)


def ahead(
    cells: Sequence[Cell], better: Callable[[Setting], bool], attacks: Sequence[str], *, by: Sequence[str]
) -> tuple[Pair, ...]:  # fmt: skip
    """Pairs that say: under `attacks`, a `better` network is ahead of every other that equals it but for the fields `by`."""
    pairs = []
    for one in cells:
        for other in cells:
            alike = (one.attack, one.gradient) == (other.attack, other.gradient) and one.attack in attacks
            if alike and better(one.setting) and not better(other.setting) and _equal(one.setting, other.setting, by):
                pairs.append(Pair(one, other))
    return tuple(pairs)


def falling(cells: Sequence[Cell], attacks: Sequence[str]) -> tuple[Pair, ...]:
    """Pairs that say: no network gains from one of `attacks` to the next."""
    found = {(cell.setting, cell.gradient, cell.attack): cell for cell in cells}
    places = dict.fromkeys((cell.setting, cell.gradient) for cell in cells if cell.attack != "clean")
    steps = [(place, now, after) for place in places for now, after in itertools.pairwise(attacks)]
    return tuple(
        Pair(found[(*place, now)], found[(*place, after)], never_less=True)
        for place, now, after in steps
        if (*place, now) in found and (*place, after) in found
    )


def _equal(one: Setting, other: Setting, by: Sequence[str]) -> bool:
    return all(getattr(one, field) == getattr(other, field) for field in vars(one) if field not in by)
