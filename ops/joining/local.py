"""Another process on the home's own machine gets a credential of its own."""

from bus import seeds
from bus.connection import Bus
from bus.embedded import Access
from bus.key import Key
from ops.console.operator import operator
from proto.credentials import Admit, Holder, InvitedRole
from proto.ids import NodeId
from proto.subjects import ADMIT

CONNECT_S = 5.0


async def own_url(access: Access, role: InvitedRole, name: str) -> str:
    """Its way to the bus, which learns of it the first time. Raises MeshError, BusError."""
    holder = Holder(role, name)
    if not seeds.file_of(access.folder, holder).exists():
        key = Key.fresh()
        async with Bus.connect(access.url("console"), f"ops:admit-{name}", CONNECT_S) as bus:
            asked = Admit(role=role, name=NodeId(name), key=key.public, actor=operator())
            await bus.ask(ADMIT, asked)
        seeds.keep(access.folder, holder, key.seed)
    return access.url(role, name)
