"""What others wrote from our account, which Meta shows us as it shows what people write to us."""

from __future__ import annotations

from hub.contract import ELSEWHERE, Event, MessageDeleted, MessageEchoed, MessageEdited, MessageReceived, Reacted
from hub.model import Party


def echo_of(event: Event, scheme: str, account: str) -> Event:
    """``event``: as if the person it went to had done it; ``account``: our own address there."""
    if isinstance(event, MessageReceived):
        return _echo(event)
    if isinstance(event, MessageDeleted | MessageEdited | Reacted):
        event.sender = Party(scheme, account, ELSEWHERE)
    return event


def _echo(message: MessageReceived) -> MessageEchoed:
    return MessageEchoed(
        message.external_id,
        message.sender,
        message.at,
        message.text,
        message.also,
        message.subject,
        message.attachments,
        message.location,
        message.reply_to,
        message.unsupported,
    )
