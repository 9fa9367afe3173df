"""``python -m services.runner.store.borrow``: a model's files from another node of the mesh.

A process of its own, started by the agent. Large files come in pieces over several connections;
which pieces are there is written down beside them, so that an interrupted copy goes on. Every file
is checked against the hash that came over the bus before it gets its name.
"""

import http.client
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from proto.errors import Code, MeshError
from proto.store import LentFile
from services.runner.children.child import live
from services.runner.children.orders import BorrowOrder
from services.runner.children.telling import Telling
from services.runner.disk import FULL, Disk, disk_of, room
from services.runner.models import hub_cache
from services.runner.models.folder import draft_of, settle
from services.runner.store.hashes import sha256_of

CONNECTIONS = 4
PIECE_BYTES = 32 << 20
"""What a broken connection loses at most."""
ATTEMPTS = 4
WAIT_S = 0.5
TIMEOUT_S = 20.0
_READ = 1 << 20


class Piece(NamedTuple):
    start: int
    end: int


class Incoming:
    """One file that comes: its bytes so far, and which of its pieces are whole."""

    def __init__(self, file: LentFile, target: Path) -> None:
        self.file = file
        self.target = target
        draft = f"{target.name}.{file.sha256[:16]}"  # Others of the same content may lie beside it.
        self._bytes = target.with_name(f"{draft}.borrowed")
        self._list = target.with_name(f"{draft}.pieces")
        self._lock = threading.Lock()
        self._whole = self._read_list()
        self.done_bytes = sum(end - start for start, end in self._whole)

    def open(self) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._bytes.touch()
        os.truncate(self._bytes, self.file.size)

    def missing(self) -> list[Piece]:
        starts = range(0, self.file.size, PIECE_BYTES)
        pieces = [Piece(at, min(at + PIECE_BYTES, self.file.size)) for at in starts]
        return [piece for piece in pieces if piece not in self._whole]

    def write(self, at: int, data: bytes) -> None:
        with self._bytes.open("r+b") as opened:
            opened.seek(at)
            opened.write(data)
        with self._lock:
            self.done_bytes += len(data)

    def take_back(self, count: int) -> None:
        """A piece broke off and comes again."""
        with self._lock:
            self.done_bytes -= count

    def tick_off(self, piece: Piece) -> None:
        with self._lock, self._list.open("a") as opened:
            opened.write(f"{piece.start} {piece.end}\n")

    def accept(self) -> None:
        """Give it its name. Raises MeshError, and deletes it, when it is not what was lent."""
        self._list.unlink(missing_ok=True)
        digest = sha256_of(self._bytes)
        if digest != self.file.sha256:
            self._bytes.unlink()
            raise MeshError(
                Code.INTERNAL,
                f"{self.file.path} came with other content than the node that lends it said: its "
                f"hash is {digest}, not {self.file.sha256}. It was deleted; try again, and if it "
                "happens again, check the disk and the memory of both machines",
            )
        self._bytes.replace(self.target)

    def _read_list(self) -> set[Piece]:
        if not self._bytes.exists() or not self._list.exists():
            return set()
        lines = [line.split() for line in self._list.read_text().splitlines()]
        return {Piece(int(line[0]), int(line[1])) for line in lines if len(line) == 2}


def borrow(order: BorrowOrder, measure: Callable[[Path], Disk] = disk_of) -> None:
    """Raises MeshError."""
    with hub_cache.locked(order.model, hub_cache.WHOLE):
        place = _place(order)
        targets = {_target(order, place, file): file for file in order.files}
        coming = [Incoming(file, target) for target, file in targets.items()]
        missing = [one for one in coming if not _is_there(order, one)]
        total = sum(one.file.size for one in coming)
        had = total - sum(one.file.size for one in missing)

        def there() -> int:
            return had + sum(one.done_bytes for one in missing)

        with room(place, lambda: total - there(), order.model, measure):
            with Telling(total, there) as telling:
                _bring(order, missing, telling)
            if order.revision:
                names = [(file.path, _blob(file)) for file in order.files]
                hub_cache.publish(order.model, order.revision, names)
            else:
                settle(place, Path(order.folder))


