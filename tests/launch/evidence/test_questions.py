"""Answers to open questions rest on claims that there are."""

import pytest

from launch.evidence import questions
from linear_theory import registry


@pytest.mark.parametrize("question", questions.QUESTIONS, ids=lambda question: question.text)
def test_every_claim_of_an_answer_is_one(question):
    assert question.claims and not set(question.claims) - set(registry())


def test_a_page_of_some_claims_has_the_questions_about_them():
    (row,) = questions.asked(["clusters.span", "perturbation.weyl"])
    assert row[0] == "What holds as gaps close?" and row[-1] == "`clusters.span`"
    assert questions.asked(["perturbation.weyl"]) == []
    assert len(questions.asked(registry())) == len(questions.QUESTIONS)
