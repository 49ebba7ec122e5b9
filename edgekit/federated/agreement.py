"""Keys, seeds and shares of secure aggregation, each by a library: nothing here is cryptography of our own.

Diffie-Hellman on X25519, HKDF-SHA256, ChaCha20 as generator of masks and ChaCha20-Poly1305 for what clients send each other
are those of `cryptography`; Shamir's sharing over GF(2^128) is that of pycryptodome. Both come with Flower. Flower's own
helpers are not taken: its SecAgg+ of 1.41 belongs to the older workflow API, which needs a LegacyContext and parameters of
that API, and its generator of masks folds 32 bytes of a seed into 32 bits for a Mersenne twister: whoever tries 2^32 seeds
removes the mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from edgekit.core.errors import BadInputError, MissingExtraError
from edgekit.federated.fixed_point import Ring

try:
    from Crypto.Protocol.SecretSharing import Shamir
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as error:
    raise MissingExtraError(
        "secure aggregation needs cryptography and pycryptodome", hint='pip install "edgekit[federated]"'
    ) from error

SEED_BYTES = 16
"""128 bits, the strength of X25519, and one element of the field in which secrets are shared."""
KEY_BYTES = 32
NONCE_BYTES = 12
SEALED_BYTES = NONCE_BYTES + 2 * SEED_BYTES + 16
"""Two shares, encrypted, with nonce and authentication tag."""


def derived(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes by HKDF-SHA256; others for every purpose."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def public_key(seed: bytes) -> bytes:
    return _private(seed).public_key().public_bytes_raw()


def agreed(seed: bytes, other_public_key: bytes) -> bytes:
    """The secret that only the two owners of the keys can compute. Raises BadInputError for a key that is none."""
    try:
        return _private(seed).exchange(X25519PublicKey.from_public_bytes(other_public_key))
    except ValueError as error:
        raise BadInputError("a public key is not valid", hint="the client must advertise new keys") from error


def expanded(key: bytes, length: int) -> Ring:
    """The key stream of ChaCha20 as so many integers. A key is used for one stream alone, so the nonce is zero."""
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(4 * length))
    return np.frombuffer(stream, np.dtype("<u4"))


def sealed(key: bytes, nonce: bytes, content: bytes) -> bytes:
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, content, None)


def opened(key: bytes, content: bytes) -> bytes:
    """Raises BadInputError where it was not sealed with this key, or changed since."""
    try:
        return ChaCha20Poly1305(key).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], None)
    except (InvalidTag, ValueError) as error:
        raise BadInputError(
            "the shares cannot be opened with the sender's key", hint="the round must start again"
        ) from error


def split(secret: bytes, threshold: int, count: int) -> tuple[bytes, ...]:
    """Shares of 16 secret bytes, of which `threshold` give them back and fewer say nothing."""
    return tuple(share for _index, share in Shamir.split(threshold, count, secret, ssss=False))


def joined(shares: Mapping[int, bytes]) -> bytes:
    """By place from 0, exactly as many as the threshold."""
    return Shamir.combine([(place + 1, share) for place, share in shares.items()], ssss=False)


def commitment(seed: bytes) -> bytes:
    """By which a seed is recognised once it is known; before, it says nothing of 128 random bits."""
    return hashlib.sha256(b"edgekit self mask" + seed).digest()


def _private(seed: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(derived(seed, b"edgekit X25519"))
