"""The one error of this package."""


class CodecError(Exception):
    """A file cannot be decoded or a network not encoded; the message names section or tensor, and the reason."""
