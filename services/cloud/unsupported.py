"""What an upstream's protocol has no word for is refused by name before anything is sent."""

from proto.errors import Code, MeshError


def unsupported(param: str, why: str) -> MeshError:
    """``why`` goes on from "this upstream"."""
    return MeshError(Code.UNSUPPORTED_PARAMETER, f"`{param}`: this upstream {why}.", param=param)
