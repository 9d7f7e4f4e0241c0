"""The outer door: TCP sockets that listen for the system's whole life.

Owns: binding and holding them. Gateways accept from them and close their copies; while there is none, connections wait
in the queue. Nothing is read from them here."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence

from supervisor import netlink
from supervisor.addresses import Address, NoAddress, resolve_bind, shown
from supervisor.messages import OUTER_PREFIX

BACKLOG = 512
"""Connections that wait while a gateway restarts; net.core.somaxconn may make it less."""
FREE_PORT_TRIES = 16
WAYS_OUT = "choose another with gateway.port or --port (0: any free one), or close this door with gateway.bind off"


class CannotListen(Exception):
    """The outer door cannot be opened; the text says which address and port, why, and what mends it."""


class Listeners:
    """The open sockets. Make them with `Listeners.open`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    @classmethod
    def open(cls, addresses: Sequence[Address], port: int, who: Callable[[int], str] = lambda port: "") -> Listeners:
        """Listen on every address at one port; port 0 is any that is free on all of them. `who` names those who
        listen on a port already. Raises CannotListen; then nothing stays open."""
        opened = cls()
        try:
            for tries in range(1, 1 + FREE_PORT_TRIES):
                if opened._bind_all(addresses, port, who, last=tries == FREE_PORT_TRIES or port != 0):
                    break
        except BaseException:
            opened.close()
            raise
        return opened

    @property
    def listeners(self) -> dict[str, socket.socket]:
        """The listening sockets by door name. Ours: send duplicates, never shut one down."""
        return {f"{OUTER_PREFIX}{index}": listener for index, listener in enumerate(self._sockets)}

    @property
    def addresses(self) -> list[str]:
        """What is listened on, as `127.0.0.1:18789` and `[::1]:18789`."""
        return [shown(*name_of(listener)) for listener in self._sockets]

    def check(self) -> list[str]:
        """Make those listen again that somebody who holds them has shut down; gives their names. Raises OSError."""
        broken: list[str] = []
        for name, listener in self.listeners.items():
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listener.listen(BACKLOG)  # a TCP socket keeps its port, and every holder has the same socket
                broken.append(name)
        return broken

    def close(self) -> None:
        """Close the door."""
        while self._sockets:
            self._sockets.pop().close()

    def _bind_all(self, addresses: Sequence[Address], port: int, who: Callable[[int], str], *, last: bool) -> bool:
        """One attempt at all addresses. False when the port the kernel chose for the first is taken on another."""
        for address in addresses:
            chosen = self._sockets[0].getsockname()[1] if self._sockets else port
            try:
                chosen = chosen or _free_port(address.host)
                self._sockets.append(_listen(address.host, chosen))
            except OSError as error:
                if address.optional and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    continue
                if error.errno == errno.EADDRINUSE and not last:
                    self.close()
                    return False
                raise CannotListen(_why(address.host, chosen, error, who)) from error
        return True


def _free_port(host: str) -> int:
    """A port that was free a moment ago. Bound by its number then: a socket that was given its port by the kernel loses
    it when somebody shuts it down, and listens at another when it listens again."""
    with _unbound(host) as probe:
        probe.bind(_place(host, 0))
        return int(probe.getsockname()[1])


def _place(host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    bare, _, scope = host.partition("%")
    return (bare, port, 0, netlink.interface_number(scope)) if ":" in bare else (bare, port)


def _unbound(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)


def _listen(host: str, port: int) -> socket.socket:
    listener = _unbound(host)
    try:
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # do not wait for TIME_WAIT after a restart
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        listener.bind(_place(host, port))
        listener.setblocking(False)  # shared with whoever accepts: a connection gone before accept must not hold them
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def name_of(listener: socket.socket) -> tuple[str, int]:
    """The address and port a socket is bound to, a link-local one with its interface."""
    host, port, *scope = listener.getsockname()
    if len(scope) == 2 and scope[1]:
        host = f"{host}%{scope[1]}"
    return str(host), int(port)


def _why(host: str, port: int, error: OSError, who: Callable[[int], str]) -> str:
    place = shown(host, port)
    match error.errno:
        case errno.EADDRINUSE:
            holder = who(port)
            return f"{place} is taken{f' by {holder}' if holder else ''}: {WAYS_OUT}"
        case errno.EADDRNOTAVAIL:
            return f"{place} is no address of this host: mend gateway.customBindHost, or bring its interface up"
        case errno.EACCES:
            return f"{place} is below port 1024, which uid {os.geteuid()} may not use: {WAYS_OUT}"
        case _:
            return f"{place} cannot be listened on ({error.strerror}): {WAYS_OUT}"


def open_listeners(
    bind: str, port: int, custom: Sequence[str], who: Callable[[int], str] = lambda port: ""
) -> Listeners:
    """The outer door a configuration asks for; `gateway.bind` off is no sockets. Raises CannotListen."""
    try:
        interfaces = netlink.interface_addresses() if bind in ("tailnet", "auto") else []
        return Listeners.open(resolve_bind(bind, custom, interfaces), port, who)
    except NoAddress as error:
        raise CannotListen(str(error)) from error
    except OSError as error:
        raise CannotListen(f"gateway.bind {bind}: this host's addresses cannot be read ({error.strerror})") from error
