"""URLs that somebody else chose: where the hub asks, where it does not, and what it takes."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain, repeat

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub.egress import Egress, Refused, Unreachable, is_denied

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

DENIED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.8", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1", "100::1", "2001:0:7f00:1::", "2001:10::1"),
    *("2001:2::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1"),
    *("fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "172.15.255.255", "172.32.0.0"),
    *("192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111", "2a00:1450:4009::200e", "3ffe:ffff::1"),
]
# Never a lookup, never a connection, whatever the operator allows.
MALFORMED = [
    *("http://0/", "https://0/", "http://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://017700000001/"),
    *("http://0177.0.0.1/", "https://0177.0.0.1/", "https://127.1/", "http://127.1/", "https://127.0.0.1./"),
    *("https://1.2.3/", "https://a.example.0x/", "https://example.1/", "https://256.1.1.1/", "https://1.2.3.4.5/"),
    *("http://①②⑦.⓪.⓪.①/", "https://①②⑦.⓪.⓪.①/", "https://１２７.０.０.１/", "https://127。0。0。1/", "https://ⓔxample.com/"),
    *("http://localhost./", "https://bücher.example/", "https://ex%61mple.com/", "https://a..b/", "https://-a.example/"),
    *("https://good.example@127.0.0.1/", "http://a:b@files.test/", "https://@files.test/", "https://:@files.test/"),
    *("http://good.example\\@127.0.0.1/", "https://files.test\\.good.example/", "https:\\\\files.test/"),
    *("gopher://127.0.0.1:25/_HELO", "file:///etc/passwd", "ftp://files.test/x", "unix:/run/docker.sock"),
    *("dict://files.test:11211/", "data:text/plain,x", "javascript:alert(1)", "ws://files.test/", "http+unix://x/"),
    *("", "/", "//files.test/", "files.test", "https:", "https://", "https:///x", "https:files.test", "http://files.test:x"),
    *("https://files.test:99999/", "https://[::1", "https://[::1%25lo]/", "https://[fe80::1%eth0]/", "https://[::g]/"),
    *("https://files.test/a b", " https://files.test/", "https://files.test/\r\nX: y", "https://files.test/\x00", "\thttps://a/"),
    "https://files.test/" + "x" * 9000,
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 130 + "example/",
    "https://\ud800/",
]
# Refused because of where they lead. (host forms of attack lists, each by http and by https)
INWARD = [
    *("127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2001:0:7f00:1::]"),
    *("[fec0::1]", "192.0.0.8", "168.63.129.16", "224.0.0.1", "localhost", "LOCALHOST", "[2002:7f00:1::]"),
    *("10.0.0.1:22", "[fd00:ec2::254]", "100.100.100.200", "0.0.0.0", "[::]", "[0:0:0:0:0:0:0:1]", "[::FFFF:7f00:1]"),
]


class Names:
    """A DNS whose answers a test writes: for each name a list of answers, the last one for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): chain(each, repeat(each[-1])) for name, each in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self._answers:
            raise OSError(f"no such name: {host}")
        return next(self._answers[host])


@dataclass
class Site:
    """A web server on loopback with what it was asked."""

    port: int
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "files.test") -> str:
        return f"http://{host}:{self.port}{path}"


