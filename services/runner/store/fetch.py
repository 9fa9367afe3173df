"""``python -m services.runner.store.fetch``: a model of the Hugging Face hub into its cache.

A process of its own, started by the agent. What the hub says of the files comes first, so that
sizes and hashes are known before the first byte; then the files one by one, each taken up where an
earlier attempt ended: huggingface_hub 2 no longer does that between processes. A snapshot appears
when all of it is there and was checked.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import httpx2  # huggingface_hub's own client: its errors are these.
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not exported
    build_hf_headers,
    disable_progress_bars,
)

from proto.errors import Code, MeshError
from services.runner.children.child import live
from services.runner.children.orders import FetchOrder
from services.runner.children.telling import Telling
from services.runner.disk import Disk, disk_of, room
from services.runner.models import hub_cache
from services.runner.models.paths import is_hash, is_revision
from services.runner.store.parts import is_part

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 6
"""In a row without a byte; one that brings bytes starts the count anew."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
CHUNK_BYTES = 256 << 10
"""Written at a time, and so the most that a broken connection loses; the hub's own 10 MB is more
than slow lines bring in a minute."""
_SHA256_LETTERS = 64
_PIECE = 4 << 20


class Blob(NamedTuple):
    """A file as the hub describes it."""

    path: str
    size: int
    etag: str
    """Its SHA-256 where the hub keeps it as a large file, else git's hash of it."""


class Description(NamedTuple):
    commit: str
    blobs: list[Blob]


def fetch(order: FetchOrder, measure: Callable[[Path], Disk] = disk_of) -> None:
    """Raises MeshError."""
    if order.revision is not None and not is_revision(order.revision):
        said = f"{order.revision!r} is no revision: give a branch, a tag or a commit"
        raise MeshError(Code.INVALID_REQUEST, said, param="revision")
    try:
        described = _patiently(lambda: _describe(order), lambda: 0)
        with hub_cache.locked(order.model, hub_cache.WHOLE):
            _bring(order, described, measure)
    except OfflineModeIsEnabled as offline:
        raise MeshError(
            Code.UPSTREAM,
            f"{order.model} is not on this node, and HF_HUB_OFFLINE forbids to ask the hub: unset "
            "it for the agent, or copy the model from another node (`odyssai sync`)",
        ) from offline
    except (HfHubHTTPError, HFValidationError) as refused:
        raise _told(order, refused) from refused
    except httpx2.HTTPError as lost:
        raise MeshError(
            Code.UPSTREAM,
            f"the hub at {_endpoint()} cannot be reached ({type(lost).__name__}: {lost}): check "
            "the network and HF_ENDPOINT, then try again; what was fetched is kept",
        ) from lost


def _describe(order: FetchOrder) -> Description:
    api = HfApi(endpoint=_endpoint(), token=order.token)
    info = api.model_info(order.model, revision=order.revision, files_metadata=True)
    blobs = [
        Blob(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else file.blob_id or "")
        for file in info.siblings or ()
        if is_part(file.rfilename, trusts_code=order.trusts_code)
    ]
    if not any(blob.path.endswith(".safetensors") for blob in blobs):
        raise MeshError(
            Code.LOAD_FAILED,
            f"{order.model} has no safetensors on the hub, and nothing else is read: pickles "
            "(.bin, .pt, .pth) can run code. Choose another conversion of it, such as one of "
            "mlx-community",
        )
    strange = [name for name in (info.sha or "", *(b.etag for b in blobs)) if not is_hash(name)]
    if strange:
        said = f"the hub at {_endpoint()} calls a file {strange[0]!r}, which is no hash: is it one?"
        raise MeshError(Code.UPSTREAM, said)
    return Description(info.sha or "", blobs)


def _bring(order: FetchOrder, described: Description, measure: Callable[[Path], Disk]) -> None:
    place = hub_cache.repository(order.model)
    files = [place / "blobs" / blob.etag for blob in described.blobs]
    total = sum(blob.size for blob in described.blobs)
    with (
        room(place, lambda: total - _there(files), order.model, measure),
        Telling(total, lambda: _there(files)) as telling,
    ):
        (place / "blobs").mkdir(parents=True, exist_ok=True)
        for blob in described.blobs:
            telling.step = blob.path
            bring = partial(_bring_blob, order, described.commit, blob)
            _patiently(bring, partial(_there, files))
        names = [(blob.path, blob.etag) for blob in described.blobs]
        hub_cache.publish(order.model, described.commit, names, order.revision)


