"""The page of methods compared says what the stored records say."""

import importlib.util
import pathlib

SOURCE = pathlib.Path(__file__).parents[1] / "docs" / "comparison.py"
spec = importlib.util.spec_from_file_location("comparison_page", SOURCE)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)


def test_the_tables_are_current():
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.filled(text), "run: python docs/comparison.py"
    assert "| lora | 0.862 |" in text


def test_a_table_that_is_not_is_replaced():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text.replace("| lora | 0.862", "| lora | 0.999")) == text
