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
    raise MeshError(
        Code.MODEL_NOT_FOUND,
        f"{_nowhere(view, name)} The Hugging Face hub's models have names like org/model.",
        param="model",
    )


def unknown(view: View, name: str) -> MeshError:
    return MeshError(Code.MODEL_NOT_FOUND, _nowhere(view, name), param="model")


def _nowhere(view: View, name: str) -> str:
    heard = (store for node, store in view.stores.items() if node in view.nodes)
    there = sorted({model.id for store in heard for model in store.models})
    return f"No node that is heard has a model {name!r}. There are: {', '.join(there) or 'none'}."


def defaults(view: View, model: ModelId, *names: str) -> ModelConfig:
    """What the operator decided for a model that goes by these names, too."""
    own = [alias for _, known in view.stored(model) for alias in known.aliases]
    placed = [alias for _, placement in view.placements(model) for alias in placement.aliases]
    return model_config(view.config, (model, *own, *placed, *names))
