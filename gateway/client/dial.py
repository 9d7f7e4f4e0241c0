"""A connection to a gateway over the network, up to where it may be spoken to: TCP, TLS, and whose certificate it is.

Owns the rule: a certificate that is remembered, or was named, has to be there again. One that was never seen is
accepted when an authority of this system vouches for it, else remembered (trust on first use). Nothing is sent before
that is settled."""

from __future__ import annotations

import errno
import hashlib
import socket
import ssl

import msgspec
import trio

from gateway.client.access import Address, CannotConnect
from gateway.client.known import AUTHORITIES
from gateway.link.tcp import Tcp

PROBE_SECONDS = 3.0
"""How long finding out what else is spoken at an address may take."""
MAX_HEARD_BYTES = 16 * 1024
_ATTEMPT_SECONDS = 0.25
"""After which the next address of a host is tried beside the one that has not answered (RFC 8305, section 5)."""


class Certificate(msgspec.Struct, frozen=True):
    """What a gateway showed. `how` is one of pinned, authorities, first-use, plain; `why` is what the authorities
    lacked to vouch for it. `pin` is what to remember."""

    how: str
    fingerprint: str = ""
    why: str = ""

    @property
    def pin(self) -> str:
        """What has to be there next time."""
        return AUTHORITIES if self.how == "authorities" else self.fingerprint


class Heard(Tcp):
    """A connection that keeps the first bytes it hears, for saying what is there when it is no gateway."""

    heard = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, as any stream."""
        data = await super().receive_some(max_bytes)
        if len(self.heard) < MAX_HEARD_BYTES:
            self.heard += data
        return data


async def dial(address: Address, pin: str) -> tuple[Heard, Certificate]:
    """A connection to the gateway at `address`, and its certificate, which has to be `pin` if that is not empty.

    Raises CannotConnect."""
    if not address.secure:
        return Heard(await _connect(address), server_side=False), Certificate("plain")
    if pin in ("", AUTHORITIES):
        try:
            stream = await _tls(address, ssl.create_default_context())
            return stream, Certificate("authorities", _fingerprint(stream))
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message or str(error)
    else:
        why = ""
    stream = await _tls(address, _accepting())
    found = _fingerprint(stream)
    if pin and found != pin:
        stream.close()
        raise _changed(address, pin, found, why)
    return stream, Certificate("pinned" if pin else "first-use", found, why)


def _changed(address: Address, expected: str, found: str, why: str) -> CannotConnect:
    if expected == AUTHORITIES:
        said = (
            f"until now an authority vouched for the certificate of {address.name}, and none does for this one ({why})"
        )
    else:
        said = f"the certificate of {address.name} is not the one it was: expected {expected}, found {found}"
    return CannotConnect("certificate-changed", said, expected=expected, found=found)


def _accepting() -> ssl.SSLContext:
    """A context that takes any certificate. The server still proves that it holds its key; whose it is, the fingerprint
    says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _fingerprint(stream: Tcp) -> str:
    leaf = stream.tls.getpeercert(binary_form=True) if stream.tls is not None else None
    return f"sha256:{hashlib.sha256(leaf or b'').hexdigest()}"


async def _tls(address: Address, context: ssl.SSLContext) -> Heard:
    """A connection with TLS agreed on. Raises SSLCertVerificationError, CannotConnect."""
    sock = await _connect(address)
    stream = Heard(sock, context, server_side=False, server_hostname=address.host.partition("%")[0])
    try:
        await stream.handshake()
    except trio.BrokenResourceError as error:
        stream.close()
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise error.__cause__ from None
        raise _no_tls(address, error) from None
    except BaseException:
        stream.close()
        raise
    return stream


def _no_tls(address: Address, error: trio.BrokenResourceError) -> CannotConnect:
    reason = getattr(error.__cause__, "reason", None) or str(error)
    # What OpenSSL says of the first bytes of a text where a TLS record was due, by version.
    if reason in ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return CannotConnect("no-tls", f"no TLS at {address.name}: what answers there speaks plaintext")
    return CannotConnect("tls", f"no TLS connection to {address.name}: {reason}")


async def speaks_tls(address: Address) -> bool:
    """Whether TLS is spoken at an address that did not answer without it."""
    with trio.move_on_after(PROBE_SECONDS):
        try:
            (await _tls(address, _accepting())).close()
        except CannotConnect:
            return False
        return True
    return False


# --- TCP --------------------------------------------------------------------------------------------------------------


async def _connect(address: Address) -> socket.socket:
    """A connected socket, to whichever address of the host answers first. Raises CannotConnect."""
    try:
        stream = await trio.open_tcp_stream(address.host, address.port, happy_eyeballs_delay=_ATTEMPT_SECONDS)
    except OSError as error:
        raise _unreachable(address, error) from None
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _unreachable(address: Address, error: OSError) -> CannotConnect:
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return CannotConnect("unreachable", f"the name {address.host} cannot be looked up now: {error.strerror}")
        return CannotConnect("unknown-host", f"no host is called {address.host}: {error.strerror}")
    if any(one.errno == errno.ECONNREFUSED for one in _causes(error)):
        return CannotConnect("unreachable", f"nobody listens at {address.name}: the connection was refused")
    words = next((one.strerror for one in _causes(error) if one.strerror), str(error))
    return CannotConnect("unreachable", f"{address.name} cannot be reached: {words}")


def _causes(error: BaseException) -> list[OSError]:
    """The errors of every attempt."""
    if isinstance(error, BaseExceptionGroup):
        return [one for each in error.exceptions for one in _causes(each)]
    inner = _causes(error.__cause__) if error.__cause__ is not None else []
    return [*inner, error] if isinstance(error, OSError) else inner
