"""What is valid in a web config file, held against promtool; one text serves both programs."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

import chargeback.web_config
import exporter.web_config
from exporter.web_config import WebConfigError, read_web_config
from tests.certificates import make_certificates

ROOT = Path(__file__).parents[2]
HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
PAIR = "cert_file: server.crt, key_file: server.key"

VALID = [
    "",
    "{}",
    "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
    "tls_server_config: {}",
    f"tls_server_config: {{{PAIR}}}",
    "tls_server_config: {min_version: TLS13, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
    f"tls_server_config: {{{PAIR}, min_version: TLS10, max_version: TLS12, prefer_server_cipher_suites: false}}",
    f"tls_server_config: {{{PAIR}, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]}}",
    f"tls_server_config: {{{PAIR}, curve_preferences: [CurveP256]}}",
    f"tls_server_config: {{{PAIR}, curve_preferences: [X25519, CurveP384, CurveP521]}}",
    f"tls_server_config: {{{PAIR}, client_auth_type: NoClientCert}}",
    f"tls_server_config: {{{PAIR}, client_auth_type: RequestClientCert}}",
    f"tls_server_config: {{{PAIR}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt}}",
    f"tls_server_config: {{{PAIR}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}}",
    f"tls_server_config: {{{PAIR}, client_auth_type: RequireAndVerifyClientCert}}",
    "http_server_config: {http2: false}",
    "http_server_config: {http2: on}",
    "http_server_config: {headers: {X-Frame-Options: deny, X-Content-Type-Options: nosniff}}",
    "http_server_config: {headers: {Strict-Transport-Security: max-age=31536000, X-XSS-Protection: '1'}}",
    "http_server_config: {headers: {Content-Security-Policy: \"default-src 'self'\"}}",
    f"basic_auth_users: {{prometheus: {HASH}}}",
    f"basic_auth_users: {{'': {HASH}}}",
    f"basic_auth_users: {{a: {HASH.replace('2y', '2a')}, b: {HASH.replace('2y$10', '2b$31')}}}",
]
INVALID = [
    ("[]", "want a mapping"),
    ("just text", "want a mapping"),
    ("{", "want a readable YAML file"),
    ("web: {}", "web: not a key"),
    ("tls_server_config: on", "tls_server_config: True: want a mapping"),
    ("tls_server_config: {cert: x}", "tls_server_config.cert: not a key"),
    ("tls_server_config: {cert_file: server.crt}", "tls_server_config.key_file: missing"),
    ("tls_server_config: {key_file: server.key}", "tls_server_config.cert_file: missing"),
    ("tls_server_config: {client_auth_type: NoClientCert}", "cert_file: missing"),
    ("tls_server_config: {client_ca_file: ca.crt}", "key_file: missing"),
    ("tls_server_config: {cert_file: none.crt, key_file: server.key}", "No such file"),
    ("tls_server_config: {cert_file: server.crt, key_file: client.key}", "want a certificate chain and its key"),
    ("tls_server_config: {cert_file: server.key, key_file: server.key}", "want a certificate chain and its key"),
    ("tls_server_config: {cert_file: server.crt, key_file: locked.key}", "unencrypted"),
    (f"tls_server_config: {{{PAIR}, client_auth_type: Require}}", "client_auth_type: 'Require': want one of"),
    (f"tls_server_config: {{{PAIR}, client_ca_file: ca.crt}}", "want client_auth_type as well"),
    (
        f"tls_server_config: {{{PAIR}, client_auth_type: NoClientCert, client_ca_file: ca.crt}}",
        "want client_auth_type",
    ),
    (
        f"tls_server_config: {{{PAIR}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: none.crt}}",
        "client_ca_file",
    ),
    (f"tls_server_config: {{{PAIR}, min_version: TLS9}}", "min_version: 'TLS9': want one of TLS10"),
    ("tls_server_config: {max_version: '1.3'}", "max_version: '1.3'"),
    (f"tls_server_config: {{{PAIR}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}}", "cipher_suites: 'TLS_RSA_WITH_RC4"),
    (f"tls_server_config: {{{PAIR}, curve_preferences: [P256]}}", "curve_preferences: 'P256'"),
    (f"tls_server_config: {{{PAIR}, prefer_server_cipher_suites: maybe}}", "want true or false"),
    ("http_server_config: {http3: true}", "http_server_config.http3: not a key"),
    ("http_server_config: {http2: [1]}", "http_server_config.http2: [1]: want true or false"),
    ("http_server_config: {headers: {X-Frame-Options: DENY}}", "X-Frame-Options='DENY': want deny or sameorigin"),
    ("http_server_config: {headers: {x-frame-options: deny}}", "x-frame-options: want one of"),
    ("http_server_config: {headers: {Server: mine}}", "Server: want one of"),
    ("basic_auth_users: {prometheus: secret}", "prometheus: the value is not shown: want a bcrypt hash"),
    ("basic_auth_users: {prometheus: }", "want a bcrypt hash"),
    (f"basic_auth_users: {{prometheus: {HASH[:-9]}}}", "want a bcrypt hash"),
    (f"basic_auth_users: {{prometheus: {HASH.replace('$10', '$32')}}}", "want a bcrypt hash"),
    (f"basic_auth_users: [prometheus, {HASH}]", "want a mapping"),
    (f"basic_auth_users: {{a: {HASH}, a: {HASH}}}", "a: stands twice"),
    (f"basic_auth_users: {{a: {HASH}}}\nbasic_auth_users: {{b: {HASH}}}", "basic_auth_users: stands twice"),
]
# Valid to promtool; why not to us is in docs/web-config.md.
REFUSED_BY_US = [
    f"tls_server_config: {{{PAIR}, client_auth_type: RequireAnyClientCert}}",
    f"tls_server_config: {{{PAIR}, client_auth_type: RequireClientCert}}",
    f"tls_server_config: {{{PAIR}, min_version: TLS13, max_version: TLS12}}",
    f"tls_server_config: {{{PAIR}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: empty.crt}}",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_certificates(tmp_path_factory.mktemp("certificates"))
    lock = ["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", "server.key", "-out", "locked.key"]
    subprocess.run(lock, cwd=folder, check=True, capture_output=True)
    (folder / "empty.crt").touch()
    return folder


def promtool_takes(file: Path) -> bool:
    ended = subprocess.run(["promtool", "check", "web-config", str(file)], capture_output=True, check=False)
    assert ended.returncode in (0, 1), ended
    return ended.returncode == 0


def written(folder: Path, text: str) -> Path:
    file = folder / "web.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", VALID)
def test_what_promtool_takes_is_taken(folder: Path, text: str) -> None:
    file = written(folder, text)
    assert promtool_takes(file)
    config = read_web_config(file)
    if config.tls is not None:
        assert isinstance(config.tls.context(), ssl.SSLContext)


@pytest.mark.parametrize(("text", "words"), INVALID)
def test_what_promtool_refuses_is_refused(folder: Path, text: str, words: str) -> None:
    """And the problem says which key, what was seen and what is wanted."""
    file = written(folder, text)
    assert not promtool_takes(file)
    with pytest.raises(WebConfigError) as caught:
        read_web_config(file)
    assert words in str(caught.value)
    assert all(line.startswith(f"{file}: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize("text", REFUSED_BY_US)
def test_what_could_not_be_kept_is_refused(folder: Path, text: str) -> None:
    """The differences that docs/web-config.md names."""
    file = written(folder, text)
    assert promtool_takes(file)
    with pytest.raises(WebConfigError):
        read_web_config(file)


def test_all_problems_come_at_once_and_no_hash_among_them(folder: Path) -> None:
    file = written(folder, "a: 1\nbasic_auth_users: {p: not-a-hash}\ntls_server_config: {min_version: x, b: 2}\n")
    with pytest.raises(WebConfigError) as caught:
        read_web_config(file)
    assert len(str(caught.value).splitlines()) == 4
    assert "not-a-hash" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError, match=r"none\.yaml.*want a readable YAML file"):
        read_web_config(tmp_path / "none.yaml")


def test_relative_paths_start_at_the_files_folder(folder: Path) -> None:
    tls = read_web_config(written(folder, f"tls_server_config: {{{PAIR}}}")).tls
    assert tls is not None
    assert tls.cert_file == folder / "server.crt"


def test_suites_and_versions_reach_openssl(folder: Path) -> None:
    text = (
        f"tls_server_config: {{{PAIR}, max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]}}"
    )
    tls = read_web_config(written(folder, text)).tls
    assert tls is not None
    context = tls.context()
    old = [suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    assert old == ["ECDHE-ECDSA-AES256-GCM-SHA384"]
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("name", ["web_config.py", "web_guard.py"])
def test_both_programs_have_the_same_text(name: str) -> None:
    """`chargeback/` links to `exporter/`, and imports it as its own: neither program imports the other."""
    assert (ROOT / "chargeback" / name).resolve() == ROOT / "exporter" / name
    assert chargeback.web_config.WebConfig is not exporter.web_config.WebConfig
