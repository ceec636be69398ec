"""The map of the house names places that are there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
# Placeholders of the map stand for any of their kind.
ANY = {"PAPER": "structure", "TOPIC": "cost", "NAME": "*"}


def test_every_place_in_the_map_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = re.findall(
        r"`((?:rankwise|deflation|linear_theory|finetune|launch|tests|docs)/[\w./]*)", text
    )
    assert len(places) > 15
    for place in places:
        for word, stand_in in ANY.items():
            place = place.replace(word, stand_in)
        assert list(ROOT.glob(place)), f"CONTRIBUTING.md names {place}, which is not there"


def test_the_map_has_its_changes():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = text.split("## Where do I add")[1].split("##")[0].strip().splitlines()[4:]
    assert len(rows) == 20
