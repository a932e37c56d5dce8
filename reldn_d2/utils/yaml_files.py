"""Reads YAML as data: a tag that would run code or make a Python object is refused."""

from collections.abc import Iterator
from typing import IO, Any

import yaml

# A file of a few lines can stand for billions of values, because an alias repeats what its anchor names.
_MOST_VALUES = 1_000_000
_TAG = "tag:yaml.org,2002:"


class TagError(ValueError):
    """A file has a tag that is no data.

    Attributes:
        keys: the names on the top level of the file.
    """

    def __init__(self, message: str, keys: frozenset[str]) -> None:
        """Keeps the keys beside the message."""
        super().__init__(message)
        self.keys = keys


def parse_yaml(
    stream: str | IO[str] | IO[bytes],
    source: object,
    *,
    any_tag: bool = False,
) -> Any:
    """Reads one YAML document.

    Args:
        stream: text, or an open file.
        source: name of the file, for messages.
        any_tag: whether tags may run code. Only for files that somebody has read and trusts.

    Returns:
        Dicts, lists, texts, numbers; None for an empty file.

    Raises:
        TagError: a tag stands for code or a Python object. The message names file, line and tag.
        ValueError: aliases repeat too much, values are nested too deeply, a number or date is impossible, or
            a mapping has a key twice, of which YAML would take the last one.
        yaml.YAMLError: the file is not YAML.
    """
    reader: Any = yaml.UnsafeLoader(stream) if any_tag else yaml.SafeLoader(stream)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        if _number_of_values(node, {}) > _MOST_VALUES:
            raise ValueError(
                f"{source} stands for more than {_MOST_VALUES:,} values, because its aliases (*) repeat "
                "them or refer to themselves: write the values out"
            )
        if not any_tag:
            _refuse_tags(node, source, frozenset(reader.yaml_constructors))
        _refuse_repeated_keys(node, source)
        try:
            return reader.construct_document(node)
        except ValueError as error:  # a number with thousands of digits, or a date with a 13th month
            raise ValueError(_unreadable_value(reader, node, source)) from error
    except RecursionError as error:
        raise ValueError(f"{source}: its values are nested too deeply: write them flatter") from error
    finally:
        reader.dispose()


def _number_of_values(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for with its aliases written out; infinite if it contains itself."""
    number = known.get(id(node))
    if number is None:
        known[id(node)] = float("inf")  # as long as it is being counted
        number = known[id(node)] = 1 + sum(_number_of_values(child, known) for child in _children(node))
    return number


def _unreadable_value(reader: Any, root: yaml.Node, source: object) -> str:
    """What to say about the value that can't be made."""
    reader.recursive_objects.clear()  # of the attempt that failed
    for node in _all_nodes(root):
        if isinstance(node, yaml.ScalarNode):
            try:
                reader.construct_object(node)
            except ValueError as error:
                reason = str(error).partition(";")[0]
                return (
                    f"{source}, line {node.start_mark.line + 1}: {node.value[:40]!r} can't be read "
                    f"({reason}). Correct it, or write it in quotation marks if it is text"
                )
    return f"{source}: a value can't be read"


def _all_nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    remaining, seen = [root], set[int]()
    while remaining:
        node = remaining.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            remaining += _children(node)


def _refuse_tags(root: yaml.Node, source: object, known: frozenset[str | None]) -> None:
    for node in _all_nodes(root):
        # The signs << and = have tags of their own, which a mapping removes.
        if node.tag not in known and node.tag not in (f"{_TAG}merge", f"{_TAG}value"):
            keys = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
            tag = node.tag.replace(_TAG, "!!", 1)
            raise TagError(
                f"{source}, line {node.start_mark.line + 1}: the tag {tag} is refused, because it is no "
                "data: such a tag can run any code. Write the value itself",
                frozenset(key for key in keys if isinstance(key, str)),
            )


def _refuse_repeated_keys(root: yaml.Node, source: object) -> None:
    for node in _all_nodes(root):
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            # The sign << may stand for several mappings.
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            same = first.setdefault((key.tag, key.value), key)
            if same is not key:
                raise ValueError(
                    f"{source}, line {key.start_mark.line + 1}: the key {key.value!r} occurs twice, first in "
                    f"line {same.start_mark.line + 1}, and only the last would count: remove one"
                )


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
