"""The admin API's part of the OpenAPI document."""

from typing import Any, Protocol

from msgspec import Struct

from proto.choice import Weighed
from proto.config import Config, ConfigView
from proto.dialects import openai
from proto.keys import KeyView
from proto.overview import JobView, ModelView, NodeView
from proto.provider import ProviderCheck, ProviderKeyView, ProviderView
from services.gateway.admin.config import ModelSettings
from services.gateway.admin.enrolment import EnrollBody, EnrolledEngine
from services.gateway.admin.jobs import WISHES, JobList
from services.gateway.admin.keys import CreatedKey, KeyViews, NewKey, RevokedKey
from services.gateway.admin.models import Jobs, ModelViews
from services.gateway.admin.nodes import NodeViews
from services.gateway.admin.plan import PARAMETERS
from services.gateway.admin.providers import (
    NewProvider,
    NewProviderKey,
    ProviderViews,
    RemovedProvider,
)
from services.gateway.admin.requests import (
    ConvertBody,
    LoadBody,
    LoadNow,
    NodeBody,
    PinBody,
    PullBody,
    RestartBody,
    SyncBody,
    UnloadBody,
    UnloadNow,
)
from services.gateway.admin.status import MeshStatus

BODIES: dict[str, type[Struct]] = {
    "/admin/models/load": LoadBody,
    "/admin/models/unload": UnloadBody,
    "/admin/models/pin": PinBody,
    "/admin/models/pull": PullBody,
    "/admin/models/sync": SyncBody,
    "/admin/models/convert": ConvertBody,
    "/admin/load": LoadNow,
    "/admin/unload": UnloadNow,
    "/admin/nodes/{node}/drain": NodeBody,
    "/admin/nodes/{node}/undrain": NodeBody,
    "/admin/nodes/{node}/restart": RestartBody,
}
SHOWN: dict[str, tuple[str, type[Struct]]] = {
    "/admin/status": ("The mesh in numbers.", MeshStatus),
    "/admin/config": ("What is in effect, and the layers it comes from.", ConfigView),
    "/admin/config/models/{model}": ("What it comes to for one model.", ModelSettings),
    "/admin/models": ("Every model that is stored or loaded somewhere.", ModelViews),
    "/admin/models/{model}": ("One model.", ModelView),
    "/admin/plan": ("How a model could be served, the way that would be taken first.", Weighed),
    "/admin/nodes": ("Every machine.", NodeViews),
    "/admin/nodes/{node}": ("One machine.", NodeView),
    "/admin/keys": ("Every API key, but the keys themselves.", KeyViews),
    "/admin/keys/{key}": ("One API key, but the key itself.", KeyView),
    "/admin/providers": ("Every provider: state, models, keys by their ends.", ProviderViews),
    "/admin/providers/{provider}": ("One provider.", ProviderView),
    "/admin/jobs": ("What goes on, and what ended of late.", JobList),
    "/admin/jobs/{job}": ("One job.", JobView),
}
TYPES: list[type[Struct]] = [
    *dict.fromkeys(BODIES.values()),
    *(answer for _, answer in SHOWN.values() if answer is not JobView),
    JobView,
    Jobs,
    Config,
    NewKey,
    CreatedKey,
    RevokedKey,
    NewProvider,
    EnrollBody,
    EnrolledEngine,
    NewProviderKey,
    ProviderKeyView,
    RemovedProvider,
    ProviderCheck,
]
CHANGES = {
    "put": "Put this in place of all that was set over HTTP.",
    "patch": "Lay this over what was set over HTTP; a null takes back what the file says.",
}
REFUSALS = {
    400: "The request makes no sense; the message names the field.",
    401: "The key is missing, wrong, expired or revoked.",
    403: "Not with this key, not from there, or not for a web page of another origin.",
    404: "No such model, node, job, key or provider.",
    409: "It cannot be done as things are; the message says what stands against it.",
    499: "The job was cancelled.",
    500: "It failed on a node.",
    502: "An engine was lost, or the hub cannot be reached.",
    503: "No scheduler leads at this moment, or the model is quarantined.",
    507: "Not enough memory or disk; the message has the numbers.",
}


class Schemas(Protocol):
    def of(self, *types: type[Struct]) -> dict[str, Any]: ...


