"""/admin/nodes: the machines, and what is done with them as a whole."""

import msgspec
from msgspec import Struct

from bus import jobs
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import Drain, RemoveNode, Restart, Undrain
from proto.overview import NodeView
from services.gateway.admin.carrying import carry_out, read
from services.gateway.admin.requests import NodeBody, RestartBody
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.http.query import flag

_BODY = msgspec.json.Decoder(NodeBody)
_RESTART = msgspec.json.Decoder(RestartBody)


class NodeViews(Struct, frozen=True):
    nodes: list[NodeView]


async def show_nodes(gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/nodes. Raises MeshError."""
    seen = await jobs.look_around(gateway.mesh.bus)
    await exchange.reply(200, msgspec.json.encode(NodeViews(list(seen.nodes))))


async def show_node(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/nodes/{name}. Raises MeshError."""
    for node in (await jobs.look_around(gateway.mesh.bus)).nodes:
        if node.node == name:
            return await exchange.reply(200, msgspec.json.encode(node))
    raise MeshError(
        Code.NOT_FOUND, f"There is no node {name!r}; GET /admin/nodes lists them.", param="node"
    )


async def drain(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/nodes/{name}/drain. Raises MeshError, ClientLeft."""
    asked = await read(gateway, exchange, _BODY)
    await carry_out(gateway, exchange, Drain(node=NodeId(name)), asked.wait)


async def undrain(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/nodes/{name}/undrain. Raises MeshError, ClientLeft."""
    asked = await read(gateway, exchange, _BODY)
    await carry_out(gateway, exchange, Undrain(node=NodeId(name)), asked.wait)


async def restart(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """POST /admin/nodes/{name}/restart. Raises MeshError, ClientLeft."""
    asked = await read(gateway, exchange, _RESTART)
    order = Restart(node=NodeId(name), engines=asked.engines)
    await carry_out(gateway, exchange, order, asked.wait)


async def remove_node(name: str, gateway: Gateway, exchange: Exchange) -> None:
    """DELETE /admin/nodes/{name}. Raises MeshError, ClientLeft."""
    order = RemoveNode(node=NodeId(name))
    await carry_out(gateway, exchange, order, flag(exchange.query, "wait"))


VERBS = {"drain": drain, "undrain": undrain, "restart": restart}
"""What may stand behind a node in the path."""
