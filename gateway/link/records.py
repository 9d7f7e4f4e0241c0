"""TLS records on memory buffers: reading all that can be read at once, and errors in words. No socket, no waiting."""

from __future__ import annotations

import ssl


def read_records(tls: ssl.SSLObject, incoming: ssl.MemoryBIO, size: int) -> bytes:
    """At most `size` bytes, of as many records as are here: many small frames come in as many. Raises as `read`
    does."""
    data = tls.read(size)
    while incoming.pending and len(data) < size:
        try:
            data += tls.read(size - len(data))
        except ssl.SSLError:
            break  # a record that is not whole, or an error that is met again at the next call
    return data


def words(error: ssl.SSLError) -> str:
    """What went wrong, short."""
    return error.reason or str(error)
