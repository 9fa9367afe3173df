"""What a model is called here and at its upstream: ``name:id`` and ``id``."""

from proto.ids import ModelId


def ours(upstream: str, id: str) -> ModelId:
    return ModelId(f"{upstream}:{id}")


def upstream_s(model: ModelId) -> str:
    return model.partition(":")[2]
