"""What the desk looks like: cards, messages and marks as Block Kit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextQuoteElement,
    RichTextSectionElement,
)

from adapters.slack.text import clean, clip, escape, one_line
from hub.contract import Card, Outgoing, Rejected
from hub.model import Attachment, Author, AuthorKind, Purpose

# Limits of Block Kit, in characters. Source: https://docs.slack.dev/reference/block-kit/blocks
CHUNK = 2900  # of one block; 3000 is the limit of a section's text
HEADER = 150
USERNAME = 80
FALLBACK = 3900  # of the text of notifications; Slack advises at most 4000
LONGEST = 12_000  # of the text of a post without blocks; Slack cuts at 40 000
PREVIEW = 280

# How a medium is written and drawn beside the author's name; others get their own name and DEFAULT_ICON.
MEDIA: Mapping[str, tuple[str, str]] = {
    "sms": ("SMS", ":iphone:"),
    "email": ("Email", ":email:"),
    "webchat": ("Web chat", ":speech_balloon:"),
    "whatsapp": ("WhatsApp", ":green_heart:"),
    "messenger": ("Messenger", ":blue_heart:"),
    "instagram": ("Instagram", ":camera:"),
    "telegram": ("Telegram", ":airplane:"),
    "line": ("LINE", ":large_green_circle:"),
    "voice": ("Voice", ":telephone_receiver:"),
}
DEFAULT_ICON = ":incoming_envelope:"
KINDS: Mapping[AuthorKind, str] = {
    AuthorKind.agent: ":bust_in_silhouette:",
    AuthorKind.automation: ":gear:",
    AuthorKind.campaign: ":loudspeaker:",
}
STATES: Mapping[str, str] = {
    "open": ":large_green_circle:",
    "pending": ":hourglass_flowing_sand:",
    "snoozed": ":zzz:",
    "resolved": ":white_check_mark:",
}

# Delivery marks: the reactions on an agent's post. One check for sent, two for delivered, eyes for read;
# a lock for a note.
MARKS: Mapping[str, tuple[str, ...]] = {
    "inside": ("lock",),
    "queued": ("hourglass_flowing_sand",),
    "sent": ("heavy_check_mark",),
    "delivered": ("heavy_check_mark", "white_check_mark"),
    "read": ("heavy_check_mark", "white_check_mark", "eyes"),
    "failed": ("warning",),
    "denied": ("warning",),
    "unknown": ("warning",),
}
ALL_MARKS = frozenset(name for names in MARKS.values() for name in names)
EXPLAINED: Mapping[str, str] = {
    "failed": "Not delivered",
    "denied": "Not sent",
    "unknown": "Perhaps not delivered",
}


def message(out: Outgoing) -> dict[str, Any]:
    """A post in the thread, in its author's name. Nothing in it is a mention or a link but what we made one.

    Raises: Rejected.
    """
    if out.template is not None and not out.text:
        raise Rejected("Slack has no templates: send the text itself", code="empty")
    text = clean(out.text)
    parts: list[Block] = []
    if out.subject:
        parts.append(_rich(one_line(clean(out.subject), CHUNK), bold=True))
    parts += [_rich(piece) for piece in pieces(text)]
    files = attached(out.attachments)
    if files:
        parts.append(ContextBlock(elements=[PlainTextObject(text=clip(files, 2000), emoji=False)]))
    quoted = [_quote(one_line(clean(out.quoted), CHUNK))] if out.quoted else []
    body = post(text or out.subject or files or "(empty)", [*quoted, *(parts or [_rich("(empty)")])])
    return body | signature(out.author, out.origin, out.purpose)


def signature(author: Author | None, origin: str | None, purpose: Purpose) -> dict[str, Any]:
    """Under which name and picture a post appears: ``Ann · SMS``."""
    if author is None:
        return {}
    label, icon = MEDIA.get(origin or "", ((origin or "").replace("_", " ").capitalize(), DEFAULT_ICON))
    if author.kind in KINDS:
        icon = KINDS[author.kind]
    if purpose is Purpose.note:
        label, icon = ("", icon) if author.kind is AuthorKind.automation else ("note", ":memo:")
    words = [one_line(clean(author.name), USERNAME - 20) or "Unknown", one_line(label, 17)]
    name = {"username": " · ".join(word for word in words if word)}
    if author.avatar and author.avatar.startswith("https://"):
        return name | {"icon_url": author.avatar}
    return name | {"icon_emoji": icon}


def card(shown: Card) -> dict[str, Any]:
    """The conversation in short, at the top of its thread."""
    customer = one_line(clean(shown.customer), HEADER) or "Unknown customer"
    preview = clip(clean(shown.preview).strip(), PREVIEW)
    state = f"{STATES.get(shown.state, ':grey_question:')} *{escape(shown.state)}*"
    facts = [state, f"assigned to {escape(clean(shown.assignee))}" if shown.assignee else "unassigned"]
    if shown.waiting_since is not None:
        facts.append(f"waiting since {moment(shown.waiting_since)}")
    parts: list[Block] = [HeaderBlock(text=PlainTextObject(text=customer, emoji=False)), _mark_up(" · ".join(facts))]
    if shown.unverified:
        parts.append(_mark_up(":warning: *unverified sender*: nobody vouches that this person is who they say"))
    if shown.channels:
        parts.append(_rich(clip(clean(" · ".join(shown.channels)), CHUNK)))
    if preview:
        parts.append(_quote(preview))
    parts.append(_controls(shown))
    return post(f"{customer} ({shown.state}): {preview}", parts)


def moment(at: datetime) -> str:
    """A time each reader sees in their own zone.

    Source: https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    """
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time}}|{at:%Y-%m-%d %H:%M} UTC>"


def line(text: str) -> dict[str, Any]:
    """A remark of the hub's own in a thread."""
    return post(text, [_rich(piece) for piece in pieces(clean(text))])


