"""Who asks, where proxies of ours stand before the hub."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

Networks = Sequence[IPv4Network | IPv6Network]


def client(request: web.Request, trusted: Networks) -> str:
    """The nearest address that is no trusted proxy's; "" if unknown. What a stranger says of itself does not count."""
    told = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    peer = _address(request.remote or "")
    while peer is not None and told and any(peer in network for network in trusted):
        before = _address(told.pop())
        if before is None:
            break
        peer = before
    return "" if peer is None else str(peer)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
