"""The serial number of an Ogg stream (RFC 3533), which encoders draw at random.

Two runs of one command must give one file, so it is put to a fixed value afterwards. Ogg's checksum
is linear: what it changes by follows from the changed bytes and how many follow them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

SERIAL = 1
_HEAD, _SERIAL, _CHECKSUM = 27, slice(14, 18), slice(22, 26)
_POLYNOMIAL = 0x104C11DB7  # of degree 32


def fix_serial(path: Path) -> None:
    """Give every page of a file with one stream the serial number 1, and its checksum."""
    with path.open("r+b") as file:
        start = 0
        while head := file.read(_HEAD):
            if len(head) < _HEAD or head[:4] != b"OggS":
                raise ValueError(f"{path} is no Ogg file at byte {start}")
            size = _HEAD + head[26] + sum(file.read(head[26]))
            wanted = SERIAL.to_bytes(4, "little")
            # bytes come with their highest bit first, numbers of the head with their lowest byte
            change = int.from_bytes(head[_SERIAL], "big") ^ int.from_bytes(wanted, "big")
            checksum = int.from_bytes(head[_CHECKSUM], "little")
            checksum ^= _multiply(change, _power(8 * (size - _SERIAL.stop) + 32))
            file.seek(start + _SERIAL.start)
            file.write(wanted)
            file.seek(start + _CHECKSUM.start)
            file.write(checksum.to_bytes(4, "little"))
            start += size
            file.seek(start)


def _multiply(a: int, b: int) -> int:
    """Product of two polynomials over GF(2), modulo Ogg's."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a >> 32:
            a ^= _POLYNOMIAL
        b >>= 1
    return product


@lru_cache(maxsize=4096)
def _power(exponent: int) -> int:
    """x to the `exponent`, modulo Ogg's polynomial."""
    result, base = 1, 2
    while exponent:
        if exponent & 1:
            result = _multiply(result, base)
        base = _multiply(base, base)
        exponent >>= 1
    return result
