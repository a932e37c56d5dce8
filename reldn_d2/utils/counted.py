"""Numbers of things, in words that are right for one of them and for several."""


def counted(number: int, one: str, several: str) -> str:
    """The number and what it counts: "1 image has", "2 images have", "0 images have"."""
    return f"{number} {one if number == 1 else several}"
