"""What is new in a mail, by the programs and in the languages that people write with."""

from __future__ import annotations

import pytest

from adapters.email.introductions import forwards
from adapters.email.markup import to_text, without_quote
from adapters.email.quote import new_text

# What stands above the quoted mail, by program or language.
INTRODUCED = {
    "de": "Am Sa., 31. Jan. 2026 um 12:00 Uhr schrieb Support <support@example.com>:",
    "fr": "Le sam. 31 janv. 2026 à 12:00, Support <support@example.com> a écrit :",
    "es": "El sáb, 31 ene 2026 a las 12:00, Support (<support@example.com>) escribió:",
    "it": "Il giorno sab 31 gen 2026 alle ore 12:00 Support <support@example.com> ha scritto:",
    "pt": "Em sáb., 31 de jan. de 2026 às 12:00, Support <support@example.com> escreveu:",
    "nl": "Op za 31 jan 2026 om 12:00 schreef Support <support@example.com>:",
    "pl": "sob., 31 sty 2026 o 12:00 Support <support@example.com> napisał(a):",
    "sv": "Den lör 31 jan. 2026 kl 12:00 skrev Support <support@example.com>:",
    "da": "Den lør. 31. jan. 2026 kl. 12.00 skrev Support <support@example.com>:",
    "no": "lør. 31. jan. 2026 kl. 12:00 skrev Support <support@example.com>:",
    "fi": "la 31. tammik. 2026 klo 12.00 Support <support@example.com> kirjoitti:",
    "cs": "so 31. 1. 2026 v 12:00 odesílatel Support <support@example.com> napsal:",
    "ru": "сб, 31 янв. 2026 г. в 12:00, Support <support@example.com>:",
    "uk": "сб, 31 січ. 2026 р. о 12:00 Support <support@example.com> пише:",
    "tr": "Support <support@example.com>, 31 Oca 2026 Cmt, 12:00 tarihinde şunu yazdı:",
    "ja": "2026年1月31日(土) 12:00 Support <support@example.com>:",
    "zh": "Support <support@example.com> 于2026年1月31日周六 12:00写道：",
    "ko": "2026년 1월 31일 (토) 오후 12:00, Support <support@example.com>님이 작성:",
    "vi": "Vào Th 7, 31 thg 1, 2026 vào lúc 12:00 Support <support@example.com> đã viết:",
    "el": "Στις Σάβ 31 Ιαν 2026 στις 12:00 μ.μ., ο/η Support <support@example.com> έγραψε:",
    "he": (
        "\u202bבתאריך שבת, 31 בינו׳ 2026 ב-12:00 מאת \u202aSupport\u202c\u200f "
        "<\u202asupport@example.com\u202c\u200f>:\u202c"
    ),
    "ar": "في السبت، 31 يناير 2026 في 12:00 م تمت كتابة ما يلي بواسطة Support <support@example.com>:",
    "hu": "Support <support@example.com> ezt írta (időpont: 2026. jan. 31., Szo, 12:00):",
    "ro": "sâm., 31 ian. 2026 la 12:00, Support <support@example.com> a scris:",
    "ca": "El ds., 31 de gen. 2026, 12:00, Support <support@example.com> va escriure:",
    "apple de": "Am 31.01.2026 um 12:00 schrieb Support <support@example.com>:",
    "apple fr": "Le 31 janv. 2026 à 12:00, Support <support@example.com> a écrit :",
    "apple es": "El 31 ene 2026, a las 12:00, Support <support@example.com> escribió:",
    "apple pt": "Em 31 de jan. de 2026, à(s) 12:00, Support <support@example.com> escreveu:",
    "thunderbird en": "On 31/01/2026 12:00, Support wrote:",
    "thunderbird de": "Am 31.01.26 um 12:00 schrieb Support:",
    "thunderbird it": "Il 31/01/2026 12:00, Support ha scritto:",
    "apple quoted": "> On 31 Jan 2026, at 12:00, Support <support@example.com> wrote:\n>",
}
# The same on several lines, as narrow windows wrap them.
WRAPPED = [
    "On Sat, Jan 31, 2026 at 8:12\u202fPM Support <support@example.com>\nwrote:",
    "On Sat, Jan 31, 2026 at 8:12 PM Support Team With A Long Name\n<support+0123456789@example.com> wrote:",
    "On Saturday, January 31, 2026 at 8:12 PM\nSupport Team With A Long Name\n<support@example.com> wrote:",
]
# The block that Outlook puts there.
BLOCKS = {
    "en": "From: Support <support@example.com>\nSent: Saturday, January 31, 2026 12:00 PM\nTo: Ann\nSubject: Order",
    "de": "Von: Support <support@example.com>\nGesendet: Samstag, 31. Januar 2026 12:00\nAn: Ann\nBetreff: Order",
    "fr": "De : Support <support@example.com>\nEnvoyé : samedi 31 janvier 2026 12:00\nÀ : Ann\nObjet : Order",
    "es": "De: Support <support@example.com>\nEnviado: sábado, 31 de enero de 2026 12:00\nPara: Ann\nAsunto: Order",
    "pt": "De: Support <support@example.com>\nEnviado: sábado, 31 de janeiro de 2026 12:00\nPara: Ann\nAssunto: Order",
    "it": "Da: Support <support@example.com>\nInviato: sabato 31 gennaio 2026 12:00\nA: Ann\nOggetto: Order",
    "nl": "Van: Support <support@example.com>\nVerzonden: zaterdag 31 januari 2026 12:00\nAan: Ann\nOnderwerp: Order",
    "ru": "От: Support <support@example.com>\nОтправлено: 31 января 2026 г. 12:00\nКому: Ann\nТема: Order",
    "zh": "发件人: Support <support@example.com>\n发送时间: 2026年1月31日 12:00\n收件人: Ann\n主题: Order",
    "ja": "差出人: Support <support@example.com>\n送信日時: 2026年1月31日 12:00\n宛先: Ann\n件名: Order",
    "pl": "Od: Support <support@example.com>\nWysłano: sobota, 31 stycznia 2026 12:00\nDo: Ann\nTemat: Order",
    "sv": "Från: Support <support@example.com>\nSkickat: den 31 januari 2026 12:00\nTill: Ann\nÄmne: Order",
}
SEPARATORS = [
    "",
    "________________________________\n",
    "-----Original Message-----\n",
    "-----Ursprüngliche Nachricht-----\n",
]
DEVICES = [
    "Sent from my iPhone",
    "Sent from Outlook for iOS",
    "Get Outlook for iOS <https://aka.ms/o0ukef>",
    "Sent from Mail for Windows",
    "Sent from Yahoo Mail on Android",
    "Von meinem iPhone gesendet",
    "Diese Nachricht wurde von meinem Android-Mobiltelefon mit GMX Mail gesendet.",
    "Envoyé de mon iPhone",
    "Enviado desde mi iPhone",
    "Enviado do meu iPhone",
    "Inviato da iPhone",
    "Verstuurd vanaf mijn iPhone",
    "Отправлено с iPhone",
    "iPhoneから送信",
    "发自我的iPhone",
    "나의 iPhone에서 보냄",
]


