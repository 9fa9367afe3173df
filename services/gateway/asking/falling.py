"""From a model that cannot take a request to the next one of its chain."""

from collections.abc import Iterable

from bus.fleet import Fleet, card_of
from proto.errors import Code, MeshError
from proto.generation import Generate
from proto.ids import ModelId
from proto.presence import EngineBeat
from proto.prompt import Chat

TOO_MUCH = (Code.UNSUPPORTED_PARAMETER, Code.CONTEXT_OVERFLOW)
"""What another model than the client's own says is asked too much of it, which is no fault of the
client: the next one is asked.
"""


TELLING = ("openrouter",)
"""Providers whose catalogs say of every model what it can do."""


class Chain:
    """The models that one generation may still be asked of, and what those said that were."""

    def __init__(self, first: Generate, others: Iterable[Generate], fleet: Fleet) -> None:
        """``others`` ask other models for the same."""
        self.route: list[ModelId] = [first.model]
        """The models that were asked, the present one last."""
        self._others = list(others)
        self._fleet = fleet
        self._refusals: list[MeshError] = []

    def may_follow(self, error: MeshError) -> bool:
        """Whether another model may make good what one failed with."""
        while self._others and not can_take(self._others[0], self._fleet):
            del self._others[0]
        is_own = len(self.route) > 1 and error.code in TOO_MUCH
        return bool(self._others) and (error.code.is_curable_by_another_model or is_own)

    def follow(self, error: MeshError) -> Generate:
        """What to ask next. Only where it may follow."""
        self._refusals.append(error)
        question = self._others.pop(0)
        self.route.append(question.model)
        return question

    @property
    def has_others(self) -> bool:
        return bool(self._others)

    def summed_up(self, error: MeshError) -> MeshError:
        """What to tell when the last has failed, too: who is full may have room soon."""
        if not self._refusals:
            return error
        refusals = [*self._refusals, error]
        hopes = [each for each in refusals if each.code is Code.QUEUE_FULL]
        own = [each for each in refusals if each.code not in TOO_MUCH]
        best = (hopes or own)[-1]
        said = "; ".join(
            f"{model}: {each.message}" for model, each in zip(self.route, refusals, strict=True)
        )
        return MeshError(
            best.code,
            f"No model of the chain could take it. {said}",
            retry_after_s=best.retry_after_s,
        )


def can_take(question: Generate, fleet: Fleet) -> bool:
    """Whether a model is there that can do what is asked, as far as that is known.

    What no engine serves now may be loaded when it is asked for. What upstreams say of their models
    is taken for as much as it is: a flag that is missing may only not be told.
    """
    if not fleet.holders(question.model):
        return True
    takers = fleet.reachable(question.model, local_only=question.local_only)
    return any(_can(question, beat) for beat in takers)


def _can(question: Generate, beat: EngineBeat) -> bool:
    card = card_of(beat, question.model)
    if card is None:
        return True
    if card.kind not in ("llm", "vlm"):
        return False
    if not isinstance(question.prompt, Chat):
        return True
    if beat.upstream is not None and beat.provider_kind not in TELLING:
        return True
    sees = card.kind == "vlm" or not question.prompt.images
    reads = card.reads_documents or not question.prompt.documents
    return sees and reads and (card.calls_tools or not question.prompt.tools)


def longest(routes: Iterable[tuple[ModelId, ...]]) -> tuple[ModelId, ...]:
    """Of the choices of one answer, the one that had to go furthest."""
    return max(routes, key=lambda route: len(route), default=())
