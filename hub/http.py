"""HTTP to providers: one pooled client, errors told apart by whether anything can have been accepted."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from hub.contract import LARGEST_ANSWER, Ambiguous, Answer, Transient

# The connection was never usable, so the provider cannot have seen the request.
_NEVER_SENT = (
    aiohttp.ClientConnectorError,  # refused, DNS, TLS handshake
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class Client:
    """The ``contract.Http`` of a running hub. Reaches only addresses from our own configuration;
    URLs that others chose go through ``hub.egress``."""

    def __init__(self, *, connections: int = 256) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=True,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 15.0,
        largest: int = LARGEST_ANSWER,
    ) -> Answer:
        """One exchange, no retry, no redirect. Raises: Transient, Ambiguous (see ``contract.Http``)."""
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 5.0))
        try:
            async with self.session.request(
                method, url, headers=headers, data=body or None, timeout=limits, allow_redirects=False
            ) as response:
                content = await _whole(response, largest)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, lowered, content)
        except _NEVER_SENT as error:
            raise Transient(f"no connection: {error}") from error
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            raise Ambiguous(f"answer lost: {type(error).__name__}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _whole(response: aiohttp.ClientResponse, largest: int) -> bytes:
    """Raises: Ambiguous."""
    content = bytearray()
    async for piece in response.content.iter_any():  # unpacked piece by piece, so that little becomes much nowhere
        content += piece
        if len(content) > largest:
            response.close()
            raise Ambiguous(f"the answer is too large: more than {largest} bytes", code=str(response.status))
    return bytes(content)
