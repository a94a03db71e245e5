"""Recipes and runs: what is trained, and the folder that it leaves."""

from .judge import judge
from .recipe import Recipe, get, names, overridden, read, recipe
from .run import Run, build, open_run, start, train

__all__ = [
    "Recipe",
    "Run",
    "build",
    "get",
    "judge",
    "names",
    "open_run",
    "overridden",
    "read",
    "recipe",
    "start",
    "train",
]
