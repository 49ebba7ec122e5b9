"""edgekit models bricks"""

from __future__ import annotations

from edgekit_command import assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode


def test_kinds_of_bricks_are_listed():
    record = edgekit_json("models", "bricks", "--target", "rpi4")
    plain = edgekit("models", "bricks").stdout
    assert record["target"] in plain
    assert [facts["name"] for facts in record["kinds"]] == ["fused", "inverted", "ghost", "repghost"]
    assert [facts["name"] for facts in record["attentions"]] == ["eca", "se"]
    for facts in (*record["kinds"], *record["attentions"]):
        assert facts["latency"]["evidence"] == "predicted"
        assert facts["latency"]["interval"][0] <= facts["latency"]["value"] <= facts["latency"]["interval"][1]
        for shown in (facts["name"], facts["source"], facts["computes"], f"{facts['macs']:,}", f"{facts['weights']:,}"):
            assert shown in plain


def test_bricks_of_an_unknown_board_are_refused():
    assert_fails(edgekit("models", "bricks", "--target", "rpi9"), ExitCode.USAGE, "rpi9")
