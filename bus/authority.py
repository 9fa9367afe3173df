"""The private authority of one mesh: it vouches for the mesh's own bus server and nobody else.

Knows no file and no clock; certificates and keys are PEM texts.
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=20 * 365)
"""Nodes know it by its fingerprint: another one would have to be told to each of them."""
SERVER_LIFE = timedelta(days=365)
RENEWED_BEFORE = timedelta(days=60)
SKEW = timedelta(hours=24)
"""A Mac whose clock is behind takes the certificate, too."""


@dataclass(frozen=True)
class Vouched:
    """A certificate and the private key that goes with it."""

    certificate: str
    key: str


def new_authority(mesh: str, now: datetime) -> Vouched:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named(f"{mesh} authority")
    certificate = (
        _draft(name, name, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return Vouched(_pem(certificate), _key_pem(key))


def vouch(authority: Vouched, hosts: Iterable[str], now: datetime) -> Vouched:
    """A certificate for a server with these names and addresses, followed by the authority's own:
    who meets the server can so see both.
    """
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    issuer_key = serialization.load_pem_private_key(authority.key.encode(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey), "we made it so"
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _draft(_named("bus server"), issuer.subject, key.public_key(), now, SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        # Servers of a cluster prove to one another who they are, too.
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return Vouched(_pem(certificate) + authority.certificate, _key_pem(key))


def is_current(certificate: str, authority: str, hosts: Iterable[str], now: datetime) -> bool:
    """Whether a server may go on with its certificate: it is this authority's, names the server by
    all that it is called today, and does not end soon.
    """
    try:
        found, *_ = x509.load_pem_x509_certificates(certificate.encode())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    is_lasting = found.not_valid_after_utc - now > RENEWED_BEFORE
    return is_lasting and {_host(host) for host in hosts} <= set(names)


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, in hexadecimal digits."""
    return hashlib.sha256(certificate).hexdigest()


def fingerprint_of(certificate: str) -> str:
    """The same of the first certificate in a PEM text."""
    first, *_ = x509.load_pem_x509_certificates(certificate.encode())
    return fingerprint(first.public_bytes(serialization.Encoding.DER))


def _draft(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - SKEW)
        .not_valid_after(now.astimezone(UTC) + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
