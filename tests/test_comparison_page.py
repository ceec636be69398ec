"""The page of methods compared says what the stored records say."""

from tests.docs_scripts import load

page = load("comparison")


def test_the_tables_are_current():
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.filled(text), "run: python docs/comparison.py"
    assert "| lora | 0.862 |" in text


def test_a_table_that_is_not_is_replaced():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text.replace("| lora | 0.862", "| lora | 0.999")) == text
