"""Deleting a model's files: only those that are this node's to delete."""

import shutil
from pathlib import Path

from proto.errors import Code, MeshError
from services.runner.models import hub_cache
from services.runner.models.folder import draft_of
from services.runner.models.paths import is_name
from services.runner.store.inventory import Found


def delete(found: Found, own: Path) -> None:
    """Blocks. Raises MeshError for what is somebody else's."""
    match found.origin:
        case "hub":
            _delete_from_hub_cache(found)
        case "own" if found.folder.parent == own and is_name(found.folder.name):
            shutil.rmtree(found.folder)
        case _:
            raise MeshError(
                Code.CONFLICT,
                f"{found.folder} was only named to this node and is not its to delete: delete the "
                "folder by hand, and take it out of --model and ODYSSAI_MODEL_DIRS",
            )


def _delete_from_hub_cache(found: Found) -> None:
    """All its revisions: the hub's own strategy knows which blobs are theirs alone."""
    from huggingface_hub import scan_cache_dir  # Half a second, for what few ever do.

    cache = scan_cache_dir(hub_cache.root())
    commits = [
        revision.commit_hash
        for repository in cache.repos
        if repository.repo_type == "model" and repository.repo_id == found.id
        for revision in repository.revisions
    ]
    cache.delete_revisions(*commits).execute()


def discard_partial(model: str) -> None:
    """What an unfinished pull or copy left in the hub's cache; whole snapshots stay.

    So does everything while another agent of this machine brings the same model.
    """
    place = hub_cache.repository(model)
    with hub_cache.unless_locked(model) as is_ours:
        if not is_ours or not place.is_dir():
            return
        linked = {file.resolve() for file in (place / "snapshots").rglob("*") if file.is_symlink()}
        for blob in (place / "blobs").glob("*"):
            if blob.resolve() not in linked:
                blob.unlink(missing_ok=True)
        if not linked:
            shutil.rmtree(place)


def discard_draft(folder: Path) -> None:
    shutil.rmtree(draft_of(folder), ignore_errors=True)
