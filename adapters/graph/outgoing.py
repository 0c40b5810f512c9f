"""A part of a message as the body of a call, on Messenger and Instagram alike.

Source: https://developers.facebook.com/docs/messenger-platform/reference/send-api
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from adapters.graph import templates
from hub.contract import BadAddress, Outgoing, Rejected
from hub.model import Address, Attachment, AuthorKind, Purpose, Template, clean

QUICK_REPLIES = 13
TITLE = 20  # characters of a quick reply
_PAYLOAD = 1000  # characters
_KEY = 1000
_PERSON = re.compile(r"[0-9]{1,30}")
_KINDS = {"image": "image", "sticker": "image", "video": "video", "audio": "audio"}

# How a file goes out: Meta's word for its kind; None: it would not be shown, so its address is sent.
Shown = Callable[[Attachment], str | None]


def kind_of(file: Attachment) -> str:
    return _KINDS.get(file.kind, "file")


def body(out: Outgoing, person: str, shown: Shown, *, templated: bool) -> dict[str, Any]:
    """``person``: their id at Meta; ``templated``: whether there are templates. Raises: Rejected."""
    if out.template is not None and templated:
        kind, message = {"messaging_type": "UTILITY"}, _template(out, out.template)
    else:
        kind, message = _type(out), _message(out, shown)
    made: dict[str, Any] = {"recipient": {"id": person}, **kind, "message": message}
    made["message"]["metadata"] = out.key[:_KEY]
    return made | ({"reply_to": {"mid": out.reply_to}} if out.reply_to else {})


def person_of(to: Address, scheme: str, account: str) -> str:
    """The person behind an address, with our account's id in front or without. Raises: BadAddress, Rejected."""
    owner, colon, person = to.value.rpartition(":")
    if to.scheme != scheme or not _PERSON.fullmatch(person):
        raise BadAddress(f"not the id of a person at Meta: {clean(to.scheme)}:…", code="address")
    if colon and owner != account:
        raise Rejected("this person wrote to another account: send through that account's channel", code="account")
    return person


def _type(out: Outgoing) -> dict[str, str]:
    """Only people, not machines, may answer once the window has closed."""
    if out.late and out.author is not None and out.author.kind is AuthorKind.agent:
        return {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"}
    return {"messaging_type": "RESPONSE" if out.purpose is Purpose.reply else "UPDATE"}


def _template(out: Outgoing, template: Template) -> dict[str, Any]:
    """Approved by Meta, so it needs no window. A file becomes the header. Raises: Rejected."""
    if len(out.attachments) > 1 or any(file.url is None for file in out.attachments):
        raise Rejected("a template's header is one file with a public address", code="header")
    files = [{_KINDS.get(file.kind, "document"): {"link": file.url}} for file in out.attachments]
    return {"template": templates.body(template, files[0] if files else None, out.buttons)}


def _message(out: Outgoing, shown: Shown) -> dict[str, Any]:
    if out.reaction is not None:
        raise Rejected("reactions cannot be sent here", code="reaction")
    if out.template is not None and not out.text:
        raise Rejected("templates cannot be sent here: write the text itself", code="template")
    if len(out.attachments) > 1 or (out.attachments and out.text):
        raise Rejected("one text or one file a message, and this has more", code="files")
    if len(out.buttons) > QUICK_REPLIES or any(len(button.title) > TITLE for button in out.buttons):
        raise Rejected(f"more than {QUICK_REPLIES} choices, or one longer than {TITLE} characters", code="buttons")
    text = out.text or ("↓" if out.buttons else "")  # choices need something above them
    made: dict[str, Any] = _file(out.attachments[0], shown) if out.attachments else {"text": text}
    if made.get("text") == "":
        raise Rejected("the message says nothing", code="empty")
    if out.buttons:
        made["quick_replies"] = [
            {"content_type": "text", "title": button.title, "payload": button.id[:_PAYLOAD]} for button in out.buttons
        ]
    return made


def _file(file: Attachment, shown: Shown) -> dict[str, Any]:
    """Meta gets it from its address. Raises: Rejected."""
    if file.url is None:
        raise Rejected("a file has no public address", code="file")
    kind = shown(file)
    if kind is None:
        return {"text": f"{file.name}: {file.url}" if file.name else file.url}
    return {"attachment": {"type": kind, "payload": {"url": file.url, "is_reusable": False}}}
