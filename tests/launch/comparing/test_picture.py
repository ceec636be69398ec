"""The pictures of a comparison: every row can be read."""

import pytest

from launch.comparing import picture, table


@pytest.mark.parametrize("methods", [1, 3, 9])
def test_a_picture_covers_and_clips_no_row(methods):
    same = {"task": "t", "metric": "f1", "majority": 0.5, "seed": 0}
    records = [{**same, "recipe": f"m{k}", "score": 0.5 + k / 20} for k in range(methods)]
    figure = picture.scores(records, table.rows(records))
    figure.draw_without_rendering()
    (axis,) = (one for one in figure.axes if one.get_visible())
    low, high = axis.get_ylim()
    assert low <= -0.5 and high >= methods - 0.5 and axis.get_legend() is None
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())


@pytest.mark.parametrize(("majority", "drawn"), [(0.0, False), (0.81, False), (0.845, True)])
def test_a_majority_class_far_from_all_scores_is_said_and_not_drawn(majority, drawn):
    same = {"task": "t", "metric": "f1", "majority": majority, "recipe": "m"}
    runs = [(0, 0.85), (1, 0.86)]
    records = [{**same, "seed": k, "score": y, "curve": [(1, 0.84), (2, y)]} for k, y in runs]
    for figure, side in (
        (picture.scores(records, table.rows(records)), "x"),
        (picture.curves(records), "y"),
    ):
        (axis,) = figure.axes
        low, high = getattr(axis, f"get_{side}lim")()
        assert high - low < 0.1
        said = f"(majority class: {majority:.3g})" in getattr(axis, f"get_{side}label")()
        assert said is not drawn
        names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert ("majority class" in names) is drawn


def test_labels_of_scores_that_are_close_have_room():
    same = {"task": "t", "metric": "f1", "majority": 0.5, "recipe": "m"}
    runs = enumerate([0.8452, 0.8578, 0.8624])  # labels have four digits then
    records = [{**same, "seed": k, "score": score} for k, score in runs]
    (axis,) = picture.scores(records, table.rows(records)).axes
    low, high = axis.get_xlim()
    assert 3 <= sum(low <= x <= high for x in axis.get_xticks()) <= 6
