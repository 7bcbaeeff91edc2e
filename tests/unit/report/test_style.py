"""The bytes of a figure depend on what is drawn, not on the last bits of where."""

import pytest
from matplotlib.figure import Figure

from kdpipe.report import style


def draw(shift: float) -> str:
    figure = Figure()
    axis = figure.add_axes((0.1 + shift, 0.1, 0.8, 0.8))
    axis.plot([0, 1], [0, 1], marker="o")
    return style.render_svg(figure, "line")


@pytest.mark.parametrize("shift", [2e-16, 1e-14])
def test_the_rounding_of_a_layout_changes_no_byte(shift):
    assert draw(shift) == draw(0.0)


def test_references_point_to_ids_that_are_there():
    text = draw(0.0)
    assert "url(#line-p" in text and draw(0.01) != text
    for reference in text.split("url(#")[1:]:
        assert f'id="{reference.split(")")[0]}"' in text