def earlier(link: str | None) -> dict[str, Any]:
    """Where the conversation was before this thread."""
    words = RichTextElementParts.Text(text="This conversation goes on from ")
    where = "an earlier thread"
    named = RichTextElementParts.Link(url=link, text=where) if link else RichTextElementParts.Text(text=where)
    return post(words.text + where, [RichTextBlock(elements=[RichTextSectionElement(elements=[words, named])])])


def plain(body: dict[str, Any], text: str) -> dict[str, Any]:
    """A post without its blocks; ``text``: what it says at length, if it is a message."""
    return body | {"blocks": [], "text": escape(clip(clean(text), LONGEST)) or body["text"], "mrkdwn": False}


def lost_files(lost: Sequence[tuple[Attachment, str]]) -> dict[str, Any]:
    """Where to find files that could not be put into Slack, and why they are not there."""
    parts: list[Block] = []
    words: list[str] = []
    for file, reason in lost:
        name = one_line(clean(file.name or file.kind), 200)
        words.append(f"{name}: not shown here ({reason})")
        elements: list[Any] = [RichTextElementParts.Text(text=f"{words[-1]} ")]
        if file.url:
            elements.append(RichTextElementParts.Link(url=file.url, text="open it here"))
        parts.append(RichTextBlock(elements=[RichTextSectionElement(elements=elements)]))
    return post("\n".join(words), parts[:50])


def attached(files: Sequence[Attachment]) -> str:
    names = ", ".join(one_line(clean(file.name or file.kind), 100) for file in files)
    return f"📎 {names}" if names else ""


def post(text: str, parts: Sequence[Block]) -> dict[str, Any]:
    """``text`` is what notifications and screen readers get."""
    return {
        "text": escape(clip(clean(text), FALLBACK)),
        "blocks": [part.to_dict() for part in parts],
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def pieces(text: str) -> list[str]:
    """Cut where a line ends, or else a word; joined, they are the text again."""
    cut: list[str] = []
    while len(text) > CHUNK:
        end = text.rfind("\n", CHUNK // 2, CHUNK) + 1 or text.rfind(" ", CHUNK // 2, CHUNK) + 1 or CHUNK
        cut.append(text[:end])
        text = text[end:]
    return [*cut, text] if text else cut


def _controls(shown: Card) -> ActionsBlock:
    done = shown.state == "resolved"
    change = (
        ButtonElement(text="Reopen", action_id="reopen", value=shown.conversation)
        if done
        else ButtonElement(text="Resolve", action_id="resolve", value=shown.conversation, style="primary")
    )
    assign = ButtonElement(text="Assign to me", action_id="assign", value="me")
    return ActionsBlock(elements=[change, assign])


def _mark_up(text: str) -> ContextBlock:
    """Our own words, with Slack's markup; what comes from elsewhere in it must be escaped."""
    return ContextBlock(elements=[MarkdownTextObject(text=text, verbatim=True)])


def _quote(text: str) -> RichTextBlock:
    return RichTextBlock(elements=[RichTextQuoteElement(elements=[RichTextElementParts.Text(text=text)])])


def _rich(text: str, *, bold: bool = False) -> RichTextBlock:
    """Rich text is a tree, so nothing in its text is ever read as markup."""
    style = RichTextElementParts.TextStyle(bold=True) if bold else None
    return RichTextBlock(
        elements=[RichTextSectionElement(elements=[RichTextElementParts.Text(text=text, style=style)])]
    )
