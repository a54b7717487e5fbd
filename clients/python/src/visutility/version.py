"""The version of this package, which the server sees in the User-Agent."""

__version__ = "0.1.0"
