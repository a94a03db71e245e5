"""Recipes and runs: what is trained, and the folder that it leaves."""

from .certified import Certified, certify
from .judge import judge
from .recipe import Recipe, get, names, overridden, read, recipe
from .run import Run, build, open_run, start, train
from .substitute import substitute, substitutes

__all__ = [
    "Certified",
    "Recipe",
    "Run",
    "build",
    "certify",
    "get",
    "judge",
    "names",
    "open_run",
    "overridden",
    "read",
    "recipe",
    "start",
    "substitute",
    "substitutes",
    "train",
]
