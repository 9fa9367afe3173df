"""Whether an upstream may be asked for something at all."""

from collections.abc import Callable

from proto.presence import EngineBeat
from proto.refusing import not_served
from services.cloud.catalog import Catalog
from services.cloud.egress import Asked, Egress
from services.cloud.line import Line
from services.cloud.naming import upstream_s


class Admission:
    """``describe`` says what of the upstream is known to all."""

    def __init__(
        self, catalog: Catalog, egress: Egress, line: Line, describe: Callable[[], EngineBeat]
    ) -> None:
        self._catalog = catalog
        self._egress = egress
        self._line = line
        self._describe = describe

    async def expect(self, asked: Asked) -> None:
        """Whoever asks may not have heard yet of what it may be asked for. Raises MeshError."""
        if not self._catalog.takes(upstream_s(asked.model)):
            raise not_served(self._describe(), asked.model)
        self._egress.expect_may_leave(asked)
        async with self._line.held() as client:
            client.breaker.expect()
