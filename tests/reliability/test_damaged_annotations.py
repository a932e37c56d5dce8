"""Generated damage in COCO-relations files: refused with file and record, or a legal file; never silent."""

import copy
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reldn_d2.data.checking.checks import check_dataset
from reldn_d2.data.datasets.coco_relations import load_coco_relations
from reldn_d2.utils.refusals import collected

Content = dict[str, Any]
LISTS = ("images", "annotations", "categories", "predicates", "relations")
REQUIRED = {
    "images": {"id", "file_name", "height", "width"},
    "annotations": {"id", "image_id", "category_id", "bbox"},
    "categories": {"id", "name"},
    "predicates": {"id", "name"},
    "relations": {"subject_id", "object_id", "predicate_id"},
}
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, -1, 4711, 2**31, 2**63, 10**30, 0.5, 1.0, 1e300, math.nan, math.inf,
    "", "1", "holds", "../x.png", "/etc/x.png", "a\\b", "http://x/y.png", "é\ud800", [], [1], {}, {"id": 1},
    [1, 2, 3], [0, 0, 5, 5], [1, 2, 3, 4, 5], [5, 5, 0, 5], [5, 5, -3, 5], [55, 5, 9, 9],
    [5, 5, math.nan, 5], [5, "5", 5, 5],
]  # fmt: skip


