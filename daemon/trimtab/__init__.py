"""Trimtab: per request, pick which compressed variant of a network runs on which processor."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("trimtab")
except PackageNotFoundError:  # a source tree that is on the path but not installed
    __version__ = "0+uninstalled"