@pytest.mark.parametrize("name", INTRODUCED)
def test_a_quoted_mail_is_cut_with_what_introduces_it(name: str) -> None:
    assert new_text(f"Merci 🙂\n\n{INTRODUCED[name]}\n\n> The old mail\n> goes on.\n") == "Merci 🙂"


@pytest.mark.parametrize("name", [name for name, words in INTRODUCED.items() if "<" in words and words[0] != ">"])
def test_a_mail_quoted_without_marks_is_cut_too(name: str) -> None:
    assert new_text(f"Merci 🙂\n\n{INTRODUCED[name]}\n\nThe old mail\ngoes on.\n") == "Merci 🙂"


@pytest.mark.parametrize("words", WRAPPED)
@pytest.mark.parametrize("quoted", ["> The old mail", "The old mail"])
def test_what_introduces_may_be_wrapped(words: str, quoted: str) -> None:
    assert new_text(f"Yes please.\n{words}\n\n{quoted}\n") == "Yes please."


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_outlooks_block_is_cut_with_the_line_above_it(name: str, separator: str) -> None:
    assert new_text(f"Merci.\n\n{separator}{BLOCKS[name]}\n\nThe old mail\n") == "Merci."


@pytest.mark.parametrize("words", DEVICES)
def test_what_a_phone_says_of_itself_is_cut(words: str) -> None:
    assert new_text(f"Yes please.\n\n{words}\n") == "Yes please."
    assert new_text(words) == words


NEW = [
    "I was there on 31.01.2026 at 12:00: nobody came.",
    "Our details:\nEmail: ann@example.org\nDate: 2026-01-31\nOrder: 1042",
    "Please send it to:\n\nAnn Fielding\n5 High Street",
    "They wrote:\n\nno parcel for you",
    "The parcel was sent from your shop in London",
    "From: the shop\nTo: me\nno date is told",
]


