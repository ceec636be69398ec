"""Made questions in the published form."""

import json

import numpy as np

WORDS = ("a", "b", "c", "the", "on")
ANSWERS = ("red cat", "big mat", "red mat sat")


def paragraph(number, answer, words=(), at=0, asked="the cat on?"):
    """One question whose answer is at word `at`; "" is none."""
    text = " ".join([*words[:at], *filter(None, [answer]), *words[at:]])
    places = [{"text": answer, "answer_start": text.find(answer)}] if answer else []
    qa = {"id": f"q{number}", "question": asked, "answers": places, "is_impossible": not answer}
    return {"context": text, "qas": [qa]}


def drawn(count, seed=0, none=0, longest=40):
    """Random paragraphs; of `none` in a row the first has no answer."""
    g = np.random.default_rng(seed)
    made = []
    for number in range(count):
        words = list(g.choice(WORDS, g.integers(6, longest)))
        silent = none and number % none == 0
        answer = "" if silent else ANSWERS[number % 3]
        made.append(paragraph(number, answer, words, int(g.integers(0, len(words)))))
    return made


def write(folder, train, dev, version="v1.1"):
    """The folder with both files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, paragraphs in (("train", train), ("dev", dev)):
        record = {"version": version, "data": [{"title": "t", "paragraphs": paragraphs}]}
        (folder / f"{name}-{version}.json").write_text(json.dumps(record))
    return folder
