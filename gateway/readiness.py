"""What the outer door needs before the first gateway of a system says ready: a token and a certificate to use.

Owns that look: a start that would leave the door shut is refused, with what mends it; later gateways of the same system
go on without the door, because agents are at work by then. And two rules that hold for the sockets as they are,
whatever the configuration says by now, because a changed `gateway.bind` counts after a restart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import trio

from gateway.auth.origin import parse_address
from gateway.config.gateway_settings import Gateway
from gateway.control import Taken
from gateway.store.faults import Unusable


def speaks_tls(gateway: Gateway, addresses: Iterable[str]) -> bool:
    """Whether a door on these addresses speaks TLS: beyond loopback, unless plaintext was allowed by name."""
    return bool(gateway.tls.enabled) or (_is_exposed(addresses) and not gateway.tls.allow_plaintext)


def check_mode(gateway: Gateway, addresses: Iterable[str]) -> None:
    """Raises ValueError where mode none would let in the network that was not meant to come in."""
    if gateway.auth.mode == "none" and _is_exposed(addresses) and not gateway.auth.allow_insecure_none:
        raise ValueError("gateway.auth.mode is none and the door is still open beyond loopback: restart peergate")


def _is_exposed(addresses: Iterable[str]) -> bool:
    ips = [parse_address(one) for one in addresses]
    return any(ip is None or not ip.is_loopback for ip in ips)


async def check_outside(taken: Taken, gateway: Gateway) -> None:
    """Look at both before the first gateway says ready, and make what is missing. Raises Unusable."""
    if taken.take.generation == 1:
        addresses = [one.getsockname()[0] for one in taken.outer.values()]
        await trio.to_thread.run_sync(_check, gateway, Path(taken.take.state_dir), addresses)


def _check(gateway: Gateway, state_dir: Path, addresses: list[str]) -> None:
    # In here, because a gateway without TLS, and every later one, starts without them.
    from gateway.greet.policy import generated_token, needs_token

    try:
        if needs_token(gateway):
            generated_token(state_dir)
    except (OSError, ValueError) as error:
        raise Unusable(f"the token of the outer door cannot be used: {error}") from error
    if speaks_tls(gateway, addresses):
        from gateway.listen.certificate import BadCertificate, names_of, utc_now
        from gateway.listen.tls import prepare

        try:
            prepare(gateway.tls, state_dir, names_of(addresses, gateway.host_names), utc_now())
        except BadCertificate as error:
            raise Unusable(str(error)) from error