Serve = Callable[[Handler], Awaitable[Site]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(handler: Handler) -> Site:
        async def record(request: web.Request) -> web.StreamResponse:
            site.requests.append(request)
            site.bodies.append(await request.read())
            return await handler(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", record)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        servers.append(server)
        site = Site(server.port or 0)
        return site

    yield start
    for server in servers:
        await server.close()


async def hello(_: web.Request) -> web.Response:
    return web.Response(body=b"hello", content_type="Text/Plain", charset="utf-8")


def known(**more: list[list[str]]) -> Egress:
    """The operator allows files.test, which is on loopback."""
    return Egress(["files.test"], resolve=Names(files_test=[["127.0.0.1"]], **more))


async def refusal(call: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await call
    assert str(caught.value) == "The address could not be reached."
    return caught.value.reason


# --- where not ---


@pytest.mark.parametrize("address", DENIED)
def test_addresses_that_are_not_public_are_denied(address: str) -> None:
    assert is_denied(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not_denied(address: str) -> None:
    assert not is_denied(ip_address(address))


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_url_in_disguise_is_refused_before_any_lookup(url: str) -> None:
    names = Names()
    egress = Egress(["files.test", "0.0.0.0/0", "::/0"], resolve=names)
    await refusal(egress.get(url, limit_bytes=10))
    await refusal(egress.post(url, b"", {}))
    assert names.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", INWARD)
async def test_a_url_that_leads_inward_is_refused(scheme: str, host: str) -> None:
    reason = await refusal(Egress().get(f"{scheme}://{host}/latest/meta-data/", limit_bytes=10))
    assert "not public" in reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://public.test/", "http on port 80"),
        ("http://public.test:443/", "http on port 443"),
        ("https://public.test:22/", "https on port 22"),
        ("https://public.test:8443/", "https on port 8443"),
        ("https://public.test:0/", "port 0"),
        ("https://1.1.1.1:8080/", "https on port 8080"),
    ],
)
async def test_public_hosts_are_asked_by_https_on_web_ports_only(url: str, reason: str) -> None:
    egress = Egress(["files.test"], resolve=Names(public_test=[["1.1.1.1"]]))
    assert reason in await refusal(egress.get(url, limit_bytes=10))


async def test_one_private_address_among_public_ones_refuses_all() -> None:
    egress = Egress(resolve=Names(mixed_test=[["1.1.1.1", "2606:4700::1111", "10.0.0.1"]]))
    assert "10.0.0.1" in await refusal(egress.get("https://mixed.test/", limit_bytes=10))


@pytest.mark.parametrize("answer", ["fe80::1%eth0", "127.1", "not an address"])
async def test_an_answer_of_the_dns_that_is_no_plain_address_is_refused(answer: str) -> None:
    assert answer in await refusal(Egress(resolve=Names(odd_test=[[answer]])).get("https://odd.test/", limit_bytes=9))


async def test_an_unlisted_server_sees_no_connection(serve: Serve) -> None:
    site = await serve(hello)
    await refusal(Egress().get(site.url(host="127.0.0.1"), limit_bytes=10))
    await refusal(Egress(["files.test"]).get(site.url(host="localhost"), limit_bytes=10))
    await refusal(Egress(["127.0.0.2", "::1"]).post(site.url(host="127.0.0.1"), b"x", {}))
    assert site.requests == []


# --- what the operator allows ---


@pytest.mark.parametrize(
    ("allow", "host"),
    [
        (["files.test"], "files.test"),
        ([" Files.Test "], "FILES.test"),
        (["127.0.0.1"], "127.0.0.1"),
        (["127.0.0.0/8"], "127.0.0.1"),
        (["10.0.0.0/8", "127.0.0.0/8"], "files.test"),
    ],
)
async def test_a_listed_server_is_reached_by_http_on_its_port(serve: Serve, allow: list[str], host: str) -> None:
    site = await serve(hello)
    names = Names(files_test=[["127.0.0.1"]])
    fetched = await Egress(allow, resolve=names).get(site.url("/a?b=%2F%7e+c#d", host), limit_bytes=5)
    assert (fetched.status, fetched.body, fetched.mime) == (200, b"hello", "text/plain")
    assert fetched.headers["content-length"] == "5"
    (request,) = site.requests
    assert request.raw_path == "/a?b=%2F%7e+c"  # as given: it may be signed
    assert request.host.lower() == f"{host.lower()}:{site.port}"


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "http://files.test", "*.files.test", "files.test:80", "0x7f.1"])
def test_an_entry_that_allows_nothing_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match=r"egress\.allow: .* is neither a host name, an address nor a network"):
        Egress([entry])


# --- rebinding, redirects ---


async def test_a_name_is_resolved_once_and_the_checked_address_is_used(serve: Serve) -> None:
    site = await serve(hello)
    names = Names(files_test=[["127.0.0.1"], ["10.0.0.1"]])
    assert (await Egress(["127.0.0.1"], resolve=names).get(site.url(), limit_bytes=5)).body == b"hello"
    assert names.asked == ["files.test"]
    assert "10.0.0.1" in await refusal(Egress(["127.0.0.1"], resolve=names).get(site.url(), limit_bytes=5))


