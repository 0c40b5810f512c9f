"""Who signed a webhook: Twilio's own library is the authority, the quick check never says yes where it says no."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from adapters.twilio.signature import HEADER, SETTINGS_HEADER, Signature, signed_form
from hub.contract import Request

TOKEN, OLD, KEY = "12345", "old token", "shared key"
URL = "https://hub.example.com/c/tw/1"
FORM = {
    "To": "+12028831111", "From": "+14133881111", "Body": "héllo & co",
    "MessageSid": "SMe287d7109a5a925f182f0e07fe5b223b", "NumMedia": "0",
}
FORM_TYPE = "application/x-www-form-urlencoded; charset=UTF-8"
SHA1, SHA256 = "qKwcJL3kRFdSvg9roC4+jjN5xkg=", "71HGpEzIPDE8PweITCQQ9G88w+O1Fs+grJr5bWXzY78="
JSON, JSON_SIGNATURE = b'{"a":1}', "yqI1ZM71527Nu6yJ8PC8prryiyI="
JSON_URL = URL + "?bodySHA256=015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def request(
    body: bytes, signature: str | None, url: str = URL + "?x=1", method: str = "POST", **headers: str
) -> Request:
    found = {"content-type": FORM_TYPE} | {name.replace("_", "-"): value for name, value in headers.items()}
    if signature is not None:
        found[HEADER] = signature
    return Request(method, url, found, body, datetime(2026, 1, 31, 12, tzinfo=UTC))


def signed(body: bytes, text: bytes, url: str = URL, token: str = TOKEN, **more: str) -> Request:
    mac = hmac.new(token.encode(), url.encode("utf-8", "surrogatepass") + text, hashlib.sha1)
    return request(body, base64.b64encode(mac.digest()).decode(), url, **more)


def library_accepts(seen: Request) -> bool:
    try:
        params = dict(parse_qsl(seen.body.decode(), keep_blank_values=True, errors="strict"))
        return bool(RequestValidator(TOKEN).validate(seen.url, params, seen.headers[HEADER]))
    except ValueError:
        return False


BODY = urlencode(FORM).encode()
SIGNATURE = Signature([TOKEN, OLD], TOKEN, URL)
SETTINGS = {SETTINGS_HEADER: "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"}

ACCEPTED = {
    "the vector": request(BODY, SHA1),
    "how to connect is no part of it": request(BODY, SHA1, URL + "?x=1#rc=5&rp=all"),
    "fields in another order": request(urlencode(dict(reversed(FORM.items()))).encode(), SHA1),
    "a field twice with the same value": request(BODY + b"&NumMedia=0", SHA1),
    "a name that is escaped": request(BODY.replace(b"Body", b"%42ody"), SHA1),
    "no charset": request(BODY, SHA1, content_type="application/x-www-form-urlencoded"),
    "a shared key": request(BODY, SHA256, **SETTINGS),
    "a JSON body, by its hash": request(JSON, JSON_SIGNATURE, JSON_URL, content_type="application/json"),
    "the port in the URL that Twilio signed": signed(b"a=b", b"ab", "https://hub.example.com:443/c/tw/1"),
    "the previous token": signed(b"a=b", b"ab", token=OLD),
    "the previous token, for the library": signed(b"a=b&a=b", b"ab", token=OLD),
    "GET, all of it in the URL": signed(b"", b"", URL + "?Body=Hi&From=%2B1", method="GET"),
}
REFUSED = {
    "no signature": request(BODY, None),
    "an empty signature": request(BODY, ""),
    "a signature that is not ASCII": request(BODY, "é" + SHA1[1:]),
    "a signature with a lone surrogate": request(BODY, "\ud800" + SHA1[1:]),
    "another signature": request(BODY, "A" + SHA1[1:]),
    "another body": request(BODY.replace(b"co", b"Co"), SHA1),
    "another URL": request(BODY, SHA1, URL + "?x=2"),
    "a signature of the shared key's algorithm without saying so": request(BODY, SHA256),
    "a token's signature that claims to be of the shared key": request(BODY, SHA1, **SETTINGS),
    "an unknown algorithm": request(BODY, SHA1, **{SETTINGS_HEADER: "key=1,algorithm=HMAC_MD5"}),
    "another JSON body": request(b'{"a":2}', JSON_SIGNATURE, JSON_URL, content_type="application/json"),
    "a JSON body that nothing signs": signed(JSON, b"", content_type="application/json"),
    "one name with two values": signed(b"a=b&a=c", b"abc"),
    "one name with two values, the first signed": signed(b"a=b&a=c", b"ab"),
    "one name with two values, the last signed": signed(b"a=b&a=c", b"ac"),
    "one name with two values in the URL of a GET": signed(b"", b"", URL + "?a=b&a=c", method="GET"),
    "not UTF-8": signed(b"a=%ff", b"a\xff"),
    "not UTF-8, in the library's reading": signed(b"a=%ff", "a\ufffd".encode()),
    "a form signed as POST that comes by GET": signed(b"a=b", b"ab", method="GET"),
    "a signed form that says it is JSON": signed(b"a=b", b"ab", content_type="application/json"),
    "a URL that is none": signed(b"a=b", b"ab", "https://hub.example.com:99999/c/tw/1"),
    "more fields than Twilio sends": signed(b"&".join(b"n%d=" % n for n in range(2000)),
                                            b"".join(sorted(b"n%d" % n for n in range(2000)))),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_signed_requests_are_accepted(name: str) -> None:
    seen = ACCEPTED[name]
    if name == "the port in the URL that Twilio signed":  # while we are called without
        seen = Request("POST", URL, seen.headers, seen.body, seen.received_at)
    assert SIGNATURE.valid(seen)


@pytest.mark.parametrize("name", REFUSED)
def test_other_requests_are_refused(name: str) -> None:
    assert not SIGNATURE.valid(REFUSED[name])


def test_without_a_shared_key_nothing_signed_by_one_is_accepted() -> None:
    assert not Signature([TOKEN], None, URL).valid(request(BODY, SHA256, **SETTINGS))


def test_the_documented_voice_vector_is_accepted() -> None:
    form = {"CallSid": "CA1234567890ABCDE", "Caller": "+12349013030", "Digits": "1234", "From": "+12349013030",
            "To": "+18005551212"}
    seen = request(urlencode(form).encode(), "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", "https://mycompany.com/myapp.php?foo=1&bar=2")
    assert Signature([TOKEN], None, "https://mycompany.com/myapp.php").valid(seen)
    assert Signature([TOKEN], None, URL).valid(seen), "by the library, where the URL is not the usual one"


# --- the quick check ---

PIECES = [b"a", b"b", b"B", b"1", b"4", b"=", b"&", b"%", b"+", b" ", b"%41", b"%26", b"%3D", b"%00", b"\0", b"%c3",
          b"%A9", b"%ff", b"\xc3\xa9", b"\xff", b";", b"%2b", b"a=", b"&a=", b"&b="]
BODIES = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)
RESTS = st.sampled_from(["", "?", "#", "?a#b", "?key=del_1.0", "?k=%C3%A9", "?k=é", "?k=\n", " ", "/more", ":80",
                         "?k=[", "?bodySHA256=00", ";p", "?k= ", "?k=\ud800"])


@settings(max_examples=400, deadline=None)
@given(body=BODIES, rest=RESTS)
@example(body=b"a=%4&b=c", rest="")  # the end of a value and the next name make up an escape
@example(body=b"a&b=c=d", rest="")  # as many "=" as fields, but not one in each
@example(body=b"a=%00b", rest="")
@example(body=b"a=%ff", rest="")
@example(body=b"a%62=1&a=2", rest="")
@example(body=b"a=1&a=2", rest="")
@example(body=b"a=1", rest="?")
def test_the_quick_check_accepts_only_what_the_library_accepts(body: bytes, rest: str) -> None:
    text = signed_form(body)
    if text is None:
        return
    seen = signed(body, text, URL + rest)
    if SIGNATURE._quickly(seen, seen.headers[HEADER]):
        assert library_accepts(seen)


def test_an_ordinary_webhook_is_accepted_without_the_library() -> None:
    signature = Signature([TOKEN, OLD], None, URL)
    signature._by_token.clear()
    assert signature.valid(request(BODY, SHA1)) and signature.valid(signed(b"a=b", b"ab", token=OLD))
    assert not signature.valid(signed(b"a=b&a=b", b"ab"))


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="%=&+"), min_size=1, max_size=8)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=300, deadline=None)
@given(form=st.dictionaries(NAMES.filter(lambda name: name.isalnum()), VALUES, min_size=1, max_size=8),
       rest=st.sampled_from(["", "?key=del_0c4v2n7k9m2pa.0"]))
def test_the_quick_check_knows_ordinary_forms(form: dict[str, str], rest: str) -> None:
    seen = request(urlencode(form).encode(), RequestValidator(TOKEN).compute_signature(URL + rest, form), URL + rest)
    assert SIGNATURE._quickly(seen, seen.headers[HEADER])
