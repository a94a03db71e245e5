"""Evaluation: the judge, its suites and its suspicions. It never imports a defense."""

from .certify import Certificates, certified, certified_accuracy, certify, smoothing_sigma, standing, vote
from .evaluate import Progress, evaluate
from .exhibits import curve, pictures, png, to_image
from .provenance import gather
from .suite import Entry, Suite
from .suites import paper, quick, suite

__all__ = [
    "Certificates",
    "Entry",
    "Progress",
    "Suite",
    "certified",
    "certified_accuracy",
    "certify",
    "curve",
    "evaluate",
    "gather",
    "paper",
    "pictures",
    "png",
    "quick",
    "smoothing_sigma",
    "standing",
    "suite",
    "to_image",
    "vote",
]
