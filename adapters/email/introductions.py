"""Where a quoted mail begins, and what a phone adds below: in any language, by what such lines have in common."""

from __future__ import annotations

import re

_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)|(?<!\d)\d{1,2}[./-]\d{1,2}[./-]\d{2}(?!\d)")
_CLOCK = re.compile(r"(?<!\d)\d{1,2}[:.h]\d\d(?!\d)")
_WHO = re.compile(r"[^\s<>@]+@[^\s<>@]+\.[^\s<>@]+")
_MARKS = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # of direction: nobody sees them
_VERB = re.compile(
    r"(?:wrote|schrieb|a écrit|escribió|ha scritto|escreveu|schreef|napisał\(?a?\)?|napsal\(?a?\)?|skrev|kirjoitti"
    r"|написала?\(?а?\)?|пише|пишет|yazdı|写道|寫道|작성|đã viết|έγραψε|כתב/?ה?|كتب|ezt írta|a scris"
    r"|va escriure)\s*[:：]$",
    re.IGNORECASE,
)
_LONGEST = 300  # characters of an introduction, which may be wrapped over three lines
_WRAPPED = 3

# The first lines of the block that Outlook and others put above a mail: "From: …", "Sent: …".
_FROM = frozenset(
    re.findall(
        r"\S+",
        r"from von de da van od från fra lähettäjä feladó от від kimden από 发件人 寄件者 差出人 보낸사람 "
        r"מאת من từ expéditeur remitente mittente nadawca odesílatel",
    )
)
_SENT = frozenset(
    re.findall(
        r"\S+",
        r"sent date gesendet datum envoyé enviado fecha data inviato verzonden wysłano odesláno skickat "
        r"sendt dato lähetetty päiväys elküldve dátum trimis отправлено дата надіслано gönderildi "
        r"gönderilme tarih στάλθηκε ημερομηνία 发送时间 日期 傳送日期 寄件日期 送信日時 日付 보낸날짜 "
        r"날짜 נשלח תאריך تاريخ ngày",
    )
)
_LABEL = re.compile(r"([^:：*]{2,30}?)[\s*]{0,3}[:：]")

_FORWARDED = (
    r"forwarded (?:message|mail|email)|weitergeleitete (?:nachricht|e-?mail)|message transféré|mensaje reenviado"
    r"|messaggio inoltrato|mensagem encaminhada|doorgestuurd bericht|vidarebefordrat meddelande"
    r"|videresendt (?:meddelelse|melding|besked)|przekazana wiadomość|wiadomość przekazana|přeposlaná zpráva"
    r"|välitetty viesti|továbbított üzenet|mesaj redirecționat|iletilen mesaj|пересылаемое сообщение"
    r"|пересланное сообщение|переслане повідомлення|转发的邮件|轉寄的郵件|已转发邮件|転送メッセージ"
    r"|転送されたメッセージ|전달된 메시지"
    r"|προωθημένο μήνυμα|הודעה שהועברה|رسالة معاد توجيهها|thư đã chuyển tiếp"
)
_FORWARD = re.compile(rf"[-\s]*(?:begin |beginning of |anfang der |début du |inicio del |inizio )?(?:{_FORWARDED})"
                      r"(?: von .{1,40})?[-\s:：]*", re.IGNORECASE)
_FORWARD_SUBJECT = re.compile(r"\s*(?:fwd?|wg|tr|rv|enc|doorst|vb|vl|pd|转发|轉寄|転送)\s*[:：]", re.IGNORECASE)
_SEPARATOR = re.compile(r"\s*(?:_{5,}|[-–—]{5,}|-{2,}\s*[^\W\d_][^-]{2,40}-{2,})\s*")

