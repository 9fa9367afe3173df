"""A prefix cache for plain KV: what many prompts begin with is kept once, and cut at any token."""

from collections import Counter, OrderedDict
from collections.abc import Sequence as Run

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx_lm.models.cache import make_prompt_cache

from proto.ids import SessionId
from proto.prefix import LONGEST
from proto.presence import CacheLoad
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.cache_key import agreement
from services.runner.engine.caching.marks import Mark, Marks, told

SESSIONS = 256
"""Conversations that stay pinned; the one unheard for longest gives way."""
SLACK = 16
"""Eviction makes a 16th of the limit free at once, not a little at every insertion."""


class _Node:
    """A span of tokens that follows its parent's, with each layer's keys and values for it."""

    __slots__ = ("children", "layers", "marks", "parent", "pins", "start", "tokens", "used")

    def __init__(
        self, tokens: list[int], layers: list[tuple[mx.array, mx.array]], parent: "_Node | None"
    ) -> None:
        self.tokens = tokens
        self.layers = layers
        self.parent = parent
        self.start = parent.end if parent else 0
        """Tokens in front of its own."""
        self.children: dict[int, _Node] = {}
        self.marks: dict[bytes, int] = {}
        """Those that end among its tokens, by digest: how many tokens from the root on."""
        self.pins = 0
        """Sessions whose conversation ends here."""
        self.used = 0

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


class RadixCache:
    """A tree of token spans. Over its limit the leaf unused for longest goes, pinned ones last."""

    def __init__(self, model: Module, limit_bytes: int, token_bytes: int | None = None) -> None:
        """``token_bytes``: what a token counts with; None: what its keys and values take. Ranks
        whose layers differ keep the same prefixes if they count alike.
        """
        self._model = model
        self._limit = limit_bytes
        self._token_bytes = token_bytes
        self._root = _Node([], [], None)
        self._leaves: set[_Node] = set()
        self._sessions: OrderedDict[SessionId, _Node] = OrderedDict()
        self._clock = 0
        self._tokens = 0
        self.version = 0

    def match(self, tokens: Run[int]) -> int:
        return sum(count for _, count in self._path(tokens[:-1]))

    def fetch(self, tokens: Run[int]) -> tuple[Cache, int]:
        path = self._path(tokens[:-1])
        self._touch(path)
        cache: Cache = make_prompt_cache(self._model)
        if path:
            for index, layer in enumerate(cache):
                layer.keys = _joined([(node.layers[index][0], count) for node, count in path])
                layer.values = _joined([(node.layers[index][1], count) for node, count in path])
                layer.offset = layer.keys.shape[2]
        return cache, sum(count for _, count in path)

    def insert(
        self,
        tokens: Run[int],
        cache: Cache,
        session: SessionId | None = None,
        marks: Run[Mark] = (),
    ) -> None:
        tokens = list(tokens[: cache[0].offset])
        path = self._path(tokens)
        known = sum(count for _, count in path)
        end = path[-1][0] if path else self._root
        if known < len(tokens):
            if self._token_bytes is None:
                self._token_bytes = token_bytes(cache)
            if (len(tokens) - known) * self._token_bytes > self._limit:
                return
            if path and path[-1][1] < len(end.tokens):
                end = self._split(end, path[-1][1])
                path[-1] = (end, len(end.tokens))
            end = self._append(end, tokens[known:], _cut(cache, known, len(tokens)))
            path.append((end, len(end.tokens)))
        self._touch(path)
        _mark(path, marks)
        if session is not None and path:
            self._pin(session, end)
        self._evict()

    def resize(self, limit_bytes: int) -> bool:
        self._limit = limit_bytes
        is_too_much = self._used_bytes > limit_bytes
        self._evict()
        return is_too_much

    def told(self) -> dict[bytes, int]:
        """What lies on the way to one other mark only goes without saying, so it comes last."""
        nodes = _below(self._root)
        branches: Counter[_Node] = Counter()
        for node in reversed(nodes):
            if node.parent is not None and (node.marks or branches[node]):
                branches[node.parent] += 1
        marked = [node for node in nodes if node.marks]
        marked.sort(key=lambda node: (branches[node] == 1, -node.used))
        return told(_in_order(node.marks) for node in marked)

    def stats(self) -> CacheLoad:
        return CacheLoad(used_bytes=self._used_bytes, limit_bytes=self._limit, tokens=self._tokens)

    @property
    def _used_bytes(self) -> int:
        return self._tokens * (self._token_bytes or 0)

    def _path(self, tokens: Run[int]) -> list[tuple[_Node, int]]:
        """The nodes along ``tokens``, and how much of each agrees; only the last may be partial."""
        path: list[tuple[_Node, int]] = []
        node, at = self._root, 0
        while at < len(tokens) and (child := node.children.get(tokens[at])):
            count = agreement(child.tokens, tokens[at : at + len(child.tokens)])
            path.append((child, count))
            if count < len(child.tokens):
                break
            node, at = child, at + count
        return path

    def _touch(self, path: list[tuple[_Node, int]]) -> None:
        self._clock += 1
        for node, _ in path:
            node.used = self._clock

    def _append(
        self, parent: _Node, tokens: list[int], layers: list[tuple[mx.array, mx.array]]
    ) -> _Node:
        node = _Node(tokens, layers, parent)
        parent.children[tokens[0]] = node
        self._leaves.discard(parent)
        self._leaves.add(node)
        self._tokens += len(tokens)
        self.version += 1
        return node

    def _split(self, node: _Node, at: int) -> _Node:
        """The new upper half; ``node`` stays the lower one, so that its pins and children hold."""
        assert node.parent is not None, "the root has no tokens to split"
        upper = _Node(node.tokens[:at], _spans(node.layers, 0, at), node.parent)
        upper.used = node.used
        upper.children[node.tokens[at]] = node
        node.parent.children[node.tokens[0]] = upper
        node.layers = _spans(node.layers, at, len(node.tokens))
        node.tokens = node.tokens[at:]
        node.start = upper.end
        for digest in [digest for digest, end in node.marks.items() if end <= upper.end]:
            upper.marks[digest] = node.marks.pop(digest)
        node.parent = upper
        return upper

    def _pin(self, session: SessionId, node: _Node) -> None:
        self._unpin(session)
        self._sessions[session] = node
        node.pins += 1
        if len(self._sessions) > SESSIONS:
            self._unpin(next(iter(self._sessions)))

    def _unpin(self, session: SessionId) -> None:
        if (node := self._sessions.pop(session, None)) is not None:
            node.pins -= 1

    def _evict(self) -> None:
        while self._used_bytes > self._limit:
            for leaf in sorted(self._leaves, key=lambda leaf: (leaf.pins > 0, leaf.used)):
                spare = 0 if leaf.pins else self._limit // SLACK
                if self._used_bytes <= self._limit - spare:
                    break
                self._drop(leaf)

    def _drop(self, leaf: _Node) -> None:
        assert leaf.parent is not None, "the root is never a leaf"
        del leaf.parent.children[leaf.tokens[0]]
        self._leaves.discard(leaf)
        if leaf.parent is not self._root and not leaf.parent.children:
            self._leaves.add(leaf.parent)
        if leaf.pins:
            for session in [s for s, node in self._sessions.items() if node is leaf]:
                self._unpin(session)
        self._tokens -= len(leaf.tokens)


