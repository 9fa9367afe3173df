"""The run itself: clients talk, things break, and both are written down."""

import asyncio
import time
from collections.abc import Sequence

from ops.bench._chaos.acts import Scene
from ops.bench._chaos.answer import Broken, Failure
from ops.bench._chaos.ledger import Hit
from ops.bench._chaos.schedule import LAST_S, Planned
from ops.bench._children import NotStarted
from ops.bench._report import say
from ops.child import NotRenewed

RECOVERED_S = 60.0
"""A mesh that is not whole so long after a fault has not recovered."""


class Campaign:
    """Carries a plan out, one fault after the other."""

    def __init__(self, scene: Scene, hits: list[Hit]) -> None:
        self._scene = scene
        self._hits = hits
        self._began = time.monotonic()

    async def run(self, plan: Sequence[Planned], span_s: float) -> None:
        """What is too late for the span is left out."""
        for planned in plan:
            await asyncio.sleep(max(0.0, self._began + planned.at_s - time.monotonic()))
            if time.monotonic() - self._began + planned.lasts_s > span_s - LAST_S:
                say(f"chaos: no time is left for: {planned}")
                continue
            hit = await self._carry_out(planned)
            self._hits.append(hit)
            say(f"chaos: {self._told(planned, hit)}")

    async def _carry_out(self, planned: Planned) -> Hit:
        fault, scene = planned.fault, self._scene
        began, trouble = time.monotonic(), ""
        mended = began
        try:
            await fault.act(scene, planned.target)
            await asyncio.sleep(planned.lasts_s)
            await fault.mend(scene, planned.target)
            mended = time.monotonic()
            if fault.breaks_mesh:
                await scene.world.until_whole(RECOVERED_S)
        except (NotStarted, NotRenewed, Failure, Broken, TimeoutError) as error:
            trouble = str(error) or type(error).__name__
        return Hit(
            fault=fault.name,
            target=planned.target,
            costs=fault.costs,
            began=began,
            mended=mended,
            whole=time.monotonic(),
            trouble=trouble,
        )

    def _told(self, planned: Planned, hit: Hit) -> str:
        at_s = hit.began - self._began
        late = f" ({at_s - planned.at_s:.0f} s late)" if at_s > planned.at_s + 1 else ""
        lasted = f", held {hit.mended - hit.began:.1f} s" if planned.lasts_s else ""
        end = hit.trouble or f"whole after {hit.recovery_s:.1f} s"
        return f"{at_s:.1f} s{late}: {hit.fault} {hit.target}{lasted}, {end}"