@pytest.mark.parametrize("text", NEW)
def test_what_only_resembles_stays(text: str) -> None:
    assert new_text(text) == text


FORWARDED = [
    "---------- Forwarded message ---------",
    "Begin forwarded message:",
    "-------- Weitergeleitete Nachricht --------",
    "---------- Message transféré ----------",
    "Anfang der weitergeleiteten Nachricht:",
    "-------- Пересылаемое сообщение --------",
]


@pytest.mark.parametrize("line", [*FORWARDED[:4], *FORWARDED[5:]])
@pytest.mark.parametrize("above", ["See below\n\n", "See below\n-- \nAnn\n\n", ""])
def test_a_mail_that_is_shown_is_kept(line: str, above: str) -> None:
    text = f"{above}{line}\nFrom: Bob <bob@example.net>\nDate: Sat, 31 Jan 2026\nSubject: Lid\nTo: Ann\n\nNo lids left."
    assert new_text(text) == text


def test_a_mail_that_is_shown_within_a_quoted_one_is_cut_with_it() -> None:
    text = (
        f"Yes.\n\nOn 31/01/2026 12:00, Support <s@example.com> wrote:\n\n{FORWARDED[0]}\nFrom: Bob <bob@example.net>\n"
    )
    assert new_text(text) == "Yes."


@pytest.mark.parametrize(("subject", "is_so"), [
    ("Fwd: Lid", True), ("FW: Lid", True), ("WG: Deckel", True), ("TR : Couvercle", True), ("Re: Fwd: Lid", False),
    ("Lid", False), ("Forward", False),
])  # fmt: skip
def test_outlook_marks_a_forwarded_mail_in_its_subject(subject: str, is_so: bool) -> None:
    assert forwards(subject) is is_so
    text = f"Look\n\n{BLOCKS['en']}\n\nNo lids left."
    assert new_text(text, forwarded=forwards(subject)) == (text if is_so else "Look")


