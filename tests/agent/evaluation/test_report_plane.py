"""Labels of the plane: apart, beside their points, inside the panel."""

import pytest
from matplotlib.figure import Figure

from agent.evaluation.report_page import PageMaterial, PlanePoint, page
from tests.agent.evaluation.report_material import material, words


@pytest.fixture(scope="module")
def drawn() -> Figure:
    return page(material(), "Offhook: 183 turns")


def test_labels_in_the_plane_do_not_cover_one_another(drawn: Figure) -> None:
    drawn.draw_without_rendering()
    plane = next(at for at in drawn.axes if at.get_title(loc="left").startswith("Yields"))
    boxes = [text.get_window_extent().shrunk(0.95, 0.8) for text in plane.texts[1:]]
    assert len(boxes) == 11
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])


def test_a_system_far_from_the_others_widens_the_panel() -> None:
    bad = page(PageMaterial(plane=[PlanePoint("Offhook", 0.02, 0.1, is_ours=True)]), "Bad")
    bad.draw_without_rendering()
    plane = next(at for at in bad.axes if at.get_title(loc="left").startswith("Yields"))
    ours = next(text for text in words(bad) if text.get_text() == "Offhook")
    assert ours.get_window_extent().x0 > plane.bbox.x0
