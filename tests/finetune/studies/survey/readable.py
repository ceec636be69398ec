"""Whether a figure can be read."""

from matplotlib.backends.backend_agg import FigureCanvasAgg


def readable(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, page = canvas.get_renderer(), figure.bbox.padded(1)
    texts = [t for ax in figure.axes for t in (ax.title, ax.xaxis.label, ax.yaxis.label)]
    boxes = [t.get_window_extent(renderer) for t in (*texts, figure._suptitle) if t.get_text()]
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    for number, box in enumerate(boxes):
        assert page.x0 <= box.x0 and box.x1 <= page.x1
        assert page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(box.padded(-1).overlaps(other) for other in boxes[:number])