def paths(schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for path, (summary, answer) in SHOWN.items():
        described[path] = {"get": _operation(schemas, path, summary, answer)}
    described["/admin/plan"]["get"]["parameters"] = [_asked(name) for name in PARAMETERS]
    for path, body in BODIES.items():
        described[path] = {"post": _order(schemas, path, body)}
    for path, what in (("/admin/models/{model}", "a model's files"), ("/admin/nodes/{node}", "it")):
        forget = _operation(schemas, path, f"Forget {what}.", JobView, begun=True)
        described[path]["delete"] = forget
    described["/admin/jobs/{job}/events"] = {"get": _events(schemas)}
    described["/admin/config"] |= _config_changes(schemas)
    described["/admin/keys"]["post"] = _making(schemas)
    _describe_providers(described, schemas)
    described["/admin/keys/{key}"]["delete"] = _operation(
        schemas, "/admin/keys/{key}", "It opens nothing any more.", RevokedKey
    )
    for verb in WISHES:
        path = f"/admin/jobs/{{job}}/{verb}"
        steer = _operation(schemas, path, f"{verb.capitalize()} a job.", JobView, begun=True)
        described[path] = {"post": steer}
    return described


def _order(schemas: Schemas, path: str, body: type[Struct]) -> dict[str, Any]:
    operation = _operation(schemas, path, (body.__doc__ or "").strip(), JobView, begun=True)
    operation["requestBody"] = {
        "required": "{node}" not in path,
        "content": {"application/json": {"schema": schemas.of(body)}},
    }
    if path == "/admin/unload":
        every = {"name": "all", "in": "query", "description": "Every model, and no body."}
        operation["parameters"].append({**every, "schema": {"type": "boolean"}})
        operation["responses"]["200"] = _json("It is over.", schemas.of(JobView, Jobs))
    return operation


def _config_changes(schemas: Schemas) -> dict[str, Any]:
    path = "/admin/config"
    described = {}
    for method, summary in CHANGES.items():
        described[method] = _operation(schemas, path, summary, ConfigView)
        described[method]["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas.of(Config)}},
        }
    what = "Forget a setting that was set over HTTP, or all: the file's count again."
    described["delete"] = _operation(schemas, path, what, ConfigView)
    named = {"name": "setting", "in": "query", "description": "Such as `models/org/name/context`."}
    described["delete"]["parameters"].append({**named, "schema": {"type": "string"}})
    return described


def _making(schemas: Schemas) -> dict[str, Any]:
    operation = _operation(schemas, "/admin/keys", (NewKey.__doc__ or "").strip(), CreatedKey)
    made = operation["responses"].pop("200")
    operation["responses"]["201"] = made | {"description": "The key, which is told this once."}
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": schemas.of(NewKey)}},
    }
    return operation


def _describe_providers(described: dict[str, Any], schemas: Schemas) -> None:
    every, one = "/admin/providers", "/admin/providers/{provider}"
    key, test = f"{one}/keys/{{key}}", f"{one}/test"
    add = _sent(schemas, every, NewProvider, ProviderView)
    add["responses"]["201"] = add["responses"].pop("200") | {"description": "It is served."}
    described[every]["post"] = add
    gone = "Its models and keys are gone; what runs finishes."
    described[one]["delete"] = _operation(schemas, one, gone, RemovedProvider)
    described[key] = {
        "put": _sent(schemas, key, NewProviderKey, ProviderKeyView),
        "delete": _operation(schemas, key, "It is used no more.", RemovedProvider),
    }
    enroll = _sent(schemas, "/admin/enroll", EnrollBody, EnrolledEngine)
    enroll["responses"]["201"] = enroll["responses"]["200"] | {"description": "It is served now."}
    described["/admin/enroll"] = {"post": enroll}
    asked = "Ask it for its models now, with each of its keys."
    described[test] = {"post": _operation(schemas, test, asked, ProviderCheck)}


def _sent(schemas: Schemas, path: str, body: type[Struct], answer: type[Struct]) -> dict[str, Any]:
    operation = _operation(schemas, path, (body.__doc__ or "").strip(), answer)
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": schemas.of(body)}},
    }
    return operation


def _events(schemas: Schemas) -> dict[str, Any]:
    path = "/admin/jobs/{job}/events"
    operation = _operation(schemas, path, "A job's states until it is over.", JobView)
    operation["responses"]["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return operation


def _operation(
    schemas: Schemas, path: str, summary: str, answer: type[Struct], begun: bool = False
) -> dict[str, Any]:
    """``begun``: it comes to a job, which may go on after the answer."""
    error = schemas.of(openai.ErrorBody)
    responses = {
        "200": _json("It is over." if begun else "What was asked for.", schemas.of(answer))
    }
    if begun:
        responses["202"] = _json("It goes on; Location tells where to look.", schemas.of(answer))
    responses |= {str(status): _json(why, error) for status, why in REFUSALS.items()}
    named = [name for name in ("model", "node", "job", "key", "provider") if f"{{{name}}}" in path]
    return {
        "summary": summary,
        "parameters": [_named(name) for name in named],
        "responses": responses,
    }


def _named(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _asked(name: str) -> dict[str, Any]:
    """Behind the question mark."""
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "query", "required": name == "model", "schema": schema}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
