"""gzip bodies -> the bytes in them, never more than a limit. Receiving and landing must agree on what inflates."""

import io
from gzip import BadGzipFile

from isal.igzip import IGzipFile
from isal.igzip_lib import IsalError

from evalpipe.otlp.values import MalformedError

_CHUNK_BYTES = 1024 * 1024  # one chunk holds nearly every body; asking for the whole limit costs a third more time


class OversizeError(MalformedError):
    """A body holds more than the limit. How much more is not known: inflating stopped there."""


def inflate(body: bytes, max_bytes: int) -> bytes:
    """What gzip members in a row hold together; nothing at all is an empty body.

    Stops at `max_bytes`, so a small body that would fill the memory does not. Raises OversizeError there, and
    MalformedError when it is no gzip, is cut off, is damaged, or something else follows it.
    """
    chunks: list[bytes] = []
    n_bytes = 0
    try:
        with IGzipFile(fileobj=io.BytesIO(body)) as members:
            while chunk := members.read(_CHUNK_BYTES):
                chunks.append(chunk)
                n_bytes += len(chunk)
                if n_bytes > max_bytes:
                    raise OversizeError(
                        f"it inflates to more than {max_bytes:,} bytes (EVALPIPE_OBSERVE__MAX_PAYLOAD_BYTES); "
                        "send smaller batches"
                    )
    except EOFError as error:
        raise MalformedError("its gzip is cut off, or something that is no gzip follows it") from error
    except (BadGzipFile, IsalError) as error:  # pyright: ignore[reportGeneralTypeIssues]
        raise MalformedError(f"it is no sound gzip: {error}") from error
    return b"".join(chunks)
