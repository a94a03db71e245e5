"""Evaluation: the judge, its suites and its suspicions. It never imports a defense."""

from .evaluate import evaluate
from .exhibits import curve, pictures, png, to_image
from .provenance import gather
from .suite import Entry, Suite, paper, quick, suite

__all__ = ["Entry", "Suite", "curve", "evaluate", "gather", "paper", "pictures", "png", "quick", "suite", "to_image"]
