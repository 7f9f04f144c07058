"""Train and apply a handwritten-digit classifier."""

__version__ = "0.1.0"
