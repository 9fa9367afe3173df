"""Files among the messages of OpenAI's clients.

https://platform.openai.com/docs/guides/pdf-files
"""

import base64
import re

from msgspec import Struct

from proto.dialects.asked import Ignored, Name, NonEmpty, invalid
from proto.prompt import DocumentPart, TextPart

PDF = "application/pdf"
_DATA = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,(.*)", re.DOTALL)


class File(Struct, forbid_unknown_fields=True, kw_only=True):
    """By its bytes, or by the id that an upstream has given it."""

    file_data: NonEmpty | None = None
    """``data:`` with a PDF or with text. Ours: ``https:``, which upstreams may fetch."""
    file_id: Name | None = None
    filename: str | None = None


class FileContent(Struct, forbid_unknown_fields=True, kw_only=True, tag="file"):
    file: File
    cache_control: Ignored = None


def read_file(file: File, where: str) -> DocumentPart | TextPart:
    """Text needs nobody who reads files. Raises MeshError."""
    title = file.filename or ""
    if file.file_id and not file.file_data:
        return DocumentPart(file_id=file.file_id, title=title)
    url = file.file_data or ""
    if url.startswith("https://"):
        return DocumentPart(url=url, title=title)
    found = _DATA.match(url)
    if found is None:
        raise invalid(
            f"`{where}.file`: send `file_data` as data:{PDF};base64,… or an https: URL, or a "
            "`file_id`.",
            f"{where}.file.file_data",
        )
    kind = found[1].strip().lower()
    if kind == PDF:
        return DocumentPart(url=f"data:{PDF};base64,{found[2]}", media_type=kind, title=title)
    if kind.startswith("text/"):
        return TextPart(text="\n".join(filter(None, (title, _text(found[2], where)))))
    raise invalid(
        f"`{where}.file.file_data` is {kind or 'of no type'}; send a PDF or text.",
        f"{where}.file.file_data",
    )


def _text(encoded: str, where: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except ValueError as error:
        raise invalid(
            f"`{where}.file.file_data` is no UTF-8 text in base64 ({error}); encode it once more.",
            f"{where}.file.file_data",
        ) from error
