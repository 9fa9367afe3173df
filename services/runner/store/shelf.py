"""What is known of a node's models: found on disk, looked into once, kept until it changes."""

import logging
import threading
from pathlib import Path

from proto.store import StoredModel
from services.runner.models import hub_cache
from services.runner.models.bundle import is_bundled
from services.runner.models.folder import is_whole, shards_of
from services.runner.models.kind import read_json, transformer_of
from services.runner.models.names import is_path
from services.runner.store.hashes import Hashes
from services.runner.store.inventory import (
    Found,
    Places,
    bundled,
    describe,
    find_all,
    found_at,
    found_in_hub_cache,
    stamp_of,
)
from services.runner.store.parts import parts_of
from services.runner.store.settings import Settings
from services.runner.store.weights import read_tensors, weights_bytes

log = logging.getLogger(__name__)


class Shelf:
    """Every method but ``find`` reads the disk, which takes its time: for other threads than
    the event loop's. Where a model's files are as they were, only their states are looked at.
    """

    def __init__(self, home: Path, settings: Settings) -> None:
        self.own = home / "models"
        self.trusts_code = settings.trusts_code
        self.hashes = Hashes(home / "hashes.json")
        self.models: tuple[StoredModel, ...] = ()
        self._places = Places(self.own, settings.shelves)
        self._known: dict[Path, tuple[object, Found, StoredModel]] = {}
        self._broken: set[Path] = set()
        self._lock = threading.Lock()

    def scan(self) -> None:
        """Look at every place."""
        found = find_all(self._places)
        described = [model for one in found if (model := self._describe(one)) is not None]
        packed = bundled(self.hashes)
        with self._lock:
            there = {one.folder for one in found}
            self._known = {at: known for at, known in self._known.items() if at in there}
            self.models = (*((packed,) if packed else ()), *described)

    def look(self, source: str) -> StoredModel | None:
        """Look for one source alone; None when it is not here. A folder is known from then on."""
        if is_bundled(source):
            return bundled(self.hashes)
        if not is_path(source):
            snapshot = hub_cache.snapshot(source)
            return self._describe(found_in_hub_cache(snapshot)) if snapshot else None
        found = found_at(source, self._places)
        if not is_whole(found.folder):
            return None
        if source not in self._places.named:
            self._places = self._places._replace(named=(*self._places.named, source))
        return self._describe(found)

    def look_again(self, found: Found) -> StoredModel | None:
        """As its files are now; None when they are gone."""
        return self._describe(found) if is_whole(found.folder) else None

    def find(self, name: str) -> StoredModel | None:
        """By id first, then by source, then by any other name."""
        models = self.models
        by_id = [model for model in models if model.id == name]
        by_source = [model for model in models if model.source == name]
        by_alias = [model for model in models if name in model.aliases]
        return next(iter((*by_id, *by_source, *by_alias)), None)

    def place_of(self, model: StoredModel) -> Found | None:
        """Where a model is that was found before; None for the packaged one."""
        name = (model.id, model.source)
        known = self._known.values()
        return next((found for _, found, one in known if (one.id, one.source) == name), None)

    def numbers_of(self, model: StoredModel) -> int:
        """How many its weights are."""
        found = self.place_of(model)
        if found is None:
            return model.footprint.weights_bytes // 4
        inner = transformer_of(found.folder)
        config = read_json(inner / "config.json")
        return weights_bytes(read_tensors(shards_of(inner)), config, unpacks=True) // 4

    def _describe(self, found: Found) -> StoredModel | None:
        """None, and a word in the log, for files that cannot be read."""
        try:
            parts = parts_of(found.folder, trusts_code=self.trusts_code)
            stamp = (found, stamp_of(parts))
            known = self._known.get(found.folder)
            if known is not None and known[0] == stamp:
                return known[2]
            model = describe(found, self.hashes, trusts_code=self.trusts_code)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as broken:
            if found.folder not in self._broken:
                log.warning("store: %s holds no model that can be read: %s", found.folder, broken)
            self._broken.add(found.folder)
            return None
        with self._lock:
            self._known[found.folder] = (stamp, found, model)
        return model
