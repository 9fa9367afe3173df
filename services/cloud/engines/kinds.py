"""The makes of engine that are known, and which of them a server is."""

from collections.abc import Callable

from proto.config import ProviderKind
from proto.errors import Code, MeshError
from services.cloud.engines.kind import Kind
from services.cloud.engines.llama_cpp import LlamaCpp
from services.cloud.engines.llama_cpp_python import LlamaCppPython
from services.cloud.engines.lmstudio import LmStudio
from services.cloud.engines.mesh import OtherMesh
from services.cloud.engines.mlx_lm import MlxLm
from services.cloud.engines.odyssai_x import OdyssaiX
from services.cloud.engines.ollama import Ollama
from services.cloud.engines.probe import Probe
from services.cloud.engines.telemak import Telemak
from services.cloud.engines.vllm import Vllm

KINDS: dict[ProviderKind, Callable[[], Kind]] = {
    "mesh": OtherMesh,
    "telemak": Telemak,
    "odyssai": OdyssaiX,
    "llamacpp": LlamaCpp,
    "lmstudio": LmStudio,
    "ollama": Ollama,
    "vllm": Vllm,
    "llama-cpp-python": LlamaCppPython,
    "mlx-lm": MlxLm,
}
"""In the order in which they are tried: who has a contract first, since meshes speak Ollama's
dialect, too, as llama.cpp does; who is known by a habit alone last.
"""


async def recognised(probe: Probe) -> tuple[Kind, str]:
    """The make and its version. Raises MeshError when it is none of them, or does not answer."""
    for make in KINDS.values():
        kind = make()
        version = await kind.recognise(probe)
        if version is not None:
            return kind, version
    raise MeshError(
        Code.NOT_FOUND, f"No engine that is known here answers at {probe.root}.", param="url"
    )
