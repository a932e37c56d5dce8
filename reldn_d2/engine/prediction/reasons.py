"""Why an image has no results, in the words that tables, lists and the screen share."""

from reldn_d2.data.images import DamagedImageError
from reldn_d2.data.pixels import UnusablePictureError
from reldn_d2.utils.system_errors import is_explained


def reason_of(image: str, error: Exception | None) -> str:
    """Why an image has no results: the end of a sentence that its path begins.

    Args:
        image: path of the image.
        error: what a predictor says of it (`Outcome.error`), or what was raised afterwards.
    """
    if isinstance(error, FileNotFoundError):
        return "cannot be read (there is no such file): check the path"
    if isinstance(error, DamagedImageError):
        return f"cannot be read ({error.__cause__}): replace it, or take it out of --input"
    if isinstance(error, UnusablePictureError):
        return f"can't be used: {error.reason}"
    if isinstance(error, OSError) and is_explained(error):
        return str(error).removeprefix(f"{image} ")
    return f"can't be used: {error}"
