"""Where everything lies on the other machine: in one folder, and the unit of whoever keeps it."""

from msgspec import Struct

FOLDER = ".odyssai-node"
"""In the user's home, unless another is chosen."""


class Layout(Struct, frozen=True):
    """Absolute paths there."""

    folder: str

    @property
    def deployed(self) -> str:
        """Says that the folder is ours, and what is in it: a ``Deployed``."""
        return f"{self.folder}/deployed.json"

    @property
    def home(self) -> str:
        """Of the node: its membership, its logs, the models that it keeps for itself."""
        return f"{self.folder}/home"

    @property
    def membership(self) -> str:
        return f"{self.home}/membership/membership.json"

    @property
    def logs(self) -> str:
        return f"{self.home}/logs"

    @property
    def log(self) -> str:
        """What ``odyssai join`` itself says; services and engines have files beside it."""
        return f"{self.logs}/node.log"

    @property
    def releases(self) -> str:
        return f"{self.folder}/releases"

    @property
    def current(self) -> str:
        """A link to the release that runs."""
        return f"{self.folder}/current"

    @property
    def odyssai(self) -> str:
        """The command of the release that runs."""
        return f"{self.current}/venv/bin/odyssai"

    @property
    def python(self) -> str:
        return f"{self.current}/venv/bin/python"

    def release(self, name: str) -> str:
        return f"{self.releases}/{name}"


class Deployed(Struct, frozen=True, kw_only=True):
    """What was deployed into a folder."""

    mesh: str
    node: str
    keeper: str
    models: tuple[str, ...] = ()
    """What it serves by itself."""
    memory: str = ""
    """What models may take; empty: what the system lets them."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of ``odyssai join``, besides where and who it is."""
        models = [word for model in self.models or ("none",) for word in ("--model", model)]
        return (*models, *(("--memory", self.memory) if self.memory else ()))