HTML = {
    "gmail": (
        '<div dir="ltr">Yes please</div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" '
        'class="gmail_attr">On Sat, Jan 31, 2026 at 8:12\u202fPM Support &lt;<a '
        'href="mailto:s@example.com">s@example.com</a>&gt; wrote:<br></div><blockquote class="gmail_quote" '
        'style="x">Old <b>text</b><blockquote>older</blockquote></blockquote></div>',
        "Yes please",
    ),
    "gmail inline": (
        '<div class="gmail_quote"><div dir="ltr" class="gmail_attr">On Sat wrote:<br></div><blockquote '
        'class="gmail_quote">Q1?</blockquote><div>So the terminology is not consistent</div><blockquote '
        'class="gmail_quote">Q2?</blockquote><div>A2</div></div>',
        "So the terminology is not consistent\nA2",
    ),
    "outlook web": (
        '<div>Yes please</div><div id="appendonsend"></div><hr style="display:inline-block;width:98%" '
        'tabindex="-1"><div id="divRplyFwdMsg" dir="ltr"><font><b>From:</b> S<br><b>Sent:</b> '
        "Sat<br></font></div><div>Old text</div>",
        "Yes please",
    ),
    "outlook again": (
        '<div>Yes please</div><div id="x_divRplyFwdMsg" dir="ltr"><b>From:</b> S</div><div>Old text</div>',
        "Yes please",
    ),
    "outlook classic": (
        '<div><p>Yes please</p><div><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0in 0in '
        '0in"><p><b>From:</b> S<br><b>Sent:</b> Sat</p></div></div><p>Old text</p></div>',
        "Yes please",
    ),
    "outlook in centimetres": (
        '<p>Ja</p><div style="border:none;border-top:solid #B5C4DF 1.0pt;padding:3.0pt 0cm 0cm '
        '0cm"><p><b>Von:</b> S<br><b>Gesendet:</b> Sat</p></div><p>Old text</p>',
        "Ja",
    ),
    "outlook mac": (
        '<div>Yes</div><div id="mail-editor-reference-message-container"><div><b>From: </b>S '
        "&lt;s@example.com&gt;<br><b>Date: </b>Saturday, 31 January 2026 at 12:00<br><b>To: </b>A<br><b>Subject: "
        "</b>x</div><div>Old text</div></div>",
        "Yes",
    ),
    "outlook 2011": (
        '<div>Yes</div><span id="OLK_SRC_BODY_SECTION"><div>From: S</div>Old text</span>',
        "Yes",
    ),
    "apple": (
        '<div>Yes</div><div><br><blockquote type="cite"><div>On 31 Jan 2026, at 12:00, S &lt;s@example.com&gt; '
        "wrote:</div><br>Old text</blockquote></div>",
        "Yes",
    ),
    "apple ios": (
        '<div dir="ltr">Yes</div><div dir="ltr"><br><blockquote type="cite">On 31 Jan 2026, at 12:00, S '
        '&lt;s@example.com&gt; wrote:<br><br></blockquote></div><blockquote type="cite"><div dir="ltr">Old '
        "text</div></blockquote>Sent from my iPhone",
        "Yes",
    ),
    "thunderbird": (
        '<div class="moz-cite-prefix">On 31/01/2026 12:00, S wrote:<br></div><blockquote type="cite" '
        'cite="mid:x">Old text</blockquote><p>Yes below</p>',
        "Yes below",
    ),
    "yahoo": (
        '<div>Yes</div><div id="yahoo_quoted_1" class="yahoo_quoted"><div>On Saturday, 31 January 2026 at '
        "12:00:00 GMT, S wrote:</div><div>Old text</div></div>",
        "Yes",
    ),
    "proton": (
        '<div>Yes</div><div class="protonmail_quote">On Saturday wrote:<blockquote class="protonmail_quote" '
        'type="cite">Old text</blockquote></div>',
        "Yes",
    ),
    "proton with a line": (
        '<div>Yes</div><div class="protonmail_quote">------- Original Message -------<br>On Saturday, S '
        'wrote:<br><blockquote class="protonmail_quote" type="cite">Old text</blockquote></div>',
        "Yes",
    ),
    "zimbra": (
        '<div>Yes</div><hr id="zwchr" data-marker="__DIVIDER__"><div data-marker="__HEADERS__"><b>From: '
        '</b>S</div><blockquote data-marker="__QUOTED_TEXT__">Old text</blockquote>',
        "Yes",
    ),
    "gmail before 2018": (
        '<div>Yes</div><div class="gmail_extra"><br><div class="gmail_quote">On Jan 31, 2026 8:12 PM, S '
        '&lt;s@example.com&gt; wrote:<br type="attribution"><blockquote class="quote">Old '
        "text</blockquote></div></div>",
        "Yes",
    ),
    "gmail signature": (
        '<div>Yes</div><div><br></div><span class="gmail_signature_prefix">-- </span><br><div dir="ltr" '
        'class="gmail_signature">Ann Fielding<br>CEO</div>',
        "Yes",
    ),
    "samsung": (
        "<div>Yes</div><div>Von meinem Galaxy gesendet</div><div><br></div><div>-------- Ursprüngliche Nachricht "
        "--------</div><div>Von: S &lt;s@example.com&gt;</div><div>Datum: 31.01.26 12:00 "
        "(GMT+01:00)</div><div>An: A</div><div>Betreff: x</div><div><br></div><div>Old text</div>",
        "Yes",
    ),
    "gmx": (
        '<div>Ja<div name="quote" style="margin:10px 5px 5px 10px; padding: 10px 0 10px 10px; border-left:2px '
        'solid #C3D9E5;"><div style="margin:0 0 10px 0;"><b>Gesendet:</b> Samstag, 31. Januar 2026 um 12:00 '
        "Uhr<br/><b>Von:</b> S &lt;s@example.com&gt;<br/><b>An:</b> A<br/><b>Betreff:</b> x</div><div "
        'name="quoted-content">Old text</div></div></div>',
        "Ja",
    ),
    "mail.ru": (
        '<div>Да</div><blockquote style="border-left:1px solid #0857A6;margin:10px;padding:0 0 0 10px;">Суббота, '
        "31 января 2026, 12:00 +03:00 от S &lt;s@example.com&gt;:<br>Old text</blockquote>",
        "Да",
    ),
    "tutanota": (
        '<div>Yes</div><div>31 Jan 2026, 12:00 by s@example.com:<br></div><blockquote class="tutanota_quote">Old '
        "text</blockquote>",
        "Yes",
    ),
}


@pytest.mark.parametrize("name", HTML)
def test_html_without_the_mail_it_quotes(name: str) -> None:
    html, new = HTML[name]
    assert new_text(to_text(without_quote(html))) == new


def test_a_link_that_runs_something_is_only_its_words() -> None:
    assert to_text('<a href="javascript:alert(1)">the shop</a>') == "the shop"


@pytest.mark.timeout(20)
def test_html_that_is_nothing_but_tags_is_read_at_once() -> None:
    assert to_text("<div>" * 150_000) == ""