def _below(root: _Node) -> list[_Node]:
    """All nodes, each after its parent."""
    nodes = [root]
    for node in nodes:
        nodes += node.children.values()
    return nodes


def _mark(path: list[tuple[_Node, int]], marks: Run[Mark]) -> None:
    at = 0
    for node, count in path:
        covered = node.start + count
        while at < len(marks) and marks[at].tokens <= covered:
            node.marks.pop(marks[at].digest, None)
            node.marks[marks[at].digest] = marks[at].tokens
            at += 1
        # Prompts that differ where the model sees no difference mark the same tokens.
        while len(node.marks) > LONGEST:
            del node.marks[next(iter(node.marks))]


def _in_order(marks: Marks) -> Marks:
    return dict(sorted(marks.items(), key=lambda mark: mark[1]))


def _joined(parts: list[tuple[mx.array, int]]) -> mx.array:
    # Slices even when whole: mlx-lm writes into a cache's array in place.
    slices = [array[..., :count, :] for array, count in parts]
    return slices[0] if len(slices) == 1 else mx.concatenate(slices, axis=2)


def token_bytes(cache: Cache) -> int:
    """What one token takes in all layers of a cache that holds any."""
    layers = [(layer.keys, layer.values) for layer in cache]
    return sum(array.nbytes // array.shape[2] for pair in layers for array in pair)


def _cut(cache: Cache, start: int, stop: int) -> list[tuple[mx.array, mx.array]]:
    return _spans([(layer.keys, layer.values) for layer in cache], start, stop)


def _spans(
    layers: list[tuple[mx.array, mx.array]], start: int, stop: int
) -> list[tuple[mx.array, mx.array]]:
    """Copies of their own, under way at once: a lazy slice would keep all it was cut from alive."""
    spans = [
        (mx.contiguous(keys[..., start:stop, :]), mx.contiguous(values[..., start:stop, :]))
        for keys, values in layers
    ]
    mx.async_eval(spans)
    return spans
