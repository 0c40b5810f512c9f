"""The only module that requests URLs somebody else chose: files, outgoing webhooks, avatars.

Every hop is checked before a connection is made, and the connection goes to the very addresses that were checked.
"""

from __future__ import annotations

import asyncio
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NoReturn
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Resolve = Callable[[str, int], Awaitable[list[str]]]
Network = IPv4Network | IPv6Network

_PUBLIC_TEXT = "The address could not be reached."  # the same for all causes: it must tell nothing about our network
_LONGEST_URL = 8192  # characters
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 64 * 1024
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as the last label: an IPv4 address in disguise (WHATWG URL)
_ASCII = "".join(map(chr, range(0x21, 0x7F)))

# Own table: `ipaddress.is_global` is true for NAT64, 6to4, multicast and 168.63.129.16.
_DENIED = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # private
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local; cloud metadata
        "192.0.0.0/24",  # protocol assignments
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        *("224.0.0.0/4", "240.0.0.0/4"),  # multicast; reserved, broadcast
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        *("2001:db8::/32", "3fff::/20"),  # documentation
        "2002::/16",  # 6to4
    )
)
# Global unicast; outside are ::/96, mapped, NAT64, unique local, link-local, site-local, multicast …
_GLOBAL_IPV6 = ip_network("2000::/3")