def sound() -> Content:
    """Four images of 60 x 40 pixels, with twelve annotations and eight relations."""
    images = [
        {"id": i, "file_name": f"{i}.png", "height": 40, "width": 60, "verified_category_ids": [1, 3]}
        for i in range(1, 5)
    ]
    annotations = [
        {"id": n, "image_id": 1 + n // 4, "category_id": 1 + n % 3, "bbox": [n, 2, 10 + n, 9], "iscrowd": 0}
        for n in range(12)
    ]
    relations = [
        {"id": n, "image_id": 1 + n // 3, "subject_id": s, "object_id": s + 1, "predicate_id": 1 + n % 2}
        for n, s in enumerate([0, 1, 2, 4, 5, 6, 8, 9])
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(("cat", "dog", "cup"), start=1)],
        "predicates": [{"id": i, "name": name} for i, name in enumerate(("on", "holds"), start=1)],
        "relations": relations,
    }


def is_legal(content: Any) -> bool:
    """Whether a file may be used, written from the description of the format, record by record."""
    if not isinstance(content, dict) or not all(isinstance(content.get(kind), list) for kind in LISTS):
        return False
    of: dict[str, dict[Any, Any]] = {}
    for kind in LISTS:
        records = content[kind]
        if not all(isinstance(record, dict) and record.keys() >= REQUIRED[kind] for record in records):
            return False
        ids = [record["id"] for record in records if "id" in record]
        if not all(type(identity) in (int, str) for identity in ids) or len({*ids}) < len(ids):
            return False
        of[kind] = {record["id"]: record for record in records if "id" in record}
    return (
        all(is_class_list(content[kind]) for kind in ("categories", "predicates"))
        and all(is_image(image, of) for image in content["images"])
        and all(is_annotation(annotation, of) for annotation in content["annotations"])
        and all(
            is_relation(relation, of, bool(content.get("allow_self_relations")))
            for relation in content["relations"]
        )
    )


def has(ids: dict[Any, Any], identity: Any) -> bool:
    return type(identity) in (int, str) and identity in ids


def is_class_list(records: list[Any]) -> bool:
    names = [record["name"] for record in records]
    return (
        all(type(record["id"]) is int and isinstance(record["name"], str) for record in records)
        and len({*names}) == len(names)
        and len({isinstance(record.get("label"), str) for record in records if "label" in record}) <= 1
        and len({"label" in record for record in records}) <= 1
        and all(isinstance(record.get("label", ""), str) for record in records)
    )


def is_image(image: Any, of: dict[str, dict[Any, Any]]) -> bool:
    name, verified = image["file_name"], image.get("verified_category_ids")
    return (
        all(type(image[key]) is int and 0 < image[key] < 2**31 for key in ("height", "width"))
        and isinstance(name, str)
        and name != ""
        and not name.startswith(("/", "~", "http:"))
        and not {"..", "\\"} & {*name.replace("\\", "/\\/").split("/")}
        and (
            verified is None
            or (isinstance(verified, list) and all(has(of["categories"], category) for category in verified))
        )
    )


def is_annotation(annotation: Any, of: dict[str, dict[Any, Any]]) -> bool:
    box = annotation["bbox"]
    if not has(of["images"], annotation["image_id"]) or annotation.get("iscrowd", 0) not in (0, 1):
        return False
    if not isinstance(box, list) or len(box) != 4 or not all(type(number) in (int, float) for number in box):
        return False
    if not has(of["categories"], annotation["category_id"]) or not all(map(math.isfinite, box)):
        return False
    image = of["images"][annotation["image_id"]]
    x, y, width, height = box
    inside = x >= -1 and y >= -1 and x + width <= image["width"] + 1 and y + height <= image["height"] + 1
    area = max(x, 0) < min(x + width, image["width"]) and max(y, 0) < min(y + height, image["height"])
    return width > 0 and height > 0 and inside and area


def is_relation(relation: Any, of: dict[str, dict[Any, Any]], allowed: bool) -> bool:
    ends = [relation["subject_id"], relation["object_id"]]
    if not all(has(of["annotations"], end) for end in ends):
        return False
    images = {of["annotations"][end]["image_id"] for end in ends}
    if "image_id" in relation:
        if not has(of["images"], relation["image_id"]):
            return False
        images.add(relation["image_id"])
    return (
        has(of["predicates"], relation["predicate_id"])
        and len(images) == 1
        and (allowed or ends[0] != ends[1])
    )


def change_value(content: Content, rng: random.Random) -> None:
    record = rng.choice(content[rng.choice(LISTS)])
    record[rng.choice([*record])] = copy.deepcopy(rng.choice(VALUES))


def change_number(content: Content, rng: random.Random) -> None:
    annotation = rng.choice(content["annotations"])
    if isinstance(annotation, dict) and isinstance(annotation.get("bbox"), list) and annotation["bbox"]:
        annotation["bbox"][rng.randrange(len(annotation["bbox"]))] = rng.choice([*VALUES, -30, 57, 61, 0.001])


def remove_key(content: Content, rng: random.Random) -> None:
    record = rng.choice(content[rng.choice(LISTS)])
    del record[rng.choice([*record])]


def remove_record(content: Content, rng: random.Random) -> None:
    records = content[rng.choice(LISTS)]
    del records[rng.randrange(len(records))]


def repeat_record(content: Content, rng: random.Random) -> None:
    records = content[rng.choice(LISTS)]
    records.insert(rng.randrange(len(records)), copy.deepcopy(rng.choice(records)))


def replace_record(content: Content, rng: random.Random) -> None:
    records = content[rng.choice(LISTS)]
    records[rng.randrange(len(records))] = copy.deepcopy(rng.choice(VALUES))


def exchange_values(content: Content, rng: random.Random) -> None:
    kind = rng.choice(LISTS)
    one, other = rng.sample(content[kind], 2)
    key = rng.choice([*one])
    one[key], other[key] = other.get(key), one[key]


def replace_list(content: Content, rng: random.Random) -> None:
    content[rng.choice(LISTS)] = copy.deepcopy(rng.choice(VALUES))


def remove_list(content: Content, rng: random.Random) -> None:
    del content[rng.choice(LISTS)]


CHANGES: list[Callable[[Content, random.Random], None]] = [
    *[change_value] * 6, *[change_number] * 3, remove_key, remove_record, repeat_record, replace_record,
    exchange_values, replace_list, remove_list,
]  # fmt: skip


def damaged_text(seed: int) -> bytes:
    """A file with one to six changes of records, of bytes, or cut off."""
    rng = random.Random(seed)
    content = sound()
    for _ in range(rng.choice([1, 1, 1, 2, 4, 6])):
        try:
            rng.choice(CHANGES)(content, rng)
        # An earlier change has taken away what this one would change.
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            continue
    text = bytearray(json.dumps(content).encode())
    if seed % 10 == 8:
        text[rng.randrange(len(text))] = rng.randrange(256)
    if seed % 10 == 9:
        del text[rng.randrange(len(text)) :]
    return bytes(text)


def outcome(path: Path) -> str:
    """What the loader does: "legal", "named", or what it does wrong."""
    try:
        legal = is_legal(json.loads(path.read_bytes().decode("utf-8-sig")))
    except (UnicodeDecodeError, ValueError):
        legal = False
    try:
        load_coco_relations(path, path.parent)
    except ValueError as error:
        text = str(error)
        if legal:
            return f"refused though it is legal: {text}"
        return (
            "named"
            if text.startswith(f"{path}") and text.count(". ") + text.count("; ")
            else f"unnamed: {text}"
        )
    except Exception as error:
        return f"unnamed: {type(error).__name__}: {error}"
    return "legal" if legal else "silent"


def check_that_all_is_collected(path: Path, refused: bool) -> None:
    """The checker's way through the file: nothing is raised, and what is left is sound."""
    with collected() as groups:
        try:
            dataset_dicts = load_coco_relations(path, path.parent)
        except ValueError as error:
            assert "not valid JSON" in str(error) or "not text" in str(error) or "top level" in str(error)
            return
    assert bool(groups) == refused
    left = check_dataset(dataset_dicts, 10**6, 10**6)
    # The ids 1 and "1" are two ids in the file, and one in an evaluation.
    assert {problem.kind for problem in left.problems if problem.is_error} <= {"repeated_image_id"}


def try_damage(seeds: range, folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    path = folder / "a.json"
    for seed in seeds:
        path.write_bytes(damaged_text(seed))
        what = outcome(path)
        assert what in ("legal", "named"), f"seed {seed}: {what}"
        check_that_all_is_collected(path, refused=what == "named")
        found[what] += 1
    return found


def test_the_undamaged_file_is_legal(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(sound()))
    assert outcome(path) == "legal"
    check_that_all_is_collected(path, refused=False)


def test_generated_damage_is_named(tmp_path: Path) -> None:
    found = try_damage(range(300), tmp_path)
    assert found["named"] >= 200 and found["legal"] >= 10


@pytest.mark.slow
def test_much_generated_damage_is_named(tmp_path: Path) -> None:
    found = try_damage(range(300, 2300), tmp_path)
    assert found["named"] >= 1200
