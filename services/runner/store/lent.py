"""What another node says that it lends, looked at before a path here is made of it."""

import re
from urllib.parse import urlsplit

from proto.errors import Code, MeshError
from proto.store import FilesLent, LentFile
from services.runner.models.paths import is_hash, is_name
from services.runner.store.parts import is_part

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def expect_sound(lent: FilesLent, *, trusts_code: bool) -> None:
    """Raises MeshError that names what is wrong with it."""
    wrong = _wrong(lent, trusts_code=trusts_code)
    if wrong is not None:
        raise MeshError(
            Code.INVALID_REQUEST,
            f"the node lends {wrong!r} as part of {lent.model.id!r}, which is not taken: see what "
            "is in its folder of the model, and whether that node is what it should be",
        )


def _wrong(lent: FilesLent, *, trusts_code: bool) -> str | None:
    model = lent.model
    if not is_name(model.id.rpartition("/")[2]):
        return model.id
    if model.revision and not is_hash(model.revision):
        return model.revision
    if urlsplit(lent.url).scheme != "http":
        return lent.url
    return next((one.path for one in lent.files if not _is_sound(one, trusts_code)), None)


def _is_sound(file: LentFile, trusts_code: bool) -> bool:
    is_known = _SHA256.fullmatch(file.sha256) is not None and file.size >= 0
    is_blob = not file.blob or is_hash(file.blob)
    return is_known and is_blob and is_part(file.path, trusts_code=trusts_code)
