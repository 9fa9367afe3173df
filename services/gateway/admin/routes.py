"""What there is below /admin."""

from collections.abc import Mapping
from functools import partial

from services.gateway.admin import config, enrolment, jobs, keys, models, nodes, plan, providers
from services.gateway.admin.status import show_status
from services.gateway.gateway import Endpoint

ROOT = "/admin"


def is_below(path: str) -> bool:
    return path == ROOT or path.startswith(f"{ROOT}/")


def endpoints(path: str) -> Mapping[str, Endpoint]:
    """By method; none where there is nothing."""
    match path.removeprefix(ROOT).strip("/").split("/"):
        case ["status"]:
            return _read(show_status)
        case ["config", *name]:
            return _config(name)
        case ["keys", *rest]:
            return _keys(rest)
        case ["providers", *rest]:
            return _providers(rest)
        case ["enroll"]:
            return {"POST": enrolment.enroll}
        case ["load"]:
            return {"POST": models.load_now}
        case ["unload"]:
            return {"POST": models.unload_now}
        case ["models", *name]:
            return _models("/".join(name))
        case ["plan"]:
            return _read(plan.show_plan)
        case ["jobs", *rest]:
            return _jobs(rest)
        case ["nodes", *rest]:
            return _nodes(rest)
        case _:
            return {}


def _config(rest: list[str]) -> Mapping[str, Endpoint]:
    match rest:
        case []:
            return {
                **_read(config.show_config),
                "PATCH": config.change_config,
                "PUT": config.replace_config,
                "DELETE": config.forget_config,
            }
        case ["models", *name] if name:
            return _read(partial(config.show_model_settings, "/".join(name)))
        case _:
            return {}


def _keys(rest: list[str]) -> Mapping[str, Endpoint]:
    match rest:
        case []:
            return {**_read(keys.show_keys), "POST": keys.make_key}
        case [name]:
            return {**_read(partial(keys.show_key, name)), "DELETE": partial(keys.revoke, name)}
        case _:
            return {}


def _providers(rest: list[str]) -> Mapping[str, Endpoint]:
    match rest:
        case []:
            return {**_read(providers.show_providers), "POST": providers.make_provider}
        case [name]:
            return {
                **_read(partial(providers.show_provider, name)),
                "DELETE": partial(providers.remove, name),
            }
        case [name, "test"]:
            return {"POST": partial(providers.test, name)}
        case [name, "keys", key]:
            return {
                "PUT": partial(providers.put_key, name, key),
                "DELETE": partial(providers.remove_key, name, key),
            }
        case _:
            return {}


def _models(name: str) -> Mapping[str, Endpoint]:
    """A model's id may hold slashes; none is called ``load``."""
    if not name:
        return _read(models.show_models)
    if name in models.ORDERS:
        return {"POST": models.ORDERS[name]}
    return {**_read(partial(models.show_model, name)), "DELETE": partial(models.remove_model, name)}


def _jobs(rest: list[str]) -> Mapping[str, Endpoint]:
    match rest:
        case []:
            return _read(jobs.show_jobs)
        case [id]:
            return _read(partial(jobs.show_job, id))
        case [id, "events"]:
            return {"GET": partial(jobs.stream_job, id)}
        case [id, verb] if verb in jobs.WISHES:
            return {"POST": partial(jobs.steer_job, id, jobs.WISHES[verb])}
        case _:
            return {}


def _nodes(rest: list[str]) -> Mapping[str, Endpoint]:
    match rest:
        case []:
            return _read(nodes.show_nodes)
        case [name]:
            return {
                **_read(partial(nodes.show_node, name)),
                "DELETE": partial(nodes.remove_node, name),
            }
        case [name, verb] if verb in nodes.VERBS:
            return {"POST": partial(nodes.VERBS[verb], name)}
        case _:
            return {}


def _read(endpoint: Endpoint) -> Mapping[str, Endpoint]:
    return {"GET": endpoint, "HEAD": endpoint}
