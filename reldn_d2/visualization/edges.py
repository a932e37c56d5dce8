"""Arrows and their predicates, which drawings on photos and node-link drawings share."""

from collections.abc import Sequence

from .labels import INK, Edge, Looks, edge_text, triplet_text
from .layout import curve_candidates
from .panel import Panel, Style
from .places import Place, Places
from .sheet import Sheet

#: Plates of predicates, by `Edge.correct`: Okabe and Ito's bluish green and vermillion, dark enough for white
#: text.
FILL = {None: INK, True: "#007a59", False: "#b34700"}
#: Width of a leader line in units.
LEADER = 1.6


def draw_edges(
    sheet: Sheet,
    places: Places,
    edges: Sequence[Edge],
    looks: Looks,
    panel: Panel,
    *,
    scores: bool,
) -> None:
    """Draw the arrow of each pair, and a label for each predicate or, if it has no place, a row of the panel.

    Args:
        sheet: the sheet to draw on.
        places: free places of the sheet. A relationship for whose pair it has no arrow goes to the panel.
        edges: relationships to draw, the most important first.
        looks: an arrow has the colour of its subject.
        panel: takes the triplets whose predicates find no place; then the arrow gets their number.
        scores: write scores beside predicates.
    """
    for edge in edges:
        colour = looks.colours[edge.subject]
        style, text = Style(FILL[edge.correct], "white", colour), edge_text(edge, scores)
        place = _place(sheet, places, edge, text)
        if place is None:
            text = panel.add(triplet_text(edge, looks.names, scores), style)
            place = _place(sheet, places, edge, text)
        if place is not None:
            draw_label(sheet, place, text, style, colour)
    for pair in places.curves:
        colour = looks.colours[pair[0]]
        parts = places.visible_parts(pair)
        for part in parts:
            sheet.line(part, colour)
        sheet.arrow_head(parts[-1], colour)


def draw_label(sheet: Sheet, place: Place, text: str, style: Style, colour: str) -> None:
    """Draw a label, and its leader line in a colour."""
    if place.leader is not None:
        sheet.line(place.leader, colour, LEADER)
    sheet.label(place.box, text, style.fill, style.colour, style.rim)


def _place(sheet: Sheet, places: Places, edge: Edge, text: str) -> Place | None:
    """A place at the arrow of a relationship; None: there is none, or there is no arrow."""
    if edge.pair not in places.curves:
        return None
    candidates = curve_candidates(places.curves[edge.pair], *sheet.label_size(text))
    return places.on_curve(edge.pair, candidates)
