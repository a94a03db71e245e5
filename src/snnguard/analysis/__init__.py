"""Analysis of networks: numbers, not pictures."""

from .membranes import histogram, membranes, summary

__all__ = ["histogram", "membranes", "summary"]
