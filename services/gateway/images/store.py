"""The pictures of the requests that are open now, each once, by the hash of its bytes."""

from proto.errors import Code, MeshError


class Store:
    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._kept: dict[bytes, tuple[bytes, int]] = {}
        """Bytes, and how many hold them."""
        self.used_bytes = 0

    def find(self, digest: bytes) -> bytes | None:
        found = self._kept.get(digest)
        return found and found[0]

    def keep(self, digest: bytes, data: bytes) -> None:
        """They stay until as many have let go of them as have kept them.

        Raises MeshError when too much is kept already.
        """
        data, holders = self._kept.get(digest, (data, 0))
        if not holders:
            if self.used_bytes + len(data) > self._limit:
                raise MeshError(
                    Code.QUEUE_FULL,
                    f"The pictures of all open requests exceed {self._limit} bytes. "
                    "Try again in a moment, or send smaller ones.",
                    retry_after_s=2.0,
                )
            self.used_bytes += len(data)
        self._kept[digest] = data, holders + 1

    def let_go(self, digest: bytes) -> None:
        data, holders = self._kept.pop(digest)
        if holders > 1:
            self._kept[digest] = data, holders - 1
        else:
            self.used_bytes -= len(data)
