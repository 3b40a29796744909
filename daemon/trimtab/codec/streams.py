"""The two sections of entropy-coded data, filled and emptied tensor by tensor."""

from trimtab.codec.errors import CodecError
from trimtab.codec.fields import Reader


class Streams:
    """Bytes of ``positions`` and ``codes``."""

    def __init__(self, positions: bytes = b"", codes: bytes = b"") -> None:
        self._bodies = {"positions": bytearray(positions), "codes": bytearray(codes)}
        self._at = {"positions": 0, "codes": 0}

    def add(self, section: str, body: bytes) -> None:
        """Append a tensor's bytes to a section."""
        self._bodies[section] += body

    def body(self, section: str) -> bytes:
        """Return all bytes of a section."""
        return bytes(self._bodies[section])

    def take(self, section: str, model: Reader, name: str) -> bytes:
        """Return the tensor's bytes, whose number ``model`` holds next; raise ``CodecError``."""
        left = len(self._bodies[section]) - self._at[section]
        count = model.number(left, f"bytes in section {section} of tensor {name!r}")
        begin = self._at[section]
        self._at[section] += count
        return bytes(self._bodies[section][begin : begin + count])

    def end(self) -> None:
        """Raise ``CodecError`` unless everything was taken."""
        for section, body in self._bodies.items():
            if self._at[section] != len(body):
                raise CodecError(f"section {section}: {len(body) - self._at[section]} bytes too many")