_DEVICE = re.compile(
    r"(?:sent (?:from|via|with|using) (?:my|a|an|the|outlook|mail|yahoo|samsung|gmail|proton|android|iphone|ipad"
    r"|windows|aol|bluemail|spark|edison|fastmail|nine|tutanota|tuta|myMail)\b.{0,60}"
    r"|get outlook for .{2,60}|télécharge[rz] outlook pour .{2,60}|obtenez outlook pour .{2,60}"
    r"|scarica outlook per .{2,60}"
    r"|obtener outlook para .{2,60}|obter o outlook para .{2,60}|outlook für \S+ beziehen.{0,60}|outlook voor .{2,60}"
    r"|von meinem .{2,40} gesendet\.?|gesendet (?:von|mit|über|aus) .{2,60}"
    r"|diese nachricht wurde von .{2,80} gesendet\.?"
    r"|envoyé (?:de|depuis|à partir d|avec|via) ?.{2,60}|enviado (?:desde|con|do|da|de|a partir d|pelo) ?.{2,60}"
    r"|inviato (?:da|dal|dall|con) ?.{2,60}|(?:verstuurd|verzonden) (?:vanaf|vanuit|via|met) .{2,60}"
    r"|skickat från .{2,60}|sendt fra .{2,60}|wysłan[eo] z .{2,60}|odesláno z .{2,60}"
    r"|lähetetty .{2,60}|отправлено (?:с|из|от) .{2,60}|надіслано з .{2,60}"
    r"|(?:iphone|ipad).{0,20} gönderildi"
    r"|.{2,40}から送信"
    r"|(?:发|發)自我的.{1,40}|从我的.{1,40}发送|從我的.{1,40}傳送|나의 .{2,40}에서 보냄|.{2,40}에서 보냄"
    r"|στάλθηκε από .{2,60})",
    re.IGNORECASE,
)


def introduction(lines: list[str]) -> tuple[int, int] | None:
    """Number of the first line that introduces a quoted mail, and how many do; None if nothing does."""
    for number, line in enumerate(lines):
        found = _block(lines, number) if _label(line) in _FROM else None
        found = found or (_sentence(lines, number) if line.rstrip()[-1:] in ":：\u200f\u202c\u2069" else None)
        if found is not None:
            return found
    return None


def _sentence(lines: list[str], end: int) -> tuple[int, int] | None:
    """ "On Sat, 31 Jan 2026 at 11:40, Ann <ann@example.org> wrote:", perhaps wrapped, which ends on line ``end``."""
    quoted = _is_quoted(lines, end + 1)
    words = ""
    for start in range(end, max(-1, end - _WRAPPED), -1):
        if not lines[start].strip() or lines[start].startswith(">"):
            return None
        words = f"{_MARKS.sub('', lines[start]).strip()} {words}".strip()
        if len(words) > _LONGEST or words[-1] not in ":：":
            return None
        told = [bool(each.search(words)) for each in (_YEAR, _CLOCK, _WHO)]
        if all(told) or (told[0] and _VERB.search(words)) or (quoted and sum(told) > 1):
            return start, end - start + 1
    return None


def _is_quoted(lines: list[str], number: int) -> bool:
    """Whether quoted lines follow, at most one empty line below."""
    below = lines[number : number + 2]
    if below and not below[0].strip():
        below = below[1:]
    return bool(below) and below[0].startswith(">")


def _block(lines: list[str], number: int) -> tuple[int, int] | None:
    """Lines with labels, the first of which says from whom and a later one when."""
    end = number
    while end < len(lines) and end - number < 8 and _label(lines[end]):
        end += 1
    labels = [_label(line) for line in lines[number + 1 : end]]
    return (number, end - number) if any(label in _SENT for label in labels[:3]) else None


def _label(line: str) -> str:
    """The first word of what stands before a colon: ``enviado`` of "Enviado el: sábado"; of Korean both."""
    found = _LABEL.match(_MARKS.sub("", line).strip("* \t\xa0")[:60])
    if found is None:
        return ""
    words = found[1].lower().split()
    return "".join(words) if words and "가" <= words[0][0] <= "힣" else (words[0] if words else "")


def is_forwarding(line: str) -> bool:
    """Whether what follows is what the writer wants to show: "---------- Forwarded message ---------"."""
    return _FORWARD.fullmatch(line) is not None


def forwards(subject: str) -> bool:
    """ "Fwd: …", "WG: …": Outlook marks a forwarded mail by nothing else."""
    return _FORWARD_SUBJECT.match(subject) is not None


def is_separator(line: str) -> bool:
    """ "________", "-----Original Message-----"."""
    return _SEPARATOR.fullmatch(line) is not None


def is_device(line: str) -> bool:
    """ "Sent from my iPhone"."""
    return _DEVICE.fullmatch(line.strip()) is not None
