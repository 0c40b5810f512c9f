"""What a message becomes on a channel: segments, pieces, text from HTML, buttons, files."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.contract import Capabilities
from hub.model import Attachment, Button, Content, Location, Selection, Template
from hub.render import Part, Segments, TooLong, choose, render, segments
from hub.render.html import strip_tags, to_text
from hub.render.segments import smart
from hub.render.text import clean, size, split

YES, NO, LATER = Button("y", "Yes"), Button("n", "No"), Button("l", "Later, please")
PHOTO = Attachment("image", url="https://hub.example.com/media/t/photo.jpg", name="photo.jpg", size=1000)
INVOICE = Attachment("file", url="https://hub.example.com/media/t/in.pdf", name="in.pdf", size=9_000_000)
LINKS = "photo.jpg: https://hub.example.com/media/t/photo.jpg\nin.pdf: https://hub.example.com/media/t/in.pdf"
BASIC = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCZÄÖÑÜ§¿abczäöñüà"
EXTENDED = "\f^{}\\[~]|€"
FAMILY = "👨‍👩‍👧‍👦"
CLUSTERS = [
    *("a", "é", "e\u0301", "漢", "𝒳", "ก\u0e33", "ﾊﾞ"),
    *("👍", "👍🏽", "❤️", "1️⃣", FAMILY, "🏳️‍🌈", "🇬🇧", "🇩🇪"),
    *("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"),
    *("한", "\u1112\u1161\u11ab", "क\u094dष", "नि", "Z\u0351\u0334\u0306\u0321"),
]


def can(**changes: Any) -> Capabilities:
    return Capabilities(**{"text_limit": 1600, "idempotency": "none", **changes})


def texts(content: Content, **capabilities: Any) -> list[str]:
    return [part.text for part in render(content, can(**capabilities))]


# --- segments ---


@pytest.mark.parametrize(
    ("text", "encoding", "units", "count"),
    [
        ("", "GSM-7", 0, 0),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("€" * 152, "GSM-7", 304, 2),
        ("€" * 153, "GSM-7", 306, 3),  # an escape pair is never cut: 152 septets in a segment
        ("a" + "€" * 152, "GSM-7", 305, 2),
        (BASIC, "GSM-7", len(BASIC), 1),
        (EXTENDED, "GSM-7", 2 * len(EXTENDED), 1),
        ("`" * 70, "UCS-2", 70, 1),
        ("`" * 71, "UCS-2", 71, 2),
        ("ç" * 71, "UCS-2", 71, 2),
        ("a" * 69 + "ç", "UCS-2", 70, 1),
        ("ж" * 134, "UCS-2", 134, 2),
        ("ж" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 66, "UCS-2", 132, 2),
        ("😀" * 67, "UCS-2", 134, 3),  # a surrogate pair is never cut: 66 units in a segment
        (FAMILY, "UCS-2", 11, 1),
        ("\x1b", "UCS-2", 1, 1),
        ("a\tb", "UCS-2", 3, 1),
        ("\u00a0", "UCS-2", 1, 1),
    ],
)
def test_segments_are_counted_as_the_network_counts_them(text: str, encoding: Any, units: int, count: int) -> None:
    assert segments(text) == Segments(encoding, units, count)


def count_slowly(text: str) -> int:
    """By cutting the encoded text itself, unit by unit."""
    gsm = all(letter in BASIC + EXTENDED or (letter.isascii() and letter.isalnum()) for letter in text)
    if gsm:
        units: list[Any] = [unit for letter in text for unit in (("esc", letter) if letter in EXTENDED else (letter,))]
        lone, joined = 160, 153
    else:
        raw = text.encode("utf-16-be")
        units = ["esc" if 0xD8 <= raw[place] < 0xDC else "x" for place in range(0, len(raw), 2)]
        lone, joined = 70, 67
    if len(units) <= lone:
        return min(len(units), 1)
    count = 0
    while units:
        taken = joined - 1 if len(units) > joined and units[joined - 1] == "esc" else joined
        units, count = units[taken:], count + 1
    return count


@given(st.text(st.sampled_from(BASIC + EXTENDED), max_size=700) | st.text(st.sampled_from("aж€😀`"), max_size=300))
def test_segments_agree_with_a_slow_count(text: str) -> None:
    assert segments(text).count == count_slowly(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It’s “5–6” — ok…", "It's \"5-6\" - ok..."),
        ("10\u00a0000\u202f€\tnet", "10 000 € net"),
        ("a\u200bb\ufeff", "ab"),
        ("plain", "plain"),
        ("It’s 😀", "It’s 😀"),  # UCS-2 all the same: nothing is gained
        ("façade’s", "façade’s"),
    ],
)
def test_look_alikes_are_replaced_where_that_makes_the_text_gsm7(text: str, expected: str) -> None:
    assert texts(Content(text), sms_segments=True) == [expected]
    assert texts(Content(text)) == [text]


# --- text ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\x00b\x07\x1b[0m\x7f", "ab[0m"),
        ("a\tb", "a\tb"),
        ("e\u0301", "é"),
        ("\ud83d\ude00", "😀"),
        ("a\ud800b", "a\ufffdb"),
        (" \n hi \n\n", "hi"),
    ],
)
def test_text_is_normalised(text: str, expected: str) -> None:
    assert texts(Content(text)) == [expected]


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("short", 10, ["short"]),
        ("0123456789", 10, ["0123456789"]),
        ("first para\n\nsecond. One", 20, ["first para", "second. One"]),
        ("line one is\nnext. and more words", 20, ["line one is", "next. and more words"]),
        ("A full stop here. And more words", 20, ["A full stop here.", "And more words"]),
        ("He said “yes, ok.” And more words", 22, ["He said “yes, ok.”", "And more words"]),
        ("Is 3.14 enough for you two?", 16, ["Is 3.14 enough", "for you two?"]),
        ("你好世界。再见世界", 7, ["你好世界。", "再见世界"]),
        ("Hi.\n\nlong words follow here", 20, ["Hi.\n\nlong words", "follow here"]),  # not a piece of three letters
        ("see https://example.com/abcdefghij", 20, ["see", "https://example.com/", "abcdefghij"]),
        ("ends exactly here and on", 17, ["ends exactly here", "and on"]),
        ("aaaa😀bbbb", 5, ["aaaa", "😀bbb", "b"]),
        ("🇬🇧🇩🇪🇫🇷", 9, ["🇬🇧🇩🇪", "🇫🇷"]),
        ("a🇬🇧🇩🇪", 7, ["a🇬🇧", "🇩🇪"]),
        (f"x{FAMILY}{FAMILY}", 12, [f"x{FAMILY}", FAMILY]),
        ("z" + "\u0300" * 9, 4, ["z\u0300\u0300\u0300", "\u0300" * 4, "\u0300" * 2]),  # one "character" above the limit
        ("0 \U000e0020", 2, ["0", "\U000e0020"]),
        ("ab \u0301cd", 3, ["ab", " \u0301c", "d"]),  # a space that carries an accent is a character
    ],
)
def test_long_text_is_cut_where_a_reader_would(text: str, limit: int, pieces: list[str]) -> None:
    assert split(text, limit) == pieces


def test_a_limit_may_be_in_bytes() -> None:
    assert texts(Content("é" * 10), text_limit=10, text_unit="utf-8") == ["é" * 5] * 2
    assert texts(Content("a漢😀"), text_limit=4, text_unit="utf-8") == ["a漢", "😀"]
    assert texts(Content("a漢😀"), text_limit=8, text_unit="utf-8") == ["a漢😀"]
    with pytest.raises(TooLong, match="20 characters and this channel takes 19"):
        render(Content("é" * 10), can(text_limit=19, text_unit="utf-8", splits=False))
    with pytest.raises(ValueError, match="need 4"):
        split("é", 3, "utf-8")


def test_a_channel_that_does_not_split_refuses_long_text() -> None:
    assert texts(Content("x" * 20), text_limit=20, splits=False) == ["x" * 20]
    with pytest.raises(TooLong, match="21 characters and this channel takes 20") as caught:
        render(Content("x" * 21), can(text_limit=20, splits=False))
    assert (caught.value.limit, caught.value.length) == (20, 21)


ANY_TEXT = st.text(st.characters() | st.sampled_from(" \n.\u200d\ufe0f🇬👍🏽\u0301"), max_size=200) | st.lists(
    st.sampled_from([*CLUSTERS, " ", "\n\n", ". "]), max_size=60
).map("".join)


@given(ANY_TEXT, st.integers(4, 40), st.sampled_from(["utf-16", "utf-8"]))
def test_pieces_keep_every_character_in_order_and_fit(text: str, limit: int, unit: Any) -> None:
    pieces = texts(Content(text), text_limit=limit, text_unit=unit)
    assert "".join("".join(pieces).split()) == "".join(clean(text).split())
    for piece in pieces:
        assert size(piece, unit) <= limit
        piece.encode()  # no lone surrogate
    assert all(piece.strip() for piece in pieces) or pieces == [""]


@given(st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=40), st.integers(14, 30))
def test_no_character_as_a_reader_sees_it_is_cut(clusters: list[str], limit: int) -> None:
    seams, place = set(), 0
    for cluster in clusters:
        place += len(cluster)
        seams.add(place)
    place = 0
    for piece in split("".join(clusters), limit):
        place += len(piece)
        assert place in seams


@given(st.text(st.sampled_from("ab’… \n—€")), st.integers(2, 40))
def test_pieces_of_an_sms_fit_after_look_alikes_are_replaced(text: str, limit: int) -> None:
    pieces = texts(Content(text), text_limit=limit, sms_segments=True)
    assert all(size(piece) <= limit and segments(piece).encoding == "GSM-7" for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(smart(clean(text)).split())


def test_a_megabyte_is_split() -> None:
    """What is not linear does not end within the time limit of a test."""
    for unit in ("word ", "x", "🇬🇧", "\u0301", FAMILY):
        text = clean(unit * (200_000 // len(unit)))
        assert "".join("".join(split(text, 1600)).split()) == "".join(text.split())


# --- HTML ---


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hi <b>Ann</b></p><p>bye</p>", "Hi Ann\n\nbye"),
        ("one<br>two &amp; three", "one\ntwo & three"),
        ("<ul><li>a<li>b</ul><ol><li>c<li>d</ol>", "* a\n* b\n1. c\n2. d"),
        ("<a href='https://x.example/?a=1&amp;b=2'>see</a> it", "see (https://x.example/?a=1&b=2) it"),
        ("<a href='https://x.example/'>x.example</a>", "x.example"),
        ("<a href='mailto:a@x.example'>a@x.example</a>", "a@x.example"),
        ("<a href='https://x.example'><img src=x></a>", "https://x.example"),
        ("<a href='javascript:alert(1)'>c</a><a href='jav&#x09;ascript:alert(1)'>d</a>", "cd"),
        ("<script>alert(1)</script><style>p{}</style><title>T</title>seen", "seen"),
        ("<div style='DISPLAY: none'>preheader</div>seen", "seen"),
        ("<table><tr><th>Item<th>Price<tr><td>Tea<td>3</table>", "Item Price\nTea 3"),
        ("a < b, no tag", "a < b, no tag"),
        ("<p>a\x00\r\nb\ud800</p>", "a b\ufffd"),
        ("<?xml version='1.0' encoding='utf-8'?><p>x</p>", "x"),
        ("", ""),
    ],
)
def test_html_is_read_as_text(html: str, text: str) -> None:
    assert to_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hi <b>Ann</b></p>\n<p>5 &lt; 6</p>", "Hi Ann\n\n5 < 6"),
        ("<STYLE>p{}</style >a<script>if (1<2) x</SCRIPT>b<!-- <p> -->c", "abc"),
        ("a < b <3", "a < b <3"),
        ("<td>a</td><td>b</td>", "a  b"),
        ("cut off <a href='", "cut off"),
    ],
)
def test_tags_are_stripped_without_a_parser(html: str, text: str) -> None:
    assert strip_tags(html) == text


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + "seen",
        "<b>" * 51 + "seen",
        "<i></b>" * 30_000 + "seen",
        "<p>x</p>" * 40_000 + "seen",
        "<table><tr><td>" + "w" * 50_000 + "<tr><td>x<td>y" * 5_000 + "</table>seen",
        "<ul>" * 49 + "<li>x" * 40_000 + "</ul>" * 49 + "seen",
        "<p style='padding-left: 999999999em; margin-top: 999999999em'>seen</p>",
        "<" * 300_000 + " seen",
        "<!--" * 60_000 + "-->seen",
        "&" * 250_000 + " seen",
    ],
    ids=lambda html: html[:12],
)
def test_hostile_html_costs_little_and_loses_no_word(html: str) -> None:
    text = to_text(html)  # what is not linear does not end within the time limit of a test
    assert text.endswith("seen")
    assert len(text) <= 2 * len(html)


def test_large_html_is_not_parsed() -> None:
    link = "<p><a href='https://x.example'>seen</a></p>"
    assert to_text("<p>x</p>" * 30_000 + link).endswith("seen (https://x.example)")
    assert to_text("<p>x</p>" * 40_000 + link).endswith("seen")


def test_html_goes_only_where_it_is_shown() -> None:
    content = Content(html="<p>Hi <b>Ann</b></p>")
    assert render(content, can(html=True)) == [Part("Hi Ann", html="<p>Hi <b>Ann</b></p>")]
    assert render(content, can()) == [Part("Hi Ann")]
    assert texts(Content("own words", html="<p>Hi</p>")) == ["own words"]


def test_html_is_dropped_where_its_text_takes_several_parts() -> None:
    content = Content("one two", html="<p>one two</p>")
    assert render(content, can(html=True, text_limit=4)) == [Part("one"), Part("two")]


def test_what_is_added_to_the_text_is_added_to_the_html() -> None:
    content = Content("Hi", html="<BODY>Hi</BODY></html>", buttons=[YES, Button("x", "<No>")])
    (part,) = render(content, can(html=True))
    assert part.text == "Hi\n\n1. Yes\n2. <No>"
    assert part.html == "<BODY>Hi<p>1. Yes<br>\n2. &lt;No&gt;</p></BODY></html>"


# --- buttons ---


@pytest.mark.parametrize(
    ("native", "part"),
    [
        (3, Part("Now?", buttons=[YES, NO, LATER])),
        (2, Part("Now?\n\n1. Yes\n2. No\n3. Later, please")),
        (0, Part("Now?\n\n1. Yes\n2. No\n3. Later, please")),
    ],
)
def test_more_buttons_than_fit_are_a_numbered_list(native: int, part: Part) -> None:
    assert render(Content("Now?", buttons=[YES, NO, LATER]), can(buttons=native)) == [part]


def test_a_button_whose_title_does_not_fit_makes_a_numbered_list() -> None:
    offer = Content("Now?", buttons=[YES, LATER])
    assert render(offer, can(buttons=3, button_title=13)) == [Part("Now?", buttons=[YES, LATER])]
    assert render(offer, can(buttons=3, button_title=12)) == [Part("Now?\n\n1. Yes\n2. Later, please")]


def test_buttons_stand_under_the_last_piece() -> None:
    parts = render(Content("one two", buttons=[YES]), can(buttons=3, text_limit=4))
    assert [(part.text, part.buttons) for part in parts] == [("one", []), ("two", [YES])]


@pytest.mark.parametrize(
    ("answer", "button"),
    [
        *((answer, YES) for answer in ("1", "1.", " 1) ", "#1", "(1)", "１", "1️⃣", "yes", "Yes", "YES!", "“yes”\n")),
        *((answer, NO) for answer in ("2", "2.", "no", "No.")),
        *((answer, LATER) for answer in ("3", "later please", "Later, please!")),
        *((answer, None) for answer in ("", "0", "4", "12", "1 2", "1.5", "yes and no", "yess", "👍", "?", "9" * 5000)),
    ],
)
def test_an_answer_is_matched_to_its_button(answer: str, button: Button | None) -> None:
    assert choose(answer, [YES, NO, LATER]) is button


def test_an_answer_that_means_two_buttons_means_none() -> None:
    two, four = Button("a", "2"), Button("b", "4")
    assert choose("2", [two, four]) is None
    assert choose("4", [two, four]) is four
    assert choose("1", [two, four]) is two
    assert choose("yes", [YES, Button("z", "YES")]) is None


def test_a_symbol_is_an_answer_to_itself() -> None:
    up, down = Button("u", "👍"), Button("d", "❤️")
    assert choose("👍", [up, down]) is up
    assert choose("❤", [up, down]) is down
    assert choose("", [up, Button("e", "")]) is None


@given(st.integers(1, 12))
def test_every_number_of_the_list_finds_its_button(count: int) -> None:
    buttons = [Button(str(number), f"choice {'x' * number}") for number in range(count)]
    listed = render(Content("?", buttons=buttons), can())[0].text.splitlines()[2:]
    for line, button in zip(listed, buttons, strict=True):
        assert choose(line.partition(" ")[0], buttons) is button
        assert choose(line.partition(" ")[2], buttons) is button


# --- files, places, the rest ---


@pytest.mark.parametrize(
    ("capabilities", "parts"),
    [
        ({}, [Part(f"Hi\n\n{LINKS}")]),
        ({"media": "url", "media_max": 0, "media_size": 10**9}, [Part(f"Hi\n\n{LINKS}")]),
        ({"media": "url", "media_max": 9, "media_size": 10**9}, [Part("Hi", attachments=[PHOTO, INVOICE])]),
        (
            {"media": "url", "media_max": 9, "media_size": 5_000_000},
            [Part("Hi\n\nin.pdf: https://hub.example.com/media/t/in.pdf", attachments=[PHOTO])],
        ),
        (
            {"media": "url", "media_max": 1, "media_size": 10**9},
            [Part("Hi", attachments=[PHOTO]), Part(attachments=[INVOICE])],
        ),
        (
            {"media": "url", "media_max": 1, "media_size": 10**9, "splits": False},
            [Part("Hi\n\nin.pdf: https://hub.example.com/media/t/in.pdf", attachments=[PHOTO])],
        ),
        ({"media": "bytes", "media_max": 9, "media_size": 10**9}, [Part(f"Hi\n\n{LINKS}")]),  # no bytes at hand
    ],
)
def test_files_the_channel_cannot_take_are_links(capabilities: dict[str, Any], parts: list[Part]) -> None:
    assert render(Content("Hi", attachments=[PHOTO, INVOICE]), can(**capabilities)) == parts


def test_bytes_go_where_bytes_are_wanted() -> None:
    held, big = Attachment(name="a.txt", data=b"abc"), Attachment(name="b.txt", data=b"x" * 11)
    (part,) = render(Content(attachments=[held, big]), can(media="bytes", media_max=5, media_size=10))
    assert part == Part("[b.txt: cannot be shown here]", attachments=[held])


def test_files_begin_at_the_last_piece_of_the_text() -> None:
    parts = render(
        Content("one two", attachments=[PHOTO, PHOTO, PHOTO]),
        can(text_limit=4, media="url", media_max=2, media_size=10**6),
    )
    assert [(part.text, len(part.attachments)) for part in parts] == [("one", 0), ("two", 2), ("", 1)]


ONE_FILE = {"media": "url", "media_max": 1, "media_size": 10**9}
VOICE = Attachment("audio", url="https://hub.example.com/media/t/voice.ogg")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (Content("four", attachments=[PHOTO]), [Part("four", attachments=[PHOTO])]),
        (Content("fives", attachments=[PHOTO]), [Part("fives"), Part(attachments=[PHOTO])]),
        (Content("four", attachments=[VOICE]), [Part("four"), Part(attachments=[VOICE])]),
        (Content("", attachments=[VOICE]), [Part(attachments=[VOICE])]),
        (
            Content("four", attachments=[PHOTO, VOICE]),
            [Part("four", attachments=[PHOTO]), Part(attachments=[VOICE])],
        ),
        (
            Content("four", attachments=[PHOTO], buttons=[YES]),
            [Part(attachments=[PHOTO]), Part("four", buttons=[YES])],
        ),
    ],
)
def test_text_that_is_no_caption_has_a_part_of_its_own(content: Content, parts: list[Part]) -> None:
    assert render(content, can(**ONE_FILE, captions=4, captioned=frozenset({"image"}), buttons=3)) == parts


def test_long_text_begins_before_the_part_with_buttons() -> None:
    parts = render(Content("one two six", buttons=[YES]), can(buttons=3, buttons_text=3))
    assert [(part.text, part.buttons) for part in parts] == [("one", []), ("two", []), ("six", [YES])]


@pytest.mark.parametrize("media", ["either", "both"])
def test_files_go_by_address_or_as_bytes_where_either_is_taken(media: Any) -> None:
    held = Attachment(name="a.txt", data=b"abc")
    files = [PHOTO, held, Attachment(name="b.txt")]
    (part,) = render(Content(attachments=files), can(media=media, media_max=5, media_size=10**6))
    assert part == Part("[b.txt: cannot be shown here]", attachments=[PHOTO, held])


def test_a_place_has_its_own_part_where_places_are_shown() -> None:
    place = Location(51.5, -0.1)
    assert render(Content(location=place), can(location=True)) == [Part(location=place)]
    assert render(Content("Here:", location=place), can(location=True)) == [Part("Here:"), Part(location=place)]


def test_a_template_is_one_part_where_templates_are_known() -> None:
    template = Template("order", "en", {"name": "Ann"})
    content = Content("one two", attachments=[PHOTO], buttons=[YES], template=template)
    parts = render(content, can(text_limit=4, templates=True, buttons=0, **ONE_FILE))
    assert parts == [Part("one two", attachments=[PHOTO], buttons=[YES], template=template)]
    content.attachments.append(INVOICE)
    assert render(content, can(templates=True, **ONE_FILE))[0].attachments == [PHOTO, INVOICE]


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (Location(51.501364, -0.14189), "51.50136, -0.14189"),
        (Location(51.5, -0.1, "Palace"), "Palace (51.5, -0.1)"),
        (Location(51.5, -0.1, "Palace", "London\nSW1A"), "Palace, London SW1A (51.5, -0.1)"),
    ],
)
def test_a_place_is_a_line(location: Location, text: str) -> None:
    assert texts(Content(location=location)) == [text]
    assert texts(Content("Here:", location=location)) == [f"Here:\n\n{text}"]


@pytest.mark.parametrize(
    ("content", "subject", "part"),
    [
        (Content("Hi", subject="News"), True, Part("Hi", subject="News")),
        (Content("Hi", subject="Ne\r\nBcc: x"), True, Part("Hi", subject="Ne Bcc: x")),
        (Content("Hi", subject="News"), False, Part("Hi")),
        (Content(subject="News"), False, Part("News")),
        (Content("Hi"), True, Part("Hi")),
        (Content(selection=Selection("y", "Yes")), False, Part("Yes")),
        (Content(unsupported="poll"), False, Part("[poll: cannot be shown here]")),
    ],
)
def test_subject_and_kinds_without_text(content: Content, subject: bool, part: Part) -> None:
    assert render(content, can(subject=subject)) == [part]


def test_subject_and_template_go_with_the_first_part() -> None:
    template = Template("order", "en", {"name": "Ann"})
    parts = render(Content("one two", subject="News", template=template), can(text_limit=4, subject=True))
    assert parts == [Part("one", subject="News", template=template), Part("two")]


def test_rendering_leaves_the_content_as_it_was() -> None:
    content = Content("Hi", buttons=[YES], attachments=[PHOTO])
    render(content, can(buttons=1, media="url", media_max=1, media_size=10**6))[0].buttons.clear()
    assert content == Content("Hi", buttons=[YES], attachments=[PHOTO])


def test_normalised_text_stays_normalised_when_joined() -> None:
    assert unicodedata.is_normalized("NFC", texts(Content("e\u0301 o\u0308"))[0])
