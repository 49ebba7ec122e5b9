"""The supernets that ship with edgekit, by what no card of theirs can vouch for: the card itself.

A card holds the SHA-256 of the folder's other files, so whoever changes a file could change its card too. Whoever trains or
refits a supernet that ships writes the new sums here; `tests/supernet/test_shipped.py` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping

SHIPPED: Mapping[str, Mapping[str, str]] = {
    "signs43": {
        "card.json": "d93a5e6a74b21090fd43af340630a9ff7991f50b05afe91f647f096066102fba",
        "vocabulary.json": "b73019c88ca388dfae34351f56fa269e0ab5375b143ec37f7d2a35a9637645a5",
    },
    "things200": {
        "card.json": "b7b4ae1e024e6efee81935a9002a40ffd4e8bd59475e13a6c80be1b779af5622",
        "vocabulary.json": "a6010d51853fcea7de3b944e688fbc505f4ad330b72efc9e6bb21ba3b60b451f",
    },
}
"""SHA-256 by name and file. The vocabulary stands here too: cards of before 0.1.0 do not list it."""
