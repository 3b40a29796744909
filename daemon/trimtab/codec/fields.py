"""Whole numbers of variable length, and strings of bytes, in a row; reading has a limit for each."""

from trimtab.codec.errors import CodecError

GROUP_BITS = 7
MOST_GROUPS = 8


class Writer:
    """Collects fields."""

    def __init__(self) -> None:
        self._body = bytearray()

    def number(self, value: int) -> None:
        """Add a number of 0 or more, seven bits a byte, low ones first (LEB128)."""
        while value >> GROUP_BITS:
            self._body.append(value & 0x7F | 0x80)
            value >>= GROUP_BITS
        self._body.append(value)

    def signed(self, value: int) -> None:
        """Add a number of either sign: 0, -1, 1, -2 ... are stored as 0, 1, 2, 3 ..."""
        self.number(value << 1 if value >= 0 else (-value << 1) - 1)

    def data(self, value: bytes) -> None:
        """Add bytes after their number."""
        self.number(len(value))
        self._body += value

    def body(self) -> bytes:
        """Return everything added."""
        return bytes(self._body)


class Reader:
    """Reads fields in order; every error names ``where``."""

    def __init__(self, body: bytes, where: str) -> None:
        self._body = body
        self._at = 0
        self.where = where

    def number(self, most: int, what: str, least: int = 0) -> int:
        """Return the next number, within ``least..most``; raise ``CodecError``."""
        value = 0
        for group in range(MOST_GROUPS):
            byte = self._take(1, what)[0]
            value |= (byte & 0x7F) << GROUP_BITS * group
            if byte < 0x80:
                break
        else:
            raise CodecError(f"{self.where}: {what} is too long a number")
        if byte == 0 and group:
            raise CodecError(f"{self.where}: {what} is not written in the shortest way")
        if not least <= value <= most:
            raise CodecError(f"{self.where}: {what} is {value}; expected {least} to {most}")
        return value

    def signed(self, most: int, what: str) -> int:
        """Return the next signed number, within ``-most..most``; raise ``CodecError``."""
        value = self.number(2 * most, what)
        return -((value + 1) >> 1) if value & 1 else value >> 1

    def data(self, most: int, what: str) -> bytes:
        """Return the next bytes, at most ``most``; raise ``CodecError``."""
        return self._take(self.number(most, f"length of {what}"), what)

    def end(self) -> None:
        """Raise ``CodecError`` unless everything was read."""
        if self._at != len(self._body):
            raise CodecError(f"{self.where}: {len(self._body) - self._at} bytes too many")

    def _take(self, count: int, what: str) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) < count:
            raise CodecError(f"{self.where}: ends inside {what}")
        self._at += count
        return taken
