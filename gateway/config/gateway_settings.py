"""The `gateway` section: the address, who may come in from outside, TLS, and how Unix peers map to operators."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.config.section import FilePath, Milliseconds, Port, Positive, Scope, Section, Text, Uid, repr_hiding

Bind = Literal["loopback", "lan", "tailnet", "auto", "custom", "off"]


class RateLimit(Section, frozen=True):
    """Failed attempts per address before it is locked out."""

    max_attempts: Positive = 10
    window_ms: Milliseconds = 60_000
    lockout_ms: Milliseconds = 300_000
    exempt_loopback: bool = True


class TrustedProxy(Section, frozen=True):
    """What a proxy in front must say about the user it has authenticated."""

    user_header: Annotated[Text, Meta(description="Header that carries the verified user.")]
    required_headers: tuple[Text, ...] = ()
    allow_users: tuple[Text, ...] = ()
    allow_loopback: Annotated[bool, Meta(description="Accept a proxy on this machine; see proxyUids.")] = False
    proxy_uids: Annotated[tuple[Uid, ...], Meta(description="Uids a loopback proxy may run as.")] = ()


class Auth(Section, frozen=True):
    """The shared secret of the outer door. It opens the door to asking only; pairing or mode `none` opens the door."""

    mode: Annotated[
        Literal["token", "password", "none", "trusted-proxy"] | None,
        Meta(description="Default: password when only a password is set, else token."),
    ] = None
    token: Annotated[
        str | None,
        Meta(description="Absent: one is generated in the state directory. Empty: nobody from outside comes in by it."),
    ] = None
    password: str | None = None
    allow_insecure_none: Annotated[bool, Meta(description="Let mode none listen beyond loopback.")] = False
    trusted_proxy: TrustedProxy | None = None
    rate_limit: RateLimit = RateLimit()

    def __repr__(self) -> str:
        return repr_hiding(self, "token", "password")


class Tls(Section, frozen=True):
    """TLS of the outer door."""

    enabled: Annotated[bool | None, Meta(description="Default: on for every bind but loopback.")] = None
    auto_generate: Annotated[bool, Meta(description="Make a self-signed pair when both files are missing.")] = True
    cert_path: FilePath | None = None
    key_path: FilePath | None = None
    ca_path: FilePath | None = None
    fingerprint: Annotated[str | None, Meta(description="SHA-256 of the leaf certificate that must be served.")] = None
    allow_plaintext: Annotated[bool, Meta(description="Permit ws:// beyond loopback when TLS is switched off.")] = False


class ControlUi(Section, frozen=True):
    """Browsers that may open the outer door."""

    allowed_origins: Annotated[
        tuple[Text, ...],
        Meta(description="Exact origins, port included, such as https://box.lan:18789; no patterns."),
    ] = ()


class Unix(Section, frozen=True):
    """Which kernel-verified local users are operators."""

    operators: Annotated[tuple[Uid | Text, ...], Meta(description="Uids or user names with every operator scope.")] = ()
    operator_group: Annotated[
        Uid | Text | None, Meta(description="Gid or group name whose members may read and write.")
    ] = None
    foreign: Annotated[
        dict[Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,9})$")], Literal["operator"] | tuple[Scope, ...]],
        Meta(description="What a uid of another container may do: `operator` (read and write) or a list of scopes."),
    ] = field(default_factory=dict)


class Gateway(Section, frozen=True):
    """The gateway's address and doors."""

    mode: Annotated[Literal["local", "remote"], Meta(description="Only local can be started here.")] = "local"
    port: Annotated[Port, Meta(description="One port for WebSocket and HTTP; 0 is any free one.")] = 18789
    bind: Annotated[
        Bind, Meta(description="Default: loopback, in a container lan. off: no TCP at all, the Unix doors only.")
    ] = "loopback"
    custom_bind_host: Annotated[
        Text | None, Meta(description="The address of bind custom, IPv4 or IPv6; several are separated by commas.")
    ] = None
    host_names: Annotated[
        tuple[Text, ...],
        Meta(description="Names beside its addresses that the outer door is called by, in URLs and certificates."),
    ] = ()
    trusted_proxies: Annotated[tuple[Text, ...], Meta(description="Addresses or networks of proxies.")] = ()
    auth: Auth = Auth()
    tls: Tls = Tls()
    control_ui: ControlUi = ControlUi()
    unix: Unix = Unix()

    @property
    def custom_hosts(self) -> tuple[str, ...]:
        """The addresses of `customBindHost`, one by one, in the form they are compared in; one that is none, as it
        is written."""
        written = (self.custom_bind_host or "").split(",")
        return tuple(dict.fromkeys(_normal(host.strip()) for host in written if host.strip()))

    @property
    def stays_local(self) -> bool:
        """Whether the outer door can be reached from this machine only."""
        if self.bind == "custom" and self.custom_hosts:
            return all(map(_is_loopback, self.custom_hosts))
        return self.bind in ("loopback", "off")


def _normal(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # A v4-mapped address is loopback or not depending on the version of Python: it is never bound, so it is not.
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None
