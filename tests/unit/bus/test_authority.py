"""The authority of a mesh vouches for its bus server, for a while."""

from datetime import UTC, datetime, timedelta

from bus.authority import (
    RENEWED_BEFORE,
    SERVER_LIFE,
    fingerprint_of,
    is_current,
    new_authority,
    vouch,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = ("odyssai-1", "127.0.0.1", "fd00::2")


def test_a_certificate_is_current_until_its_end_is_near() -> None:
    authority = new_authority("odyssai-1", NOW)
    server = vouch(authority, HOSTS, NOW)

    def still(now: datetime) -> bool:
        return is_current(server.certificate, authority.certificate, HOSTS, now)

    assert still(NOW)
    assert still(NOW + SERVER_LIFE - RENEWED_BEFORE - timedelta(seconds=1))
    assert not still(NOW + SERVER_LIFE - RENEWED_BEFORE)


def test_a_certificate_that_lacks_an_address_is_not_current() -> None:
    authority = new_authority("odyssai-1", NOW)
    server = vouch(authority, HOSTS, NOW)

    assert is_current(server.certificate, authority.certificate, HOSTS[:1], NOW)
    assert not is_current(server.certificate, authority.certificate, (*HOSTS, "10.0.0.9"), NOW)


def test_a_certificate_of_another_authority_is_not_current() -> None:
    server = vouch(new_authority("odyssai-1", NOW), HOSTS, NOW)
    other = new_authority("odyssai-1", NOW)

    assert not is_current(server.certificate, other.certificate, HOSTS, NOW)
    assert not is_current("nonsense", other.certificate, HOSTS, NOW)


def test_a_server_shows_its_authority_too() -> None:
    authority = new_authority("odyssai-1", NOW)
    shown = vouch(authority, HOSTS, NOW).certificate

    assert shown.endswith(authority.certificate)
    assert fingerprint_of(shown) != fingerprint_of(authority.certificate)
