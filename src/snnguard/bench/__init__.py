"""How fast this machine trains and attacks spiking networks, beside the floor and beside other libraries."""

from .contestants import CONTESTANTS, Contestant, contestants, floor
from .measure import alternate, peak_memory
from .speed import Case, Row, measure, measure_memory
from .table import markdown

__all__ = [
    "CONTESTANTS",
    "Case",
    "Contestant",
    "Row",
    "alternate",
    "contestants",
    "floor",
    "markdown",
    "measure",
    "measure_memory",
    "peak_memory",
]
