"""The web config file of Prometheus' own exporters (exporter-toolkit): TLS, client certificates, users, headers.

This file and web_guard.py lie in `exporter/`; in `chargeback/` they are links to them, for neither program may import
the other. So they import nothing of either but each other, and by a relative name.

What is valid is what `promtool check web-config` (2.42) finds valid. docs/web-config.md names the few differences.
"""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
CLIENT_AUTH = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,  # what is not verified need not be asked for
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
# Go's names of suites → OpenSSL's. Those of TLS 1.3 cannot be chosen, neither there nor here.
_SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
SUITES = dict.fromkeys(_SUITES_13, "") | {
    f"TLS_ECDHE_{key}_WITH_{go}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for go, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
# The only headers that may be set; where values are listed, no others.
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")


class WebConfigError(ValueError):
    """What is wrong with the file: one problem a line, each with the key, the value seen and what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """`tls_server_config`, paths made absolute by the folder of the file."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_ca_file: Path | None = None
    suites: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    minimum: str = "TLS12"
    maximum: str = "TLS13"
    server_chooses: bool = True

    def context(self) -> ssl.SSLContext:
        """Raises WebConfigError where a file of TLS is missing or is not what it should be."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of versions that someone asked for by name
            context.minimum_version, context.maximum_version = VERSIONS[self.minimum], VERSIONS[self.maximum]
        try:
            # The password keeps OpenSSL from asking the terminal for one.
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            wanted = "want a certificate chain and its key, unencrypted, in PEM"
            raise WebConfigError(
                f"cert_file={self.cert_file}, key_file={self.key_file}: {error}: {wanted}"
            ) from error
        if self.client_ca_file is not None:
            try:
                context.load_verify_locations(self.client_ca_file)
            except OSError as error:
                wanted = "want certificates in PEM"
                raise WebConfigError(f"client_ca_file={self.client_ca_file}: {error}: {wanted}") from error
        elif self.client_auth != ssl.CERT_NONE:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = self.client_auth
        if suites := [SUITES[name] for name in self.suites if SUITES[name]]:
            context.set_ciphers(":".join(suites))
        if len(self.curves) == 1:  # a list cannot be set in Python's ssl; OpenSSL's own order is as safe
            context.set_ecdh_curve(CURVES[self.curves[0]])
        if self.server_chooses:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """A file. users: name → bcrypt hash. headers: of every answer."""

    file: Path
    tls: Tls | None
    users: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def admits_strangers(self) -> bool:
        """Whether somebody without a password and without a certificate gets in."""
        return not self.users and (self.tls is None or self.tls.client_auth != ssl.CERT_REQUIRED)


def read_web_config(file: Path) -> WebConfig:
    """Read and check a file, and all that it names. Raises WebConfigError with every problem."""
    problems: list[str] = []
    read = _Reader(_load(file), problems, "")
    server = read.part("tls_server_config")
    http = read.part("http_server_config")
    tls = _tls(server, file.parent)
    http.flag("http2", True)  # taken for the file's sake: we speak HTTP/1.1
    headers = http.part("headers")
    users = read.part("basic_auth_users")
    config = WebConfig(
        file=file,
        tls=tls,
        users={name: users.text(name) for name in users.names()},
        headers={name: headers.text(name) for name in headers.names()},
    )
    problems += _wrong_headers(config.headers)
    problems += [
        f"basic_auth_users: {name}: the value is not shown: want a bcrypt hash, as `htpasswd -nB` makes it"
        for name, bcrypt_hash in config.users.items()
        if not _BCRYPT.fullmatch(bcrypt_hash)
    ]
    for part in (read, server, http):
        part.refuse_the_rest()
    if tls is not None and not problems:
        try:
            tls.context()
        except WebConfigError as error:
            problems.append(f"tls_server_config: {error}")
    if problems:
        raise WebConfigError("\n".join(f"{file}: {problem}" for problem in problems))
    return config


def _tls(read: _Reader, folder: Path) -> Tls | None:
    cert, key, ca = (read.text(f"{name}_file") for name in ("cert", "key", "client_ca"))
    auth = read.text("client_auth_type")
    suites, curves = read.list("cipher_suites", tuple(SUITES)), read.list("curve_preferences", tuple(CURVES))
    minimum = read.text("min_version", "TLS12", one_of=tuple(VERSIONS))
    maximum = read.text("max_version", "TLS13", one_of=tuple(VERSIONS))
    server_chooses = read.flag("prefer_server_cipher_suites", True)
    if not (cert or key or ca or auth):
        return None
    for name, value in (("cert_file", cert), ("key_file", key)):
        if not value:
            read.problem(name, "missing: want a file in PEM")
    if auth in ("RequireAnyClientCert", "RequireClientCert"):
        read.problem(
            "client_auth_type", f"{auth!r}: proves nothing, and is not built: want RequireAndVerifyClientCert"
        )
    elif auth not in CLIENT_AUTH:
        read.problem("client_auth_type", f"{auth!r}: want one of {', '.join(filter(None, CLIENT_AUTH))}")
    if ca and auth in ("", "NoClientCert"):
        read.problem("client_ca_file", f"{ca!r}: nobody is asked for a certificate: want client_auth_type as well")
    if {minimum, maximum} <= VERSIONS.keys() and minimum > maximum:
        read.problem("min_version", f"{minimum!r}: want at most max_version, {maximum}")
    return Tls(
        cert_file=folder / cert,
        key_file=folder / key,
        client_ca_file=folder / ca if ca else None,
        client_auth=CLIENT_AUTH.get(auth, ssl.CERT_REQUIRED),
        suites=suites,
        curves=curves,
        minimum=minimum,
        maximum=maximum,
        server_chooses=server_chooses,
    )


def _wrong_headers(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name not in HEADERS:
            yield f"http_server_config.headers: {name}: want one of {', '.join(HEADERS)}"
        elif HEADERS[name] and value not in HEADERS[name]:
            yield f"http_server_config.headers: {name}={value!r}: want {' or '.join(HEADERS[name])}"
        elif "\n" in value or "\r" in value:
            yield f"http_server_config.headers: {name}={value!r}: want one line"


class _Reader:
    """Takes a mapping apart key by key, and notes what is wrong with it."""

    def __init__(self, data: Any, problems: list[str], where: str) -> None:
        self._problems = problems
        self._where = where
        self._asked: set[str] = set()
        if data is not None and not isinstance(data, dict):
            self.problem("", f"{data!r}: want a mapping")
        self._data: dict[Any, Any] = data if isinstance(data, dict) else {}

    def names(self) -> list[str]:
        return [str(name) for name in self._data]

    def part(self, name: str) -> _Reader:
        return _Reader(self._take(name), self._problems, f"{self._where}{name}.")

    def text(self, name: str, default: str = "", *, one_of: tuple[str, ...] = ()) -> str:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.problem(name, f"{value!r}: want a text, in quotes")
            return default
        if one_of and value not in one_of:
            self.problem(name, f"{value!r}: want one of {', '.join(one_of)}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._take(name)
        if value is not None and not isinstance(value, bool):
            self.problem(name, f"{value!r}: want true or false")
        return value if isinstance(value, bool) else default

    def list(self, name: str, one_of: tuple[str, ...]) -> tuple[str, ...]:
        value = self._take(name) or []
        if not isinstance(value, list):
            self.problem(name, f"{value!r}: want a list")
            return ()
        for each in value:
            if each not in one_of:
                self.problem(name, f"{each!r}: want some of {', '.join(one_of)}")
        return tuple(value)

    def refuse_the_rest(self) -> None:
        for name in self._data:
            if name not in self._asked:
                self.problem(str(name), f"not a key: want one of {', '.join(sorted(self._asked))}")

    def problem(self, name: str, text: str) -> None:
        self._problems.append(f"{f'{self._where}{name}'.rstrip('.')}: {text}".removeprefix(": "))

    def _take(self, name: str) -> Any:
        self._asked.add(name)
        return self._data.get(name)


def _load(file: Path) -> Any:
    """Raises WebConfigError. A key that stands twice is an error, as it is to promtool."""
    import yaml  # here, for most agents have no such file and would pay 2 MiB for it

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [str(key.value) for key, _ in node.value]
            if twice := sorted({key for key in keys if keys.count(key) > 1}):
                raise yaml.constructor.ConstructorError(None, None, f"{twice[0]}: stands twice", node.start_mark)
            return super().construct_mapping(node, deep)

    # Not SafeLoader's own: it fills a mapping later, and then by its own class's method.
    def construct_map(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:map", construct_map)
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WebConfigError(f"{file}: {' '.join(str(error).split())}: want a readable YAML file") from error