class Refused(ValueError):
    """We do not ask there, or do not take what comes. ``reason``: for the log, never for who gave us the URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(_PUBLIC_TEXT)
        self.reason = reason


class Unreachable(OSError):
    """The network failed or took too long; it may work later. ``reason`` as in ``Refused``."""

    def __init__(self, reason: str) -> None:
        super().__init__(_PUBLIC_TEXT)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """``headers`` by lower-case name; ``body`` decoded; ``mime`` in lower case, without parameters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    mime: str | None


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses the system knows. Raises: OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Egress:
    """``allow``: names, addresses and networks of the operator's own, which may be asked although they are private,
    also by http and on any port. A name allows whatever it resolves to.

    Raises: ValueError if ``allow`` holds something else.
    """

    def __init__(self, allow: Sequence[str] = (), *, resolve: Resolve = system_resolve) -> None:
        self._names: set[str] = set()
        self._networks: list[Network] = []
        self._resolve = resolve
        for entry in allow:
            self._add(entry.strip().lower())

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ip_network(entry))
        except ValueError:
            if not _is_name(entry):
                raise ValueError(
                    f"egress.allow: {entry!r} is neither a host name, an address nor a network like 10.0.0.0/8"
                ) from None
            self._names.add(entry)

    async def get(
        self,
        url: str,
        *,
        limit_bytes: int,
        timeout: float = 10.0,
        redirects: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Follows at most ``redirects``; ``headers`` stay with the first origin. ``timeout``: seconds for all of it.

        Raises: Refused (also if the decoded body exceeds ``limit_bytes``), Unreachable.
        """
        async with _deadline(timeout):
            target = self.check(url)
            origin = target.origin()
            for _ in range(redirects + 1):
                own = headers if target.origin() == origin else None
                answer = await self._exchange("GET", target, own or {}, b"", limit_bytes)
                location = answer.headers.get("location")
                if answer.status not in _REDIRECTS or not location or redirects == 0:
                    return answer
                target = self.check(_join(target, location))
            raise Refused(f"more than {redirects} redirects, the last to {target}")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float = 10.0) -> int:
        """The status of the answer; its body is not read, redirects are not followed. Raises: Refused, Unreachable."""
        async with _deadline(timeout):
            return (await self._exchange("POST", self.check(url), headers, body, None)).status

    def check(self, url: str) -> URL:
        """The URL, if its form is acceptable; its addresses are looked at later. Raises: Refused."""
        if len(url) > _LONGEST_URL:
            raise Refused(f"longer than {_LONGEST_URL} characters")
        if any(letter <= " " or letter in "\\\x7f" for letter in url):
            raise Refused("a backslash, a space or a control character in the URL")
        try:
            target = URL(quote(url, safe=_ASCII, errors="replace"), encoded=True)
            host, port = (target.raw_host or "").lower(), target.port  # yarl looks at them only now
        except ValueError as error:
            raise Refused(f"not a URL: {error}") from None
        if target.scheme not in ("http", "https") or not port:
            raise Refused(f"scheme {target.scheme!r}, port {port}")
        if "@" in target.raw_authority:
            raise Refused("user information in the URL")
        if _address(host) is None and not _is_name(host):
            raise Refused(f"not a plain host name or address: {host!r}")
        return target.with_fragment(None)

    async def _admit(self, target: URL, host: str) -> list[str]:
        """Where to connect: every address of the host, if every one may be asked. Raises: Refused, OSError."""
        literal = _address(host)
        found = [str(literal)] if literal else await self._resolve(host, target.port or 0)
        if not found:
            raise Unreachable(f"{host} has no address")
        strange = [each for each in found if not self._is_allowed(host, each)]
        for each in strange:
            address = _address(each)
            if address is None or is_denied(address):
                raise Refused(f"{host} is at {each}, which is not public and not in egress.allow")
        if strange and (target.scheme != "https" or target.port not in (443, 80)):
            raise Refused(f"{target.scheme} on port {target.port}, and {host} is not in egress.allow")
        return found

    def _is_allowed(self, host: str, found: str) -> bool:
        address = _address(found)
        return host in self._names or (address is not None and any(address in network for network in self._networks))

    async def _exchange(
        self, method: str, target: URL, headers: Mapping[str, str], body: bytes, limit: int | None
    ) -> Fetched:
        """One request, no redirect. ``limit``: bytes of the body, None to leave it unread."""
        host = (target.raw_host or "").lower()
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(await self._admit(target, host)), use_dns_cache=False, force_close=True
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),  # _deadline counts all hops together
            ) as session,
            session.request(
                method,
                target,
                headers={"Accept-Encoding": "identity", "User-Agent": "omnihub", **headers},
                data=body or None,
                allow_redirects=False,
            ) as response,
        ):
            named = {name.lower(): value for name, value in response.headers.items()}
            content = b"" if limit is None else await _read(response, limit)
            mime = named.get("content-type", "").partition(";")[0].strip().lower()
            return Fetched(response.status, named, content, mime or None)


def is_denied(address: IPv4Address | IPv6Address) -> bool:
    """Not a public unicast address, or one that stands for another."""
    outside = address.version == 6 and address not in _GLOBAL_IPV6
    return outside or any(address in network for network in _DENIED)


class _Pinned(AbstractResolver):
    """Knows the checked addresses and nothing else, so a second look at the DNS cannot lead elsewhere."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """All within ``seconds``; whatever goes wrong in the network becomes Unreachable."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except Unreachable:
        raise
    except TimeoutError:
        raise Unreachable(f"not done after {seconds} s") from None
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        raise Unreachable(f"{type(error).__name__}: {error}") from error


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, decoded, as long as it stays within ``limit``; a chunk never expands beyond that either."""
    if (response.content_length or 0) > limit:
        _too_large(limit)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise Refused(f"content encoding {encoding!r}, although we asked for none")
    inflate = None if encoding == "identity" else zlib.decompressobj(wbits=47)  # gzip or zlib, by the header
    body, whole = bytearray(), True
    async for chunk in response.content.iter_chunked(_CHUNK):
        try:
            body += inflate.decompress(chunk, limit + 1 - len(body)) if inflate else chunk
        except zlib.error as error:
            raise Refused(f"{encoding} body is broken: {error}") from None
        if len(body) > limit:
            _too_large(limit)
        whole = inflate is None or (inflate.eof and not inflate.unused_data)
    if not whole:
        raise Refused(f"{encoding} body is cut off")
    return bytes(body)


def _too_large(limit: int) -> NoReturn:
    raise Refused(f"the body has more than {limit} bytes")


def _join(target: URL, location: str) -> str:
    """Where a redirect leads, unchecked."""
    try:
        return str(target.join(URL(quote(location, safe=_ASCII, errors="replace"), encoded=True)))
    except ValueError as error:
        raise Refused(f"redirect to no URL: {error}") from None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """An address written in its one plain form."""
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    return _NAME.fullmatch(host) is not None and not _NUMBER.fullmatch(host.rpartition(".")[2])
