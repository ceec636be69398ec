"""Rows of a comparison's table, made up."""


def row(task, method, score, gap=None, half=None, metric="accuracy"):
    return (task, method, metric, score, 0, gap, half, 3, 0.5, None, 9, 1.0, 2.0, None)