async def test_the_first_server_name_is_asked_for_in_tls() -> None:
    hellos: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(Unreachable):
            await known().get(f"https://files.test:{port}/", limit_bytes=10)
    assert b"files.test" in hellos[0]


def redirect(to: Callable[[web.Request], str], status: int = 302) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/end":
            return web.Response(body=b"end")
        return web.Response(status=status, headers={"Location": to(request)})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_if_asked_for(serve: Serve, status: int) -> None:
    site = await serve(redirect(lambda _: "/end", status))
    assert (await known().get(site.url("/x"), limit_bytes=10, redirects=1)).body == b"end"
    assert (await known().get(site.url("/x"), limit_bytes=10)).status == status


@pytest.mark.parametrize(
    "location",
    [
        *("http://127.0.0.1:{port}/end", "//127.0.0.1:{port}/end", "http://[::1]:{port}/end", "https://169.254.169.254/"),
        *("file:///etc/passwd", "http://inward.test:{port}/end", "http://files.test\\@127.0.0.1/", "http://a@files.test/"),
        *("http://①②⑦.⓪.⓪.①:{port}/end", "https://[", "http://2130706433:{port}/end"),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(serve: Serve, location: str) -> None:
    site = await serve(redirect(lambda request: location.format(port=request.url.port)))
    await refusal(known(inward_test=[["127.0.0.1"]]).get(site.url("/x"), limit_bytes=10, redirects=3))
    assert [request.path for request in site.requests] == ["/x"]


async def test_redirects_end(serve: Serve) -> None:
    site = await serve(redirect(lambda request: request.path + "x"))
    assert "more than 3 redirects" in await refusal(known().get(site.url("/"), limit_bytes=10, redirects=3))
    assert len(site.requests) == 4


async def test_headers_stay_with_the_origin_they_were_meant_for(serve: Serve) -> None:
    other = await serve(hello)
    site = await serve(redirect(lambda request: "/next" if request.path == "/x" else other.url("/far")))
    headers = {"Authorization": "Bearer secret"}
    assert (await known().get(site.url("/x"), limit_bytes=10, redirects=2, headers=headers)).body == b"hello"
    assert [request.headers.get("Authorization") for request in site.requests] == ["Bearer secret"] * 2
    assert "Authorization" not in other.requests[0].headers


async def test_proxies_of_the_environment_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, site = await serve(hello), await serve(hello)
    monkeypatch.setenv("http_proxy", proxy.url(host="127.0.0.1"))
    await known().get(site.url(), limit_bytes=10)
    assert (len(proxy.requests), len(site.requests)) == (0, 1)


# --- what is taken ---


def encoded(body: bytes, encoding: str, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Encoding": encoding})

    return answer


def _zip(data: bytes) -> bytes:
    """The same at all times: parameters with a clock in them differ between the processes of a test run."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (b"hello", "identity", b"hello"),
        (_zip(b"hello"), "gzip", b"hello"),
        (_zip(b"hello"), "X-GZip", b"hello"),
        (zlib.compress(b"hello"), "deflate", b"hello"),
        (_zip(b"x" * 1000), "gzip", b"x" * 1000),
        (b"", "gzip", b""),
    ],
)
async def test_a_body_is_decoded(serve: Serve, body: bytes, encoding: str, expected: bytes) -> None:
    site = await serve(encoded(body, encoding))
    assert (await known().get(site.url(), limit_bytes=1000)).body == expected
    assert site.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"x" * 1001, "identity", "more than 1000 bytes"),
        (_zip(b"x" * 1001), "gzip", "more than 1000 bytes"),
        (_zip(b"\0" * 1_000_000), "gzip", "more than 1000 bytes"),  # 1 kB on the wire
        (_zip(b"hello")[:-9], "gzip", "cut off"),
        (_zip(b"hello") + b"more", "gzip", "cut off"),
        (b"hello", "gzip", "broken"),
        (b"hello", "br", "content encoding 'br'"),
        (_zip(_zip(b"x")), "gzip, gzip", "content encoding"),
    ],
)
async def test_a_body_too_large_or_not_readable_is_refused(
    serve: Serve, body: bytes, encoding: str, reason: str
) -> None:
    site = await serve(encoded(body, encoding))
    assert reason in await refusal(known().get(site.url(), limit_bytes=1000))


def stream(chunks: Callable[[], AsyncIterator[bytes]], **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        async for chunk in chunks():
            await response.write(chunk)
        return response

    return answer


async def test_an_endless_body_is_cut_at_the_limit(serve: Serve) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    site = await serve(stream(endless))
    assert "more than 5000 bytes" in await refusal(known().get(site.url(), limit_bytes=5000))


async def test_a_gzip_bomb_never_unpacks_beyond_the_limit(serve: Serve) -> None:
    bomb = gzip.compress(b"\0" * 2**25, compresslevel=1)
    site = await serve(encoded(bomb, "gzip"))
    tracemalloc.start()
    try:
        assert "more than 200000 bytes" in await refusal(known().get(site.url(), limit_bytes=200_000))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()



async def test_a_trickle_ends_at_the_deadline(serve: Serve) -> None:
    gone = asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        while not gone.is_set():
            yield b"x"
            await asyncio.wait([asyncio.ensure_future(gone.wait())], timeout=0.02)

    site = await serve(stream(trickle))
    with pytest.raises(Unreachable) as caught:
        await known().get(site.url(), limit_bytes=5000, timeout=0.2)
    gone.set()
    assert caught.value.reason == "not done after 0.2 s"
    assert str(caught.value) == "The address could not be reached."


async def test_the_deadline_covers_the_lookup() -> None:
    never = asyncio.Event()

    async def lost(host: str, port: int) -> list[str]:
        await never.wait()
        return []

    with pytest.raises(Unreachable):
        await Egress(resolve=lost).get("https://slow.test/", limit_bytes=10, timeout=0.05)


async def test_the_deadline_counts_all_hops_together(serve: Serve) -> None:
    site = await serve(redirect(lambda _: "/again"))
    with pytest.raises(Unreachable):
        await known().get(site.url("/x"), limit_bytes=10, redirects=10**6, timeout=0.2)
    assert len(site.requests) > 1


async def test_a_length_that_lies_is_an_error() -> None:
    async def liar(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        writer.close()

    server = await asyncio.start_server(liar, "127.0.0.1", 0)
    url = f"http://files.test:{server.sockets[0].getsockname()[1]}/"
    async with server:
        with pytest.raises(Unreachable) as caught:
            await known().get(url, limit_bytes=1000)
        assert "Payload" in caught.value.reason
        assert "more than 99 bytes" in await refusal(known().get(url, limit_bytes=99))


@pytest.mark.parametrize("egress", [known(), Egress(["gone.test"], resolve=Names(gone_test=[["127.0.0.1"]]))])
async def test_a_failure_and_a_refusal_read_the_same(egress: Egress, unused_tcp_port: int) -> None:
    with pytest.raises(Unreachable, match=r"^The address could not be reached\.$"):
        await egress.get(f"http://gone.test:{unused_tcp_port}/", limit_bytes=10)
    await refusal(egress.get("http://127.0.0.1/", limit_bytes=10))


async def test_a_name_without_addresses_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        await Egress(resolve=Names(empty_test=[[]])).get("https://empty.test/", limit_bytes=10)


# --- post ---


async def test_a_post_carries_body_and_headers_and_follows_nothing(serve: Serve) -> None:
    site = await serve(redirect(lambda _: "/end", 307))
    status = await known().post(site.url("/hook"), b'{"a":1}', {"Content-Type": "application/json", "webhook-id": "m1"})
    assert status == 307
    (request,) = site.requests
    assert (request.method, request.path, site.bodies) == ("POST", "/hook", [b'{"a":1}'])
    assert (request.headers["Content-Type"], request.headers["webhook-id"]) == ("application/json", "m1")


async def test_a_post_does_not_wait_for_the_answers_body(serve: Serve) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    site = await serve(stream(endless))
    assert await known().post(site.url(), b"x", {}) == 200


async def test_a_header_cannot_be_broken_in_two(serve: Serve) -> None:
    site = await serve(hello)
    with pytest.raises(ValueError):
        await known().post(site.url(), b"", {"X": "a\r\nY: b"})
    assert site.requests == []
