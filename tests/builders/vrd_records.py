"""Annotation records in VRD's layout, which several tests build files from."""

from typing import Any


def end(category: Any, *box: Any) -> dict[str, Any]:
    return {"category": category, "bbox": list(box)}


def relationship(subject: Any, object: Any, predicate: Any = 3) -> dict[str, Any]:
    return {"subject": subject, "object": object, "predicate": predicate}


PERSON = end(0, 2, 20, 5, 15)
CUP = end(52, 8, 12, 14, 18)
