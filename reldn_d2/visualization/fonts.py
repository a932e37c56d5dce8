"""Finds fonts that have the letters of a text, whatever its script."""

import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontProperties

from reldn_d2.utils.plain_text import visible

logger = logging.getLogger(__name__)

#: The font of all drawings; it comes with Matplotlib.
BASE = "DejaVu Sans"
# Families that are tried before all others, because their letters fit the base font.
_PREFERRED = (
    *(
        "Noto Sans CJK KR",
        "Noto Sans CJK JP",
        "Noto Sans CJK SC",
        "Noto Sans KR",
        "Noto Sans JP",
        "Noto Sans SC",
    ),
    *("Noto Sans", "Apple SD Gothic Neo", "PingFang SC", "Hiragino Sans", "Malgun Gothic", "Yu Gothic"),
    *("Microsoft YaHei", "Nirmala UI", "Segoe UI", "NanumGothic", "WenQuanYi Zen Hei", "Arial Unicode MS"),
)
# Matplotlib's font whose glyphs only name the script of a letter: it has no letter.
_NO_LETTERS = "Last Resort"


def font_of(texts: Iterable[str], size: float) -> FontProperties:
    """The bold font for some texts: `BASE`, and for its missing letters fonts of this machine.

    A letter that no font of this machine has is drawn as a square. One warning a set of letters says so.

    Args:
        texts: all texts that will be written.
        size: size in points.
    """
    missing = _letters(texts) - _letters_of(BASE)
    fallbacks = _fallbacks(missing, len(font_manager.fontManager.ttflist)) if missing else ()
    # The last family is for browsers without the others.
    return FontProperties(family=[BASE, *fallbacks, "sans-serif"], weight="bold", size=size)


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Silences Matplotlib's warning of each missing letter: `font_of` has given one for all of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing")
        yield


def _letters(texts: Iterable[str]) -> frozenset[str]:
    """The characters that need a glyph: no spaces, joiners and other formatting characters."""
    characters = set().union(*texts)
    return frozenset(x for x in characters if unicodedata.category(x) not in ("Cc", "Cf", "Cs", "Zs", "Mn"))


@cache
def _fallbacks(missing: frozenset[str], number_of_fonts: int) -> tuple[str, ...]:
    """Families that have the missing letters. A font that is added later changes `number_of_fonts`."""
    del number_of_fonts
    _add_new_fonts()
    others = sorted({entry.name for entry in font_manager.fontManager.ttflist} - {BASE})
    known = [name for name in _PREFERRED if name in others]
    chosen: list[str] = []
    for names in (known, [name for name in others if not name.startswith(_NO_LETTERS)]):
        while missing and names:
            # The family with the most of the letters, so that a text has few fonts; the first one on ties.
            best = max(names, key=lambda name: len(missing & _letters_of(name)))
            found = missing & _letters_of(best)
            if not found:
                break
            chosen.append(best)
            missing = missing - found
    if missing:
        logger.warning(
            "No font of this machine has the letters %s: drawings show squares in their place. Install a "
            "font that has them and start again; on Debian and Ubuntu 'apt-get install fonts-noto-cjk' for "
            "Chinese, Japanese and Korean, 'apt-get install fonts-noto-core' for other scripts.",
            visible("".join(sorted(missing)[:20])),
        )
    return tuple(chosen)


@cache
def _letters_of(family: str) -> frozenset[str]:
    """The letters of the bold font of a family: its other weights and styles may have fewer."""
    try:
        entries = [entry for entry in font_manager.fontManager.ttflist if entry.name == family]
        return frozenset(map(chr, font_manager.get_font(min(entries, key=_distance).fname).get_charmap()))
    # There is no such font, or FreeType can't read its file. Then other fonts are left.
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _distance(entry: FontEntry) -> float:
    """How far a font is from an upright, bold one, as Matplotlib chooses among the fonts of a family."""
    manager = font_manager.fontManager
    return float(
        manager.score_style("normal", entry.style)
        + manager.score_variant("normal", entry.variant)
        + manager.score_weight("bold", entry.weight)
        + manager.score_stretch("normal", entry.stretch)
    )


@cache
def _add_new_fonts() -> None:
    """Tells Matplotlib of fonts that were installed after it had listed the machine's fonts."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError, ValueError):
            logger.debug("no usable font: %s", path)
