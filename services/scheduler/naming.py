"""Which model a name means, and what the configuration says of it."""

from proto.config import ModelConfig
from proto.effective import model_config, target
from proto.errors import Code, MeshError
from proto.ids import ModelId
from services.scheduler.view import View


def known_model(view: View, name: str) -> ModelId | None:
    """The id of a model that is stored or placed, by its id, a name of its own or an alias."""
    return view.model_of(name) or view.model_of(target(view.config, name))


def fetchable_model(view: View, name: str) -> ModelId:
    """What to ask the hub for under a name that no node knows. Raises MeshError."""
    meant = target(view.config, name)
    owner, slash, rest = meant.partition("/")
    if owner and slash and rest and "/" not in rest:
        return meant
    raise unknown(view, name)


def unknown(view: View, name: str) -> MeshError:
    there = sorted({m.id for store in view.stores.values() for m in store.models})
    return MeshError(
        Code.MODEL_NOT_FOUND,
        f"No node has a model {name!r}, and it is no name of the Hugging Face hub, such as "
        f"org/model. There are: {', '.join(there) or 'none'}.",
        param="model",
    )


def defaults(view: View, model: ModelId, *names: str) -> ModelConfig:
    """What the operator decided for a model that goes by these names, too."""
    own = [alias for _, known in view.stored(model) for alias in known.aliases]
    placed = [alias for _, placement in view.placements(model) for alias in placement.aliases]
    return model_config(view.config, (model, *own, *placed, *names))
