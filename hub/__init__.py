"""omnihub: one conversation per customer across channels."""

__version__ = "0.1.0"
