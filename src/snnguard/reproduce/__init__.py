"""Every table and figure of the two papers: declared grids, the papers' numbers beside ours, verdicts on the papers' claims.

item.py       what a table is; mpd_sgr.py and tgo.py are the tables, published.py the papers' numbers
scale.py      from a network of a paper to the recipe that stands for it
measure.py    from a column to an attack or a reading; landscape.py is one of those
plan.py       from tables to jobs; job.py is one network, grid.py and cluster.py do many, estimate.py says what they cost
verdict.py    whether a claim holds; outcome.py is the finished table
"""

from . import published, scale
from .estimate import Estimate, estimate
from .grid import train_and_judge
from .item import Cell, Claim, Item, Pair, Setting, get, names
from .job import Job, Judgement, adopt
from .outcome import Outcome, column, labels, markdown, outcome, write
from .plan import Chosen, Request, choose, jobs
from .scale import SCALES, Scale

__all__ = [
    "SCALES",
    "Cell",
    "Chosen",
    "Claim",
    "Estimate",
    "Item",
    "Job",
    "Judgement",
    "Outcome",
    "Pair",
    "Request",
    "Scale",
    "Setting",
    "adopt",
    "choose",
    "column",
    "estimate",
    "get",
    "jobs",
    "labels",
    "markdown",
    "names",
    "outcome",
    "published",
    "scale",
    "train_and_judge",
    "write",
]
