"""Certificates for tests: a certificate authority and certificates signed by it, by openssl."""

import dataclasses
import ipaddress
import subprocess
from pathlib import Path


@dataclasses.dataclass
class Certificate:
    """Paths of PEM files."""

    certificate: Path
    key: Path
    ca: Path


def make_certificate(directory, names=("localhost", "127.0.0.1", "::1"), common_name="tink-server", name="server",
                     days=30):
    """Makes directory/ca.crt (kept if it is there) and directory/<name>.crt, <name>.key for these names.

    Negative days: a certificate that has expired.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    ca, ca_key = directory / "ca.crt", directory / "ca.key"
    if not ca.exists():
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", ca_key,
                 "-out", ca, "-days", "3650", "-subj", "/CN=test authority",
                 "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    result = Certificate(certificate=directory / f"{name}.crt", key=directory / f"{name}.key", ca=ca)
    request, extensions = directory / f"{name}.csr", directory / f"{name}.ext"
    extensions.write_text(f"subjectAltName={','.join(map(_alternative_name, names))}\n"
                          "extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n")
    _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", result.key,
             "-out", request, "-subj", f"/CN={common_name}")
    _openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", str(days),
             "-extfile", extensions, "-out", result.certificate)
    request.unlink()
    extensions.unlink()
    return result


def _alternative_name(name):
    try:
        ipaddress.ip_address(name)
        return f"IP:{name}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(*arguments):
    try:
        result = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RuntimeError("openssl is missing: run initramfs/install-packages test") from None
    if result.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {result.stderr.strip()}")
