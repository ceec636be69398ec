import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finetune.tasks.tokens.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(1, 99), max_size=7), min_size=1, max_size=9)


@given(rows=ROWS, seed=st.integers(0, 99))
def test_rows_come_back_padded_and_selected(rows, seed):
    ragged = Ragged.from_rows(rows)
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    chosen = np.random.default_rng(seed).integers(0, len(rows), 5)
    expected = [(rows[i] + [0] * 7)[:7] for i in chosen]
    assert ragged.padded(chosen, 7, fill=0).tolist() == expected
    assert ragged[chosen].padded(np.arange(5), 7, fill=0).tolist() == expected
    assert (ragged.mask(chosen, 7) == (np.array(expected) > 0)).all()


def test_rows_longer_than_the_length_are_cut():
    ragged = Ragged.from_rows([[1, 2, 3], [4]])
    assert ragged.padded(np.array([0, 1]), 2, fill=9).tolist() == [[1, 2], [4, 9]]
    assert ragged.values.dtype == np.int32


def test_no_rows():
    assert len(Ragged.from_rows([])) == 0
