"""What a client's URL can make a gateway do, tried against real sockets."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import pytest

from services.gateway.images.data_url import Unusable
from services.gateway.images.fetch import Fetcher
from services.gateway.images.limits import Limits, TrustedHost
from tests.unit.gateway.images.site import PNG, answer, endless, redirect, site, slow

LOOPBACK = TrustedHost("127.0.0.1")


@asynccontextmanager
async def fetcher(*trusted, tls=None, names=None, image_bytes=100_000, fetch_s=5.0):
    async def resolve(host, port):
        if names is None:
            return [host]
        found = names.get(host, [host])
        return found(host) if callable(found) else found

    limits = Limits(image_bytes=image_bytes, fetch_s=fetch_s, trusted=trusted)
    made = Fetcher(limits, resolve, tls)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def on_loopback(image_bytes=100_000, fetch_s=5.0, **pages):
    """A function that fetches a path of a site which is trusted."""
    async with site(**pages) as there:
        trusted = TrustedHost("127.0.0.1", there.port)
        async with fetcher(trusted, image_bytes=image_bytes, fetch_s=fetch_s) as made:
            yield lambda path: made.fetch(f"http://127.0.0.1:{there.port}/{path}")


async def test_a_picture_is_fetched():
    async with on_loopback(cat=answer()) as fetch:
        assert await fetch("cat") == PNG


async def test_three_redirects_are_followed_and_a_fourth_is_not():
    pages = {f"r{n}": redirect(f"/r{n - 1}") for n in range(1, 5)} | {"r0": answer()}
    async with on_loopback(**pages) as fetch:
        assert await fetch("r3") == PNG
        with pytest.raises(Unusable, match="more than 3 times"):
            await fetch("r4")


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (answer(b"", "404 Not Found"), "answered 404"),
        (answer(b"<html>", content_type="text/html; charset=utf-8"), "sent text/html"),
        (answer(content_encoding="gzip"), "compressed"),
        (answer(content_length="99999999999"), "more than 100000 bytes"),
        (endless, "more than 100000 bytes"),
        (answer(b"", "302 Found", location="file:///etc/passwd"), "neither https:// nor data:"),
        (answer(b"", "302 Found"), "neither https:// nor data:"),
        (answer(b"", "302 Found", location="https://a:b/"), "cannot be read"),
    ],
)
async def test_what_is_no_picture_is_said_so(page, why):
    async with on_loopback(it=page) as fetch:
        with pytest.raises(Unusable, match=why):
            await fetch("it")


async def test_a_server_that_trickles_is_given_up_in_time():
    async with on_loopback(fetch_s=0.2, it=slow) as fetch:
        with pytest.raises(Unusable, match=r"not here within 0\.2 s"):
            await fetch("it")


async def test_a_server_that_says_nothing_is_given_up_in_time():
    async def silent(to):
        await asyncio.sleep(60)

    async with on_loopback(fetch_s=0.2, it=silent) as fetch:
        with pytest.raises(Unusable, match=r"not here within 0\.2 s"):
            await fetch("it")


async def test_a_broken_off_body_is_no_picture():
    async with on_loopback(it=answer(content_length="1000")) as fetch:
        with pytest.raises(Unusable, match="could not be fetched"):
            await fetch("it")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/x",
    ],
)
async def test_private_addresses_are_never_connected_to(url):
    async with fetcher() as made:
        with pytest.raises(Unusable, match="no public host"):
            await made.fetch(url)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "127.1", "2130706433", "0x7f.1", "a" * 70, "a b", ".."]
)
async def test_strange_names_are_seen_through_with_the_real_resolver(host):
    made = Fetcher(Limits(image_bytes=1000, fetch_s=5))
    try:
        with pytest.raises(Unusable):
            await made.fetch(f"https://{host}/x")
    finally:
        await made.close()


async def test_a_name_that_leads_to_a_private_address_is_refused():
    names = {"inside.example": ["10.0.0.7", "::ffff:192.168.0.1", "64:ff9b::a00:1"]}
    async with fetcher(names=names) as made:
        with pytest.raises(Unusable, match=r"inside\.example is no public host") as refused:
            await made.fetch("https://inside.example/x")
    assert "10.0.0.7" not in str(refused.value)


async def test_a_redirect_into_the_private_network_is_refused():
    async with site(secret=answer()) as inside:
        url = f"https://127.0.0.1:{inside.port}/secret"
        for target in (url, url.replace(f":{inside.port}", ""), url.replace("https", "http")):
            async with on_loopback(it=redirect(target)) as fetch:
                with pytest.raises(Unusable, match=r"not allowed|no public host|https only"):
                    await fetch("it")
        assert inside.asked == []


async def test_a_name_that_changes_its_address_gains_nothing(monkeypatch):
    """Resolved once a connection; what was checked is what is connected to."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    tried = []
    async with fetcher(names={"rebinding.example": lambda _: next(answers)}) as made:

        async def connect(address, *_):
            tried.append(address)
            raise OSError("no route")

        monkeypatch.setattr(made._http._network_backend._inner, "connect_tcp", connect)
        with pytest.raises(Unusable, match="no route"):
            await made.fetch("https://rebinding.example/x")
    assert tried == ["93.184.216.34"]


