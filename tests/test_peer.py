"""Whose address counts behind proxies."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from hub.web.peer import client

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("127.0.0.1/32")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # a stranger may say anything
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),  # what came with it was the stranger's own word
        ("10.1.1.1", ["192.0.2.66", "198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ("10.1.1.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.1.1.1", ["unknown"], "10.1.1.1"),
        ("10.1.1.1", [""], "10.1.1.1"),
        ("::ffff:10.1.1.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", ["2001:db9::5"], "2001:db9::5"),
        (None, ["198.51.100.1"], ""),
    ],
)
def test_the_nearest_address_that_is_no_proxy_of_ours(remote: str | None, forwarded: list[str], expected: str) -> None:
    request = make_mocked_request("GET", "/", [("X-Forwarded-For", each) for each in forwarded])
    assert client(request.clone(remote=remote), PROXIES) == expected
