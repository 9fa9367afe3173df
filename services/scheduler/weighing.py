"""`odyssai plan`: how a model could be served, as if nothing of it were loaded."""

from proto.choice import Weigh, Weighed
from proto.ids import ModelId
from proto.jobs import Load
from proto.store import StoredModel
from services.scheduler.grouping.choosing import Frame, choices
from services.scheduler.jobs.load import wish_of
from services.scheduler.naming import unknown
from services.scheduler.placing.placing import check_present
from services.scheduler.view import View


def weigh(asked: Weigh, view: View) -> Weighed:
    """Raises MeshError for a model that no node has, and for nodes and clusters there are not."""
    order = Load(model=asked.model, context=asked.context, batch=asked.batch, fetches=False)
    wish = wish_of(order, view)
    check_present(view, asked.nodes)
    frame = Frame(asked.way, asked.ranks, asked.nodes, asked.cluster)
    found = choices(view.without(wish.model), _stored(view, wish.model), wish, frame)
    return Weighed(model=wish.model, choices=tuple(found), draft=wish.draft)


def _stored(view: View, model: ModelId) -> StoredModel:
    """As a node has it that is heard, or else was."""
    heard = [known for _, known in view.stored(model)]
    known = [m for store in view.stores.values() for m in store.models if m.id == model]
    if not known:
        raise unknown(view, model)
    return (heard or known)[0]
