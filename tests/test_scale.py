"""The table of docs/scale.md is what its script computes from the figures that are committed."""

import json

from tests.benchmarks import scale
from tests.conftest import ROOT

DOC = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
KNOWN = json.loads(scale.DATA.read_text(encoding="utf-8"))


def test_the_table_is_computed_from_the_committed_figures() -> None:
    assert scale.table(KNOWN) in DOC


def test_the_measured_figures_are_told_as_they_were_measured() -> None:
    ranks = json.loads(scale.DATA.with_name("ranks.json").read_text(encoding="utf-8"))
    for name, rates in ranks["images_per_s"].items():
        assert f"{max(rates):.2f} images/s" in DOC, name
    assert f"{ranks['ratio']:.2f} times as many" in DOC
    measured = KNOWN["measured"]
    assert f"{int(measured['decoded_per_s'])} images/s" in DOC
    assert f"{measured['digested_bytes_per_s'] / 1e9:.1f} GB/s" in DOC
    assert f"{round(measured['ranked_per_s'], -2):,} images/s" in DOC
    assert f"{round(measured['rows_per_s'], -3):,} images/s" in DOC


def test_more_cards_shorten_what_is_done_in_parts_and_nothing_else() -> None:
    one, many = (scale.estimate(KNOWN, "clip_vit_b_32", cards, 1_000_000) for cards in (1, 8))
    shorter = {name for name in one if many[name] < one[name]}
    assert shorter == {"decoding", "encoding", "ranking", "store"}
