"""What each address takes of a key: nothing is served that the table does not name."""

import pytest

from services.gateway import app
from services.gateway.http.exchange import Exchange
from services.gateway.keys.scopes import NEEDS, need_below_admin, need_of


def asked(method: str, path: str) -> Exchange:
    scope = {"method": method, "raw_path": path.encode(), "headers": []}
    return Exchange(scope, None, None)  # type: ignore[arg-type]


def test_every_route_is_in_the_table_and_nothing_else_is() -> None:
    assert {*app.GETS, *app.POSTS, *app.DELETES, *app.MOUNTS, *app.TREES} == set(NEEDS)


def test_what_the_table_does_not_know_takes_admin() -> None:
    assert need_of("/metrics-of-tomorrow") == "admin"


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "/admin/status", "telemetry"),
        ("HEAD", "/admin/nodes/a", "telemetry"),
        ("GET", "/admin/jobs/x/events", "telemetry"),
        ("GET", "/admin/config", "telemetry"),
        ("PATCH", "/admin/config", "admin"),
        ("POST", "/admin/models/load", "admin"),
        ("GET", "/admin/keys", "admin"),
        ("GET", "/admin/keys/ci", "admin"),
        ("GET", "/admin", "admin"),
        ("GET", "/admin/statusx", "admin"),
        ("GET", "//admin/status", "admin"),
    ],
)
def test_whoever_may_look_sees_the_mesh_and_changes_nothing(
    method: str, path: str, need: str
) -> None:
    assert need_below_admin(asked(method, path)) == need
