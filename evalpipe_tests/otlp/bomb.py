"""A small body that inflates to a large one."""

import zlib

_BLOCK = 16 * 1024 * 1024


def gzip_of_zeros(n_bytes: int) -> bytes:
    """The start of a gzip stream of zeros, a thousandth of their size: one deflated block over and over."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = deflate.compress(bytes(_BLOCK)) + deflate.flush(zlib.Z_FULL_FLUSH)
    again = deflate.compress(bytes(_BLOCK)) + deflate.flush(zlib.Z_FULL_FLUSH)  # without the header of the stream
    return first + again * (n_bytes // _BLOCK - 1)
