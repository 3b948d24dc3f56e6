"""The keys in a backup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aipool.backup import keys
from aipool.backup.manifest import fingerprint
from aipool.kit.digests import load_pepper
from aipool.kit.errors import Invalid
from aipool.kit.sealing import Keyring, load_keyring
from aipool.kit.secret_files import BadSecret
from tests.backup.rig import PASSPHRASE

BOUND_TO = b"a manifest"
KEYS = {"pepper": os.urandom(32), "sealing-1": os.urandom(32), "sealing-2": os.urandom(32)}


def test_sealed_keys_open_with_their_passphrase_and_hold_nothing_readable() -> None:
    sealed = keys.seal_keys(KEYS, PASSPHRASE, BOUND_TO)
    assert keys.open_keys(sealed, PASSPHRASE, BOUND_TO) == KEYS
    for key in KEYS.values():
        assert key not in sealed
        assert key.hex().encode() not in sealed
    assert sealed != keys.seal_keys(KEYS, PASSPHRASE, BOUND_TO)


@pytest.mark.parametrize("passphrase", ["", "wrong", PASSPHRASE + " ", "\udcff"])
def test_another_passphrase_is_refused_in_constant_words(passphrase: str) -> None:
    sealed = keys.seal_keys(KEYS, PASSPHRASE, BOUND_TO)
    with pytest.raises(Invalid, match=r"^the passphrase does not open the keys of this backup$"):
        keys.open_keys(sealed, passphrase, BOUND_TO)


def test_keys_beside_another_manifest_or_altered_or_cut_are_refused_in_the_same_words() -> None:
    sealed = keys.seal_keys(KEYS, PASSPHRASE, BOUND_TO)
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for text, bound_to in (
        (sealed, b"another"),
        (altered, BOUND_TO),
        (sealed[:20], BOUND_TO),
        (b"", BOUND_TO),
    ):
        with pytest.raises(Invalid, match=r"^the passphrase does not open the keys"):
            keys.open_keys(text, PASSPHRASE, bound_to)


def test_one_passphrase_however_its_characters_are_composed() -> None:
    sealed = keys.seal_keys(KEYS, "caf\u00e9 caf\u00e9 caf\u00e9", BOUND_TO)
    assert keys.open_keys(sealed, "cafe\u0301 cafe\u0301 cafe\u0301", BOUND_TO) == KEYS


@pytest.mark.parametrize(
    "passphrase", ["", "           ", "short", "elevenchars", " x" * 3 + "     "]
)
def test_a_short_or_empty_passphrase_is_refused(passphrase: str) -> None:
    with pytest.raises(Invalid) as caught:
        keys.check_passphrase(passphrase)
    assert caught.value.code == "passphrase_too_short"


def test_the_keys_of_an_installation_are_all_of_its_secrets(tmp_path: Path) -> None:
    load_pepper(tmp_path)
    load_keyring(tmp_path)
    keys.put_in_place(tmp_path, {"sealing-2": KEYS["sealing-2"]})

    found = keys.read_keys(tmp_path)

    assert set(found) == {"pepper", "sealing-1", "sealing-2"}
    assert found["pepper"] == load_pepper(tmp_path)
    both = Keyring(keys.sealing_keys(found))
    sealed = load_keyring(tmp_path).seal("x", "r", "f")
    assert sealed.startswith("2:")
    assert both.open(sealed, "r", "f") == "x"


def test_reading_keys_never_makes_any(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="pepper is missing"):
        keys.read_keys(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_keys_in_place_are_told_apart_from_missing_ones_and_from_others(tmp_path: Path) -> None:
    keys.put_in_place(tmp_path, {"pepper": KEYS["pepper"], "sealing-1": os.urandom(32)})

    compared = keys.compare(tmp_path, {name: fingerprint(key) for name, key in KEYS.items()})

    assert compared.present == {"pepper": KEYS["pepper"]}
    assert compared.missing == (tmp_path / "secrets/sealing-2",)
    assert compared.others == (tmp_path / "secrets/sealing-1",)


def test_keys_put_in_place_are_private_and_those_there_are_left_alone(tmp_path: Path) -> None:
    mine = load_pepper(tmp_path)

    files = keys.put_in_place(tmp_path, KEYS)

    assert load_pepper(tmp_path) == mine
    assert {path.name for path in files} == {"sealing-1", "sealing-2"}
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
    assert keys.put_in_place(tmp_path, KEYS) == ()
    keys.take_away(tmp_path, files)
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["pepper"]