def _bring(order: BorrowOrder, missing: list[Incoming], telling: Telling) -> None:
    """Large files first, so that no connection is left with all of one at the end."""
    queue = sorted(missing, key=lambda one: -one.file.size)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        coming: list[tuple[Incoming, list[Future[None]]]] = []
        for one in queue:
            one.open()
            pieces = [pool.submit(_patiently, order, one, piece) for piece in one.missing()]
            coming.append((one, pieces))
        try:
            for one, pieces in coming:
                telling.step = one.file.path
                for piece in pieces:
                    piece.result()
                one.accept()
        except (MeshError, OSError):
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _patiently(order: BorrowOrder, incoming: Incoming, piece: Piece) -> None:
    for attempt in range(1, ATTEMPTS):
        try:
            return _bring_piece(order, incoming, piece)
        except (OSError, http.client.HTTPException) as trouble:
            if isinstance(trouble, OSError) and trouble.errno in FULL:
                raise
            time.sleep(WAIT_S * attempt)
    try:
        return _bring_piece(order, incoming, piece)
    except (OSError, http.client.HTTPException) as trouble:
        raise MeshError(
            Code.UPSTREAM,
            f"the node that lends {order.model} cannot be reached at {order.url} "
            f"({type(trouble).__name__}: {trouble}): check that its agent runs and that its "
            "ODYSSAI_FILES_HOST is an address that this node reaches",
        ) from trouble


def _bring_piece(order: BorrowOrder, incoming: Incoming, piece: Piece) -> None:
    at = piece.start
    connection = _connect(order.url)
    try:
        answer = _ask(connection, order, incoming.file.path, piece)
        while at < piece.end:
            data = answer.read(min(_READ, piece.end - at))
            if not data:
                raise ConnectionError(f"cut off after {at} of {incoming.file.size} bytes")
            incoming.write(at, data)
            at += len(data)
    except (OSError, http.client.HTTPException):
        incoming.take_back(at - piece.start)
        raise
    finally:
        connection.close()
    incoming.tick_off(piece)


def _connect(url: str) -> http.client.HTTPConnection:
    where = urlsplit(url)
    return http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_S)


def _ask(
    connection: http.client.HTTPConnection, order: BorrowOrder, path: str, piece: Piece
) -> http.client.HTTPResponse:
    headers = {
        "Authorization": f"Bearer {order.ticket}",
        "Range": f"bytes={piece.start}-{piece.end - 1}",
    }
    connection.request("GET", f"/{quote(path)}", headers=headers)
    answer = connection.getresponse()
    if answer.status in (401, 404, 416):
        raise MeshError(
            Code.CONFLICT,
            f"the loan of {order.model} has ended, or its files have changed on the node that "
            "lends them: copy it again",
        )
    if answer.status != 206:
        raise ConnectionError(f"HTTP status {answer.status}")
    return answer


def _place(order: BorrowOrder) -> Path:
    """Where its files come to lie."""
    return hub_cache.repository(order.model) if order.revision else draft_of(Path(order.folder))


def _target(order: BorrowOrder, place: Path, file: LentFile) -> Path:
    return place / "blobs" / _blob(file) if order.revision else place / file.path


def _blob(file: LentFile) -> str:
    return file.blob or file.sha256


def _is_there(order: BorrowOrder, incoming: Incoming) -> bool:
    """From an earlier attempt, or in the folder that is to be replaced: then it is linked."""
    if _holds(incoming.target, incoming.file):
        return True
    older = Path(order.folder) / incoming.file.path
    if order.revision or not _holds(older, incoming.file):
        return False
    incoming.target.parent.mkdir(parents=True, exist_ok=True)
    incoming.target.unlink(missing_ok=True)
    incoming.target.hardlink_to(older.resolve())
    return True


def _holds(path: Path, file: LentFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return path.name == file.sha256 or sha256_of(path) == file.sha256


def main() -> None:
    live(borrow, BorrowOrder)


if __name__ == "__main__":
    main()
