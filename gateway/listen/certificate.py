"""The outer door's certificate and key: where they are, making them, reading them, replacing them.

Owns the two files. A generated pair is long-lived (clients pin its leaf): it is replaced when it is about to expire or
when a person says so, never because an address changed; a name it lacks is a warning. Plain blocking functions that
import cryptography only when they need it: it costs 40 ms, and most starts find a pair that is good."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import ssl
import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.auth.origin import parse_address
from gateway.config.gateway_settings import Tls
from gateway.store.backup import sync

if TYPE_CHECKING:
    from cryptography import x509

LIFETIME = timedelta(days=3650)
RENEW_BEFORE = timedelta(days=30)
COMMON_NAME = "peergate gateway"
MAX_FILE_BYTES = 1024 * 1024
RENEW = "peergate cert renew makes a new pair"

_SIOCGIFADDR = 0x8915  # netdevice(7)
_LEAF = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class BadCertificate(Exception):
    """There is no pair that could be served; the text names the files and what mends it."""


class Place(msgspec.Struct, frozen=True):
    """Where the pair is. `generate`: make one when both files are missing."""

    cert: Path
    key: Path
    generate: bool = True


class Facts(msgspec.Struct, frozen=True):
    """What a certificate says. `fingerprint` is `sha256:` and the leaf's DER digest in hex; `ours`: we made it."""

    fingerprint: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    ours: bool

    def is_due(self, now: datetime) -> bool:
        """Whether a certificate of ours is to be replaced by now."""
        return self.ours and now >= self.not_after - RENEW_BEFORE

    def lacks(self, names: Iterable[str]) -> list[str]:
        """Those of the names it does not cover; `*.` in it stands for one label."""
        covered = set(self.names)
        return [name for name in names if name not in covered and f"*.{name.partition('.')[2]}" not in covered]


def place_of(tls: Tls, state_dir: Path) -> Place:
    """Where the configuration says the pair is; else in the state directory."""
    directory = state_dir / "tls"
    cert, key = tls.cert_path or directory / "gateway.crt", tls.key_path or directory / "gateway.key"
    return Place(Path(cert), Path(key), tls.auto_generate)


def names_of(addresses: Iterable[str], host_names: Iterable[str]) -> list[str]:
    """Every name a client may know this gateway by: what it listens on (for a wildcard, this machine's addresses),
    what the configuration calls it, localhost, and the machine's own name."""
    found = ["localhost", *addresses_of(addresses)]
    found += [str(parse_address(name) or name.lower().rstrip(".")) for name in host_names]
    found.append(socket.gethostname().lower())
    return list(dict.fromkeys(name for name in found if name and len(name) <= 253))


def addresses_of(bound: Iterable[str]) -> list[str]:
    """The addresses behind those that are listened on: a wildcard stands for this machine's."""
    found: list[str] = []
    for address in bound:
        ip = parse_address(address)
        if ip is not None and ip.is_unspecified:
            found += [one for one in interface_addresses() if (":" in one) == (ip.version == 6)]
        elif ip is not None:
            found.append(str(ip))
    return found


