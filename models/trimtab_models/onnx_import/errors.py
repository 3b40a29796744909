"""Why an ONNX network cannot be imported."""

from trimtab_models.errors import FoundryError


class ImportFailure(FoundryError):  # noqa: N818  ImportError means something else
    """A network or its samples cannot be used; the text names file, tensor or node, and the reason."""


class NotMade(FoundryError):  # noqa: N818  a reason, not a fault
    """A variant cannot be made of this network, or is not worth having; the text says why."""