def _bring_blob(order: FetchOrder, commit: str, blob: Blob) -> None:
    file = hub_cache.repository(order.model) / "blobs" / blob.etag
    with hub_cache.locked(order.model, blob.etag):
        if file.exists():
            return
        part = hub_cache.partial(file)
        url = hf_hub_url(order.model, blob.path, revision=commit, endpoint=_endpoint())
        with part.open("ab") as opened:
            http_get(
                url,
                opened,
                resume_size=opened.tell(),
                headers=build_hf_headers(token=order.token),
                expected_size=blob.size,
                displayed_filename=blob.path,
            )
        _check(part, blob)
        part.replace(file)


def _check(file: Path, blob: Blob) -> None:
    """A file that is not what the hub described is deleted. Raises MeshError."""
    is_large = len(blob.etag) == _SHA256_LETTERS
    digest = hashlib.sha256() if is_large else hashlib.sha1(usedforsecurity=False)
    if not is_large:
        digest.update(f"blob {blob.size}\0".encode())
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != blob.etag:
        file.unlink()
        raise MeshError(
            Code.UPSTREAM,
            f"{blob.path} came with other content than the hub described: its hash is "
            f"{digest.hexdigest()}, not {blob.etag}. It was deleted; try again, and if it happens "
            "again, ask whoever runs the hub or the proxy in between",
        )


def _patiently(act: Callable[[], T], there: Callable[[], int]) -> T:
    """Again and again, ever less often, while the network or the hub is unwell."""
    failed, before = 0, there()
    while True:
        try:
            return act()
        except (httpx2.HTTPError, OSError) as trouble:
            if there() > before:
                failed, before = 0, there()
            failed += 1
            if failed >= ATTEMPTS or not _may_pass(trouble):
                raise
            log.warning("fetch: %s; trying again", trouble)
        time.sleep(min(FIRST_WAIT_S * 2 ** (failed - 1), LONGEST_WAIT_S))


def _may_pass(trouble: Exception) -> bool:
    """False for what the hub will say again, and for our own disk."""
    if isinstance(trouble, HfHubHTTPError):
        return trouble.response.status_code >= 500 or trouble.response.status_code == 429
    if isinstance(trouble, OfflineModeIsEnabled):
        return False
    is_cut_off = isinstance(trouble, OSError) and "Consistency check failed" in str(trouble)
    return is_cut_off or isinstance(trouble, httpx2.TransportError | ConnectionError)


def _there(files: list[Path]) -> int:
    """Bytes, of whole and partial files."""
    return sum(
        next((f.stat().st_size for f in (file, hub_cache.partial(file)) if f.exists()), 0)
        for file in files
    )


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _told(order: FetchOrder, refused: HfHubHTTPError | HFValidationError) -> MeshError:
    """What the hub's refusal means for whoever asked."""
    model, page = order.model, f"{_endpoint()}/{order.model}"
    match refused:
        case GatedRepoError():
            return MeshError(
                Code.FORBIDDEN,
                f"{model} is gated: accept its terms at {page}, then pull it with a token of that "
                "account (in HF_TOKEN, for `odyssai pull` or for the agent)",
            )
        case RevisionNotFoundError():
            said = f"{model} has no branch, tag or commit {order.revision}: see {page}/tree/main"
            return MeshError(Code.NOT_FOUND, said)
        case RepositoryNotFoundError():
            return MeshError(
                Code.MODEL_NOT_FOUND,
                f"the hub at {_endpoint()} has no model {model}, or shows it only to those who may "
                "see it: check the name, or pull it with a token",
            )
        case HFValidationError():
            said = f"{model} is no name of the hub: it must be OWNER/NAME"
            return MeshError(Code.INVALID_REQUEST, said)
    status = refused.response.status_code
    if status in (401, 403):
        return MeshError(
            Code.UNAUTHORIZED if status == 401 else Code.FORBIDDEN,
            f"the hub does not accept the token for {model}: make one that may read it at "
            f"{_endpoint()}/settings/tokens, and pull again with it",
        )
    return MeshError(Code.UPSTREAM, f"the hub answered {status} for {model}: try again later")


def main() -> None:
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    disable_progress_bars()
    live(fetch, FetchOrder)


if __name__ == "__main__":
    main()
