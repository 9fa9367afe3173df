"""Model files on nodes: what is there, and the long work that is done on them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proto.ids import JobId, ModelId, NodeId
from proto.layout import Layout
from proto.memory import Footprint
from proto.message import Message
from proto.presence import ModelKind

STORES = "stores"
"""The bucket of Store, by node."""


class StoredModel(Struct, frozen=True, kw_only=True):
    """A whole model on a node's disk."""

    id: ModelId
    aliases: tuple[ModelId, ...] = ()
    source: str
    """What an engine of that node is told to load: ``smollm2``, a folder or a Hugging Face id."""
    revision: str = ""
    """The hub's commit; empty for what did not come from the hub."""
    fingerprint: str
    """Of all files that decide what the model says: two nodes with the same one hold the same."""
    disk_bytes: int
    footprint: Footprint
    layout: Layout | None = None
    """None: nothing is known by which it could be split."""
    kind: ModelKind = "llm"
    family: str = ""
    quantization: str = ""
    modified_s: float = 0.0
    """Unix time at which its newest file was written."""


class Store(Message, frozen=True, kw_only=True):
    """All that a node has on disk. Written by its agent alone, whenever it changes."""

    node: NodeId
    models: tuple[StoredModel, ...] = ()
    free_disk_bytes: int = 0
    total_disk_bytes: int = 0


class PullTask(Struct, frozen=True, kw_only=True, tag="pull"):
    """Fetch a model from the Hugging Face hub."""

    job: JobId
    model: ModelId
    revision: str | None = None
    """A branch, tag or commit; None: the hub's ``main``."""


class CopyTask(Struct, frozen=True, kw_only=True, tag="copy"):
    """Fetch a model from another node."""

    job: JobId
    model: ModelId
    source: NodeId


class ConvertTask(Struct, frozen=True, kw_only=True, tag="convert"):
    """Write a model of this node anew, in another form, with mlx-lm."""

    job: JobId
    model: ModelId
    name: ModelId
    """What the new one is called: a folder of the node's own models."""
    bits: Annotated[int, Meta(ge=2, le=8)] | None = None
    """None: not quantised."""
    group_size: int = 64
    dtype: Literal["float16", "bfloat16", "float32"] | None = None


class DeleteTask(Struct, frozen=True, kw_only=True, tag="delete"):
    """Delete a model's files."""

    job: JobId
    model: ModelId


StoreTask = PullTask | CopyTask | ConvertTask | DeleteTask


class LendFiles(Message, frozen=True, kw_only=True):
    """Ask a node's agent for the files of a model. Answered by ``FilesLent``."""

    model: ModelId
    borrower: NodeId


class LentFile(Struct, frozen=True, kw_only=True):
    path: str
    """Relative to the model's folder, with ``/``."""
    size: int
    sha256: str
    blob: str = ""
    """What the hub's cache calls its content, for a model of the hub."""


class FilesLent(Message, frozen=True, kw_only=True, tag="lent"):
    """Where the files are to be had for a while."""

    url: str
    """``<url>/<path>`` answers GET, with ranges, to whoever shows the ticket."""
    ticket: str
    """Goes into ``Authorization: Bearer``."""
    files: tuple[LentFile, ...]
    model: StoredModel


class Entrust(Message, frozen=True, kw_only=True):
    """Give an agent the hub's token for one job. It is kept in memory and never written or said.

    Answered by ``Entrusted``.
    """

    job: JobId
    token: str


class Entrusted(Message, frozen=True, kw_only=True, tag="entrusted"):
    """The agent has it."""
