"""What the kernel says of a socket's send queue: how much the peer's kernel has not taken yet."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios


def unacknowledged(sock: socket.socket) -> int:
    """Bytes sent that the peer has not acknowledged (SIOCOUTQ, tcp(7)); 0 where the kernel does not say, or closed."""
    queued = bytearray(4)
    with contextlib.suppress(OSError, ValueError):
        fcntl.ioctl(sock, termios.TIOCOUTQ, queued)
    return int(struct.unpack("i", queued)[0])
