"""Train and apply a handwritten-digit classifier."""

__version__ = "0.2.0.dev0"
