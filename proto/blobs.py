"""Bytes that a prompt names by their hash, fetched in pieces."""

from proto.message import Message


class FetchBlob(Message, frozen=True, kw_only=True):
    """Ask a gateway for bytes of a picture that a prompt names by its hash."""

    digest: bytes
    offset: int = 0


class BlobPiece(Message, frozen=True, kw_only=True, tag="blob"):
    """The bytes from ``offset`` on, at most BLOB_PIECE of them."""

    data: bytes
    size: int
    """Of the whole."""


BLOB_PIECE = 1 << 20
"""Bytes of a picture in one message: far below the bus's largest."""
