"""The half of the seal that never leaves its machine."""

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from services.cloud.providers.vault import VaultShut, opened


class Chain(KeyringBackend):
    """A keychain as an operating system has one."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def get_password(self, service, username):
        if self.is_locked:
            raise KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


@pytest.fixture
def no_chain():
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def chain():
    before, chain = keyring.get_keyring(), Chain()
    keyring.set_keyring(chain)
    yield chain
    keyring.set_keyring(before)


def raw(found) -> bytes:
    return found.private.private_bytes_raw()


def test_without_a_keychain_it_is_a_file_that_is_made_once_and_is_nobody_elses(tmp_path, no_chain):
    first, again = opened(tmp_path, None), opened(tmp_path, "file")

    file = tmp_path / "vault" / "cloud.key"
    assert first.kept == "file"
    assert raw(first) == raw(again)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["cloud.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused_with_the_remedy(tmp_path, no_chain, mode):
    opened(tmp_path, None)
    (tmp_path / "vault" / "cloud.key").chmod(mode)

    with pytest.raises(VaultShut, match="chmod 600"):
        opened(tmp_path, "file")


@pytest.mark.parametrize("text", ["", "nonsense", "ab" * 31])
def test_a_file_that_is_no_key_is_never_replaced_in_silence(tmp_path, no_chain, text):
    opened(tmp_path, None)
    file = tmp_path / "vault" / "cloud.key"
    file.write_text(text)

    with pytest.raises(VaultShut, match="no key of ours"):
        opened(tmp_path, "file")
    assert file.read_text() == text


def test_where_there_is_a_keychain_no_file_is_written(tmp_path, chain):
    first, again = opened(tmp_path, None), opened(tmp_path, "keychain")

    assert first.kept == "keychain"
    assert raw(first) == raw(again)
    assert not (tmp_path / "vault").exists()


def test_homes_of_one_machine_have_keys_of_their_own(tmp_path, chain):
    assert raw(opened(tmp_path / "a", None)) != raw(opened(tmp_path / "b", None))


def test_a_keychain_that_is_locked_for_a_while_is_waited_for(tmp_path, chain):
    opened(tmp_path, None)
    chain.is_locked = True

    with pytest.raises(VaultShut, match="unlock it"):
        opened(tmp_path, "keychain")
    assert not (tmp_path / "vault").exists()


def test_a_keychain_that_never_opened_is_done_without(tmp_path, chain):
    chain.is_locked = True

    assert opened(tmp_path, None).kept == "file"


def test_a_keychain_that_writes_in_plain_is_none(tmp_path, chain, monkeypatch):
    monkeypatch.setattr(Chain, "priority", 0.5)

    assert opened(tmp_path, None).kept == "file"
    assert not chain.kept
