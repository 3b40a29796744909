"""Errors a user of the foundry can act on."""


class FoundryError(Exception):
    """Base of all errors raised on purpose while building a family."""


class DefinitionError(FoundryError):
    """A family definition cannot be used; the text names file, line and field."""


class DatasetError(FoundryError):
    """A dataset is missing or damaged; the text says how to get it."""


class MissingBuildExtra(FoundryError):  # noqa: N818  reads as what it is
    """The packages of the ``build`` extra are not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"building a family needs {package!r}: pip install 'trimtab[build]'")
