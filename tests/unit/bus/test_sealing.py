"""Secrets that only those open for whom they were sealed, at the place they were sealed for."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bus.sealing import Shut, fingerprint, opened, seal, shared

SECRET = "sk-proj-0123456789abcdef"


def public(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


@pytest.fixture
def us() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def test_each_reader_opens_what_was_sealed_for_it_and_nobody_sees_it(us):
    other = X25519PrivateKey.generate()
    sealed, wraps = seal(SECRET, "oa.main", [public(us), public(other)])

    assert opened(sealed, wraps, "oa.main", us) == SECRET
    assert opened(sealed, wraps, "oa.main", other) == SECRET
    assert SECRET.encode() not in sealed + b"".join(wraps.values())


def test_the_same_secret_is_sealed_differently_each_time(us):
    assert seal(SECRET, "p", [public(us)]) != seal(SECRET, "p", [public(us)])


def test_who_is_no_reader_is_told_so(us):
    sealed, wraps = seal(SECRET, "p", [public(X25519PrivateKey.generate())])

    with pytest.raises(Shut, match="for others"):
        opened(sealed, wraps, "p", us)


def test_what_is_moved_to_another_name_does_not_open_there(us):
    sealed, wraps = seal(SECRET, "oa.main", [public(us)])

    with pytest.raises(Shut, match="somewhere else"):
        opened(sealed, wraps, "lab.main", us)


def test_a_wrap_of_one_secret_opens_no_other(us):
    sealed, _ = seal(SECRET, "p", [public(us)])
    _, wraps = seal("another", "p", [public(us)])

    with pytest.raises(Shut, match="was changed"):
        opened(sealed, wraps, "p", us)


@pytest.mark.parametrize("at", [0, 11, 12, -1])
@pytest.mark.parametrize("part", ["sealed", "wrap"])
def test_a_changed_bit_anywhere_is_noticed(us, at, part):
    sealed, wraps = seal(SECRET, "p", [public(us)])
    name = fingerprint(public(us))
    body = bytearray(sealed if part == "sealed" else wraps[name])
    body[at] ^= 1
    changed = (bytes(body), wraps) if part == "sealed" else (sealed, {name: bytes(body)})

    with pytest.raises(Shut):
        opened(*changed, "p", us)


@pytest.mark.parametrize("body", [b"", b"short", bytes(32), bytes(60)])
def test_what_is_no_seal_at_all_is_shut_as_well(us, body):
    _, wraps = seal(SECRET, "p", [public(us)])

    with pytest.raises(Shut):
        opened(body, wraps, "p", us)
    with pytest.raises(Shut):
        opened(b"x" * 40, {fingerprint(public(us)): body}, "p", us)


def test_a_reader_lets_another_one_in(us):
    newcomer = X25519PrivateKey.generate()
    sealed, wraps = seal(SECRET, "p", [public(us)])

    more = shared(wraps, "p", us, [public(us), public(newcomer)])

    assert opened(sealed, more, "p", newcomer) == SECRET
    assert shared(more, "p", us, [public(us), public(newcomer)]) is more
