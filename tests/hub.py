"""A Hugging Face hub on loopback: a real HTTP server that speaks what huggingface_hub asks for.

It serves model folders as repositories, large files from another address behind a redirect, as
the real one does, and can be told to be slow, to cut connections and to send wrong bytes.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

PIECE = 1 << 16
LARGE = (".safetensors",)


@dataclass
class Faults:
    """What goes wrong from now on."""

    bytes_per_s: float | None = None
    cut_after: int | None = None
    """Bytes of a large file after which the connection breaks, each time it is asked for."""
    cuts: int = 10**9
    """So often."""
    is_wrong: bool = False
    """One byte of each large file is another."""
    unwell: int = 0
    """So many requests are answered with 503."""


class Asked(NamedTuple):
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Repository:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    """It is gated for everybody else."""


class Hub:
    def __init__(self) -> None:
        self.faults = Faults()
        self.asked: list[Asked] = []
        self._repositories: dict[str, Repository] = {}
        self._large: dict[str, bytes] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @classmethod
    @contextmanager
    def open(cls) -> "Iterator[Hub]":
        hub = cls()
        thread = threading.Thread(target=hub._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub._server.shutdown()
            hub._server.server_close()
            thread.join()

    def add(
        self,
        id: str,
        folder: Path,
        *,
        ref: str = "main",
        token: str | None = None,
        more: Mapping[str, bytes] | None = None,
    ) -> str:
        """The folder's files as a new commit: its hash."""
        files = {p.name: p.read_bytes() for p in sorted(folder.iterdir())} | dict(more or {})
        commit = hashlib.sha1(b"".join(map(_digest, files.values()))).hexdigest()
        repository = self._repositories.setdefault(id, Repository())
        repository.commits[commit] = files
        repository.refs[ref] = commit
        repository.token = token
        large = [content for name, content in files.items() if name.endswith(LARGE)]
        self._large |= {hashlib.sha256(content).hexdigest(): content for content in large}
        return commit

    def bytes_sent(self) -> int:
        return self._server.sent

    # For the handler

    def answer(self, asked: Asked) -> "Answer":
        self.asked.append(asked)
        if self.faults.unwell > 0:
            self.faults.unwell -= 1
            return Answer(503)
        parts = [unquote(part) for part in urlsplit(asked.path).path.strip("/").split("/")]
        if parts[0] == "large":
            return Answer(200, body=self._large[parts[1]], is_large=True)
        id, rest = ("/".join(parts[2:4]), parts[4:]) if parts[0] == "api" else _split(parts)
        repository = self._repositories.get(id)
        if repository is None:
            return Answer(404, {"X-Error-Code": "RepoNotFound"})
        if repository.token and asked.token != f"Bearer {repository.token}":
            return Answer(403 if asked.token else 401, {"X-Error-Code": "GatedRepo"})
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            return Answer(404, {"X-Error-Code": "RevisionNotFound"})
        if parts[0] == "api" and rest[:1] == ["tree"]:
            tree = [_branch(path, content) for path, content in repository.commits[commit].items()]
            return Answer(200, {"Content-Type": "application/json"}, json.dumps(tree).encode())
        if parts[0] == "api":
            described = _described(id, commit, repository.commits[commit])
            return Answer(200, {"Content-Type": "application/json"}, json.dumps(described).encode())
        return self._file(commit, repository.commits[commit], "/".join(rest[2:]))

    def _file(self, commit: str, files: dict[str, bytes], path: str) -> "Answer":
        if path not in files:
            return Answer(404, {"X-Error-Code": "EntryNotFound"})
        content, told = files[path], {"X-Repo-Commit": commit}
        if not path.endswith(LARGE):
            return Answer(200, told | {"ETag": f'"{_git_hash(content)}"'}, content)
        etag = hashlib.sha256(content).hexdigest()
        linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        elsewhere = self.url.replace("127.0.0.1", "localhost")  # Another host, as clients see it.
        return Answer(302, told | linked | {"Location": f"{elsewhere}/large/{etag}"})


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    is_large: bool = False


def _split(parts: list[str]) -> tuple[str, list[str]]:
    return "/".join(parts[:2]), parts[2:]


def _described(id: str, commit: str, files: dict[str, bytes]) -> dict[str, Any]:
    def sibling(path: str, content: bytes) -> dict[str, Any]:
        plain = {"rfilename": path, "size": len(content), "blobId": _git_hash(content)}
        if not path.endswith(LARGE):
            return plain
        sha256 = hashlib.sha256(content).hexdigest()
        return plain | {"lfs": {"sha256": sha256, "size": len(content), "pointerSize": 134}}

    siblings = [sibling(path, content) for path, content in files.items()]
    return {"id": id, "modelId": id, "sha": commit, "siblings": siblings, "private": False}


def _branch(path: str, content: bytes) -> dict[str, Any]:
    plain = {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content)}
    if not path.endswith(LARGE):
        return plain
    sha256 = hashlib.sha256(content).hexdigest()
    return plain | {"lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}}


def _digest(content: bytes) -> bytes:
    return hashlib.sha1(content).digest()


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub
    sent = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are cut off and leave: nobody needs to hear of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        wanted, token = self.headers.get("Range"), self.headers.get("Authorization")
        answer = self.server.hub.answer(Asked(self.command, self.path, wanted, token))
        body, start = answer.body, 0
        if wanted and answer.status == 200:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first)
            body = body[start : int(last) + 1 if last else None]
        self.send_response(206 if start else answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if start:
            end = start + len(body) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(answer.body)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "GET":
            self._send(body, start, answer.is_large)

    def _send(self, body: bytes, start: int, is_large: bool) -> None:
        faults = self.server.hub.faults
        if is_large and faults.is_wrong and start == 0:
            body = bytes([body[0] ^ 1]) + body[1:]
        cut = faults.cut_after if is_large and faults.cuts > 0 else None
        for at in range(0, len(body), PIECE):
            if cut is not None and at >= cut:
                faults.cuts -= 1
                self.close_connection = True
                return
            piece = body[at : at + PIECE]
            self.wfile.write(piece)
            self.server.sent += len(piece)
            if faults.bytes_per_s and is_large:
                time.sleep(len(piece) / faults.bytes_per_s)
