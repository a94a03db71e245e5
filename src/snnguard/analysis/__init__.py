"""Analysis of networks: numbers, not pictures."""

from .membranes import membranes, summary

__all__ = ["membranes", "summary"]
