"""How fast this machine trains and attacks spiking networks, beside the floor and beside other libraries."""

from .contestants import CONTESTANTS, Contestant, contestants, library_versions
from .measure import alternate, peak_memory, ratio, wait
from .speed import Case, Precision, Row, Work, measure, measure_memory
from .table import markdown, tables

__all__ = [
    "CONTESTANTS",
    "Case",
    "Contestant",
    "Precision",
    "Row",
    "Work",
    "alternate",
    "contestants",
    "library_versions",
    "markdown",
    "measure",
    "measure_memory",
    "peak_memory",
    "ratio",
    "tables",
    "wait",
]