async def test_of_several_addresses_only_the_public_ones_are_tried(monkeypatch):
    tried = []
    names = {"mixed.example": ["127.0.0.1", "93.184.216.34", "10.0.0.1"]}
    async with fetcher(names=names) as made:

        async def connect(address, *_):
            tried.append(address)
            raise OSError("no route")

        monkeypatch.setattr(made._http._network_backend._inner, "connect_tcp", connect)
        with pytest.raises(Unusable):
            await made.fetch("https://mixed.example/x")
    assert tried == ["93.184.216.34"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/x", "https only"),
        ("https://example.com:8443/x", "port 8443 is not allowed"),
        ("https://user:secret@example.com/x", "user name"),
        ("ftp://example.com/x", "neither https:// nor data:"),
        ("file:///etc/passwd", "neither https:// nor data:"),
        ("cat.png", "neither https:// nor data:"),
        ("", "neither https:// nor data:"),
        ("https:///x", "neither https:// nor data:"),
        ("https://example.com:99999/x", "port 99999 is not allowed"),
        ("https://example.com:x/", "cannot be read"),
        ("https://example.com/" + "x" * 9000, "8192 characters"),
    ],
)
async def test_urls_that_are_never_asked(url, why):
    async with fetcher() as made:
        with pytest.raises(Unusable, match=why):
            await made.fetch(url)


async def test_fetching_can_be_turned_off():
    async with fetcher(LOOPBACK, fetch_s=0) as made:
        with pytest.raises(Unusable, match="fetches no URLs"):
            await made.fetch("https://127.0.0.1/x")


async def test_tls_proves_the_name_although_the_address_is_pinned(tmp_path):
    serving, trusting = certified(tmp_path, "pictures.test")
    async with site(serving, cat=answer()) as there:
        trusted = TrustedHost("*.test", there.port)
        names = {"pictures.test": ["127.0.0.1"], "others.test": ["127.0.0.1"]}
        async with fetcher(trusted, tls=trusting, names=names) as made:
            assert await made.fetch(f"https://pictures.test:{there.port}/cat") == PNG
            with pytest.raises(Unusable, match="could not be fetched"):
                await made.fetch(f"https://others.test:{there.port}/cat")
        assert there.hosts == [f"pictures.test:{there.port}"]


async def test_a_dead_address_gives_way_to_the_next():
    async with site(cat=answer()) as there:
        trusted = TrustedHost("two.test", there.port)
        async with fetcher(trusted, names={"two.test": ["::1", "127.0.0.1"]}) as made:
            assert await made.fetch(f"http://two.test:{there.port}/cat") == PNG


@pytest.mark.parametrize(
    ("setting", "is_trusted", "is_not"),
    [
        ("media.lan", ("media.lan", 443), ("media.lan", 8080)),
        ("media.lan:8080", ("MEDIA.lan", 8080), ("media.lan", 443)),
        ("*.lan", ("a.b.lan", 80), ("lan", 80)),
        ("[::1]:8080", ("::1", 8080), ("::1", 80)),
        (" one.lan , 10.0.0.1 ", ("10.0.0.1", 80), ("10.0.0.2", 80)),
        ("", ("::1", 443), ("localhost", 80)),
    ],
)
def test_trusted_hosts_are_a_setting(monkeypatch, setting, is_trusted, is_not):
    monkeypatch.setenv("ODYSSAI_IMAGE_HOSTS", setting)
    limits = Limits.read()
    assert limits.trusts(*is_trusted) == bool(setting.strip())
    assert not limits.trusts(*is_not)


def certified(folder, name):
    """A server's context with a certificate for ``name``, and a client's that believes it."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return serving, ssl.create_default_context(cafile=folder / "cert.pem")
