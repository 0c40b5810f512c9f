"""A message as the parts a channel can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hub.contract import Capabilities
from hub.model import Attachment, Button, Content, Location, Template
from hub.render import html as markup
from hub.render.choices import numbered
from hub.render.segments import smart
from hub.render.text import TooLong, clean, size, split


@dataclass(slots=True)
class Part:
    """What one provider call says."""

    text: str = ""
    subject: str | None = None
    html: str | None = None
    attachments: list[Attachment] = field(default_factory=list)
    buttons: list[Button] = field(default_factory=list)
    location: Location | None = None
    template: Template | None = None


def render(content: Content, capabilities: Capabilities) -> list[Part]:
    """One part per provider call, in order; at least one. Buttons stand under the last text, files begin there.

    A template keeps all its files: what does not go beside it is for the adapter to refuse.
    Raises: TooLong if the text does not fit and the channel does not split.
    """
    if content.template is not None and capabilities.templates:
        return [Part(_words(content, capabilities), None, None, list(content.attachments), list(content.buttons),
                     template=content.template)]
    files, links = _share_out(content.attachments, capabilities)
    native = content.buttons if _fit_buttons(content.buttons, capabilities) else []
    listed = [] if native else content.buttons
    place = content.location if capabilities.location else None
    lines = "\n".join(filter(None, (_place(None if place else content.location), *map(_link, links))))
    extras = clean("\n\n".join(filter(None, (lines, numbered(listed)))))
    text = clean("\n\n".join(filter(None, (_words(content, capabilities), extras))))
    parts = [Part(text=piece) for piece in _fit(text, capabilities)]
    most, unit = capabilities.buttons_text, capabilities.text_unit
    if native and most and size(parts[-1].text, unit) > most:
        parts[-1:] = [Part(text=piece) for piece in split(parts[-1].text, most, unit)]
    parts[0].subject = (_one_line(content.subject) or None) if capabilities.subject else None
    parts[0].template = content.template
    # Beside pieces of a text its whole HTML would say everything twice.
    if capabilities.html and content.html and len(parts) == 1:
        html = clean(content.html)
        parts[0].html = markup.add_lines(html, extras) if extras else html
    parts[-1].buttons = list(native)
    parts = _with_files(parts, files, capabilities)
    return _with_place(parts, place) if place else parts


def _with_files(parts: list[Part], files: list[Attachment], capabilities: Capabilities) -> list[Part]:
    """Files begin beside the last text if that is a caption; else they follow it, or come before its buttons."""
    most = capabilities.media_max or 1
    groups = [files[start : start + most] for start in range(0, len(files), most)]
    last = parts[-1]
    if groups and _shares(last, groups[0], capabilities):
        last.attachments = groups.pop(0)
    alone = [Part(attachments=group) for group in groups]
    return [*parts[:-1], *alone, last] if last.buttons and not last.attachments else [*parts, *alone]


def _shares(part: Part, files: list[Attachment], capabilities: Capabilities) -> bool:
    if capabilities.captions is None or not (part.text or part.buttons):
        return True
    fits = size(part.text, capabilities.text_unit) <= capabilities.captions
    return fits and not part.buttons and all(file.kind in capabilities.captioned for file in files)


def _fit_buttons(buttons: Sequence[Button], capabilities: Capabilities) -> bool:
    longest = max((size(button.title) for button in buttons), default=0)
    return len(buttons) <= capabilities.buttons and longest <= (capabilities.button_title or longest)


def _with_place(parts: list[Part], place: Location) -> list[Part]:
    if parts == [Part()]:
        return [Part(location=place)]
    return [*parts, Part(location=place)]


def _words(content: Content, capabilities: Capabilities) -> str:
    """What the message says in words, from the first of its forms that has some."""
    if words := clean(content.text):
        return words
    if content.html and (words := markup.to_text(content.html)):
        return words
    if content.selection:
        return clean(content.selection.title)
    if content.unsupported:
        return f"[{clean(content.unsupported)}: cannot be shown here]"
    return "" if capabilities.subject else _one_line(content.subject)


def _fit(text: str, capabilities: Capabilities) -> list[str]:
    if capabilities.sms_segments:
        text = smart(text)
    length = size(text, capabilities.text_unit)
    if length <= capabilities.text_limit:
        return [text]
    if not capabilities.splits:
        raise TooLong(capabilities.text_limit, length)
    return split(text, capabilities.text_limit, capabilities.text_unit)


def _share_out(
    attachments: Sequence[Attachment], capabilities: Capabilities
) -> tuple[list[Attachment], list[Attachment]]:
    """Files that go out as files, and those that go as links. Where nothing splits, one part must hold them."""
    files = [file for file in attachments if _takes(file, capabilities)]
    if not capabilities.splits:
        files = files[: capabilities.media_max]
    kept = set(map(id, files))
    return files, [file for file in attachments if id(file) not in kept]


def _takes(file: Attachment, capabilities: Capabilities) -> bool:
    if capabilities.media == "none" or capabilities.media_max < 1 or (file.size or 0) > capabilities.media_size:
        return False
    if capabilities.media != "bytes" and file.url is not None:
        return True
    return capabilities.media != "url" and file.data is not None and len(file.data) <= capabilities.media_size


def _link(file: Attachment) -> str:
    name = _one_line(file.name) or file.kind
    return f"{name}: {file.url}" if file.url else f"[{name}: cannot be shown here]"


def _place(location: Location | None) -> str:
    """``name, address (latitude, longitude)``, five decimals: a metre."""
    if location is None:
        return ""
    point = f"{round(location.latitude, 5)}, {round(location.longitude, 5)}"
    named = ", ".join(filter(None, map(_one_line, (location.name, location.address))))
    return f"{named} ({point})" if named else point


def _one_line(text: str | None) -> str:
    return " ".join(clean(text or "").split())
