"""Secret files, digests and sealing."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aipool.kit import secret_files
from aipool.kit.digests import digest, generate, is_token, load_pepper
from aipool.kit.sealing import Keyring, Unsealable, load_keyring
from aipool.kit.secret_files import BadSecret, read, read_or_create


def keyring(*keys: bytes) -> Keyring:
    return Keyring(dict(enumerate(keys or (os.urandom(32),), start=1)))


def test_a_generated_token_has_the_form_of_one_and_256_bits() -> None:
    tokens = {generate() for _ in range(100)}

    assert len(tokens) == 100
    assert all(is_token(token.encode()) and len(token) == 46 for token in tokens)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"sk-",
        b"sk-" + b"a" * 42,
        b"pk-" + b"a" * 43,
        b"sk-" + b"a" * 42 + b"!",
        b"sk-" + b"a" * 42 + b" ",
        b"sk-" + b"a" * 43 + b"\n",
        b"sk-" + "é".encode() * 30,
        b"sk-" + b"a" * 198,
        b" sk-" + b"a" * 43,
    ],
)
def test_what_is_not_a_token_is_seen_as_such(text: bytes) -> None:
    assert not is_token(text)


def test_a_digest_is_hmac_sha256_with_the_pepper() -> None:
    pepper, secret = os.urandom(32), generate().encode()

    assert digest(pepper, secret) == hmac.new(pepper, secret, hashlib.sha256).digest()
    assert digest(os.urandom(32), secret) != digest(pepper, secret)


def test_a_pepper_is_made_once_and_private(tmp_path: Path) -> None:
    first = load_pepper(tmp_path)

    assert load_pepper(tmp_path) == first
    assert len(first) == 32
    path = tmp_path / secret_files.FOLDER_NAME / secret_files.PEPPER_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == [secret_files.PEPPER_NAME]


def test_processes_that_start_together_get_one_secret(tmp_path: Path) -> None:
    path, found = tmp_path / "pepper", []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        found.append(read_or_create(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("changeme", "hex"),
        ("", "0 bytes"),
        ("ab" * 16, "16 bytes"),
        ("00" * 32, "placeholder"),
        ("0123456789abcdef" * 4, "placeholder"),
    ],
)
def test_a_secret_from_a_manual_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "pepper"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(BadSecret, match=reason):
        read(path)


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    read_or_create(path)
    path.chmod(0o640)

    with pytest.raises(BadSecret, match="0640"):
        read(path)


def test_a_missing_secret_is_not_replaced_silently_when_it_is_only_read(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="missing"):
        read(tmp_path / "pepper")


def test_a_sealed_text_opens_for_its_record_and_field_only() -> None:
    ring = keyring()
    sealed = ring.seal("secret", "upstream_key:1", "secret")

    assert ring.open(sealed, "upstream_key:1", "secret") == "secret"
    for record, field in (("upstream_key:2", "secret"), ("upstream_key:1", "config")):
        with pytest.raises(Unsealable, match=record):
            ring.open(sealed, record, field)


def test_sealing_twice_gives_two_texts_and_hides_the_plain_one() -> None:
    ring = keyring()

    first, second = (ring.seal("secret", "r", "f") for _ in range(2))

    assert first != second
    assert "secret" not in first


def test_an_altered_text_does_not_open() -> None:
    ring = keyring()
    sealed = ring.seal("secret", "r", "f")

    for broken in (sealed[:-6] + "AAAAA=", sealed[:10], "1:", "", "x:y", "1:%%%"):
        with pytest.raises(Unsealable):
            ring.open(broken, "r", "f")


def test_an_older_key_still_opens_and_the_newest_seals() -> None:
    old, new = os.urandom(32), os.urandom(32)
    sealed = keyring(old).seal("secret", "r", "f")
    both = keyring(old, new)

    assert both.open(sealed, "r", "f") == "secret"
    assert both.seal("secret", "r", "f").startswith("2:")
    with pytest.raises(Unsealable, match="number 2"):
        keyring(old).open(both.seal("secret", "r", "f"), "r", "f")


def test_a_key_put_into_the_folder_takes_over(tmp_path: Path) -> None:
    sealed = load_keyring(tmp_path).seal("secret", "r", "f")
    folder = tmp_path / secret_files.FOLDER_NAME
    read_or_create(folder / "sealing-2")

    ring = load_keyring(tmp_path)

    assert ring.open(sealed, "r", "f") == "secret"
    assert ring.seal("x", "r", "f").startswith("2:")


def test_what_the_gateway_loads_for_digests_is_light() -> None:
    program = "import sys, aipool.kit.digests; print('cryptography' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout.strip() == b"False"
