"""Arrows and their predicates, which drawings on photos and node-link drawings share."""

from collections.abc import Callable, Sequence

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
        panel: takes the triplets whose predicates find no place.
        scores: write scores beside predicates.
    """
    for edge in edges:
        colour = looks.colours[edge.subject]
        row, style = triplet_text(edge, looks.names, scores), Style(FILL[edge.correct], "white", colour)

        def place_of(text: str, edge: Edge = edge) -> Place | None:
            return _place(sheet, places, edge, text)

        label_or_list(sheet, panel, place_of, edge_text(edge, scores), row, style, colour)
    for pair in places.curves:
        colour = looks.colours[pair[0]]
        parts = places.visible_parts(pair)
        for part in parts:
            sheet.line(part, colour)
        sheet.arrow_head(parts[-1], colour)


def label_or_list(
    sheet: Sheet,
    panel: Panel,
    place_of: Callable[[str], Place | None],
    text: str,
    row: str,
    style: Style,
    colour: str,
) -> None:
    """Draw a label or, if it has no place, a row of the panel; if there is room, its number is drawn instead.

    Args:
        sheet: the sheet to draw on.
        panel: takes the row. Without a number in the drawing, the row has none either.
        place_of: finds the place of a text.
        text: text of the label.
        row: text of the row.
        style: colours of the label, or of the number.
        colour: colour of a leader line.
    """
    place = place_of(text)
    if place is None:
        text = panel.next_number
        place = place_of(text)
        panel.add(row, None if place is None else style)
    if place is None:
        return
    if place.leader is not None:
        sheet.line(place.leader, colour, LEADER)
    sheet.label(place.box, text, style.fill, style.colour, style.rim)


def _place(sheet: Sheet, places: Places, edge: Edge, text: str) -> Place | None:
    """A place at the arrow of a relationship; None: there is none, or there is no arrow."""
    if edge.pair not in places.curves:
        return None
    candidates = curve_candidates(places.curves[edge.pair], *sheet.label_size(text))
    return places.on_curve(edge.pair, candidates)