def interface_addresses() -> list[str]:
    """The addresses of this machine's interfaces: each one's first of IPv4, and those of IPv6 that mean something
    without naming the interface."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue  # it has none
            found.append(socket.inet_ntoa(answer[20:24]))
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        lines = []  # a kernel without IPv6
    numbers = [line.split()[0] for line in lines if line]
    found += [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(one)) for one in numbers if not one.startswith("fe80")]
    return found


# --- making -----------------------------------------------------------------------------------------------------------


def make_pair(names: Iterable[str], now: datetime) -> tuple[bytes, bytes]:
    """A self-signed ECDSA P-256 certificate for these names, and its key, as PEM. A name that a certificate cannot hold
    is left out."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a client's clock may be a little behind
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([*filter(None, map(_general, names))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(serialization.Encoding.PEM), secret


def _general(name: str) -> x509.GeneralName | None:
    """None for what is no name in DNS: this machine's may have 64 characters, a part of one there 63 (RFC 1035)."""
    from cryptography import x509

    if (ip := parse_address(name)) is not None:
        return x509.IPAddress(ip)
    try:
        return x509.DNSName(name.encode("idna").decode())
    except UnicodeError:
        return None


def write_pair(place: Place, cert: bytes, key: bytes) -> None:
    """Replace both files. Two files cannot be replaced at once: the new key waits beside the old one until the
    certificate is in its place, and `finish_writing` ends what a crash has cut short. Raises OSError."""
    for path in (place.cert, place.key):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(_beside(place.key), key, 0o600)
    _write(_beside(place.cert), cert, 0o644)
    _beside(place.cert).replace(place.cert)
    _beside(place.key).replace(place.key)
    for directory in {place.cert.parent, place.key.parent}:
        sync(directory)


def finish_writing(place: Place) -> None:
    """End a replacement that was cut short: a new key that belongs to the certificate takes its place."""
    waiting = _beside(place.key)
    if waiting.exists():
        if place.cert.exists() and _belongs(place.cert, waiting):
            waiting.replace(place.key)
        else:
            waiting.unlink()


def _belongs(cert: Path, key: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError):
        return False
    return True


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write(path: Path, data: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever umask whoever writes has: the gateway's differs from a shell's
        if os.geteuid() == 0:  # `peergate cert renew` by root must not take the gateway's files away from it
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# --- reading ----------------------------------------------------------------------------------------------------------


def ensure_pair(place: Place, names: Iterable[str], now: datetime) -> Facts:
    """The pair that is there, made or replaced when it is ours to do so. Raises BadCertificate."""
    try:
        finish_writing(place)
        found = [path.exists() for path in (place.cert, place.key)]
        if any(found) and not all(found):
            raise BadCertificate(_half(place, found[0]))
        if not any(found):
            if not place.generate:
                raise BadCertificate(
                    f"there is neither {place.cert} nor {place.key}: put the pair there, set gateway.tls.certPath and "
                    "keyPath, or let gateway.tls.autoGenerate make one"
                )
            write_pair(place, *make_pair(names, now))
        elif read_facts(place).is_due(now):
            write_pair(place, *make_pair(names, now))
    except OSError as error:
        raise BadCertificate(f"{place.cert} and {place.key} cannot be used: {error}") from error
    return read_facts(place)


def _half(place: Place, has_cert: bool) -> str:
    there, missing = (place.cert, place.key) if has_cert else (place.key, place.cert)
    return (
        f"{there} is there and {missing}, the other half of the pair, is not: put it back, or remove {there} too and "
        "a new pair is made"
    )


def read_facts(place: Place) -> Facts:
    """What the certificate says. Raises BadCertificate."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    der = leaf_of(place.cert)
    try:
        leaf = x509.load_der_x509_certificate(der)
        own = leaf.issuer == leaf.subject
        names = [str(name.value) for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        before, after = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        said = _alternatives(leaf)
    except ValueError as error:
        raise BadCertificate(f"{place.cert} holds no certificate that can be read: {error}") from error
    return Facts(fingerprint_of(der), said, before, after, own and names == [COMMON_NAME])


def _alternatives(leaf: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        said = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(ip) for ip in said.get_values_for_type(x509.IPAddress)]
    return (*(name.lower() for name in said.get_values_for_type(x509.DNSName)), *addresses)


def leaf_of(path: Path) -> bytes:
    """The first certificate in a PEM file, as DER. Raises BadCertificate."""
    try:
        with path.open("rb") as file:
            match = _LEAF.search(file.read(MAX_FILE_BYTES))
        if match:
            return ssl.PEM_cert_to_DER_cert(match[0].decode("ascii"))
    except (OSError, ValueError) as error:
        raise BadCertificate(f"{path} cannot be read: {error}") from error
    raise BadCertificate(f"{path} holds no certificate in PEM form")


def fingerprint_of(der: bytes) -> str:
    """As it is shown and compared."""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def same_fingerprint(one: str, other: str) -> bool:
    """Whether two fingerprints are equal; each as hex, with colons or without, with `sha256:` or without."""

    def bare(text: str) -> str:
        return text.strip().lower().removeprefix("sha256:").replace(":", "")

    return bare(one) == bare(other)


def utc_now() -> datetime:
    """The time certificates are compared with."""
    return datetime.now(UTC)
