"""YAML as people write it: read within limits, every value with its place, no key twice. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from hookline.faults import Fault, Place

#: Mappings and lists may lie this deep in each other.
MAX_DEPTH = 64
#: A document may have this many values, those that aliases repeat counted each time.
MAX_VALUES = 100_000

# The C parser where PyYAML has it: ten times as fast, and the same language in all that people write.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"


class YamlFault(ValueError):
    """A text that is no usable YAML.

    Parameters
    ----------
    place: where, as far as it is known.
    reason: what is wrong, in one line.
    """

    def __init__(self, place: Place | None, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason

    def fault(self, file: str) -> Fault:
        """Return it as a fault of that file."""
        return Fault(file, self.place, self.reason)


class Document:
    """A YAML document that has been read.

    Parameters
    ----------
    value: what it holds, in plain Python values.
    """

    def __init__(self, root: yaml.Node | None, value: Any) -> None:
        self._root = root
        self.value = value

    def at(self, *path: str | int) -> Place:
        """Return where the value at the path begins, or what is nearest to it on the way there."""
        return self._find(path)[1]

    def key(self, *path: str | int) -> Place:
        """Return where the last key of the path is written, or what is nearest to it on the way there."""
        return self._find(path)[0]

    def _find(self, path: tuple[str | int, ...]) -> tuple[Place, Place]:
        node = self._root
        key = value = Place(1, 1) if node is None else _place(node)
        for step in path:
            found = _child(node, step)
            if found is None:
                return value, value
            key, node = _place(found[0]), found[1]
            value = _place(node)
        return key, value


def read_yaml(text: str) -> Document:
    """Read one YAML document.

    Raises
    ------
    YamlFault: not YAML, a key that is written twice, or beyond the limits.
    """
    loader = None
    try:
        _check_limits(text)
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return Document(None, None)
        _check_nodes(root, loader)
        # Merge keys are resolved in place, so that `at` finds what was merged in as well.
        return Document(root, loader.construct_document(root))
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        reason = " ".join((wrong.problem or wrong.context or "unknown error").split())
        raise YamlFault(
            Place(mark.line + 1, mark.column + 1) if mark else None, f"no YAML: {reason}"
        ) from None
    except yaml.reader.ReaderError as wrong:
        line = text.count("\n", 0, wrong.position) + 1
        column = wrong.position - text.rfind("\n", 0, wrong.position)
        raise YamlFault(Place(line, column), f"no YAML: {wrong.reason}") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(_Safe):  # type: ignore[misc]
    """The safe loader, which also says where a value stands that cannot be made: a 45th of May, say."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as wrong:
            raise yaml.constructor.ConstructorError(None, None, str(wrong), node.start_mark) from None


def _check_limits(text: str) -> None:
    """Look at depth and number before anything is built: the parser's own recursion has no limit."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, _Safe)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        mark = event.start_mark
        if depth > MAX_DEPTH:
            raise YamlFault(_mark(mark), f"mappings and lists lie more than {MAX_DEPTH} deep in each other")
        if count > 2 * MAX_VALUES:
            raise _too_large(_mark(mark))


def _check_nodes(root: yaml.Node, loader: Any) -> None:
    """Check that no key is there twice, and that aliases do not make the document larger than allowed."""
    sizes: dict[yaml.Node, int | None] = {}

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        known = sizes.get(node, 0)
        if known is None:
            raise YamlFault(_place(node), "an alias stands within what it repeats")
        if known:
            return known
        sizes[node] = None
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, loader)
        total = 1 + sum(size(child) for child in _children(node))
        if total > MAX_VALUES:
            raise _too_large(_place(node))
        sizes[node] = total
        return total

    size(root)


def _check_keys(node: yaml.MappingNode, loader: Any) -> None:
    seen: dict[Any, Place] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        # As Python sees them: `1` and `true` are one key to it, and one of the two would be lost.
        name = loader.construct_object(key)
        if name in seen:
            first = seen[name].line
            raise YamlFault(
                _place(key),
                f"the key `{key.value}` is there twice, first in line {first}, which would be lost",
            )
        seen[name] = _place(key)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    match node:
        case yaml.MappingNode():
            # What is written here stands after what was merged in, and counts.
            return next((pair for pair in reversed(node.value) if pair[0].value == str(step)), None)
        case yaml.SequenceNode() if isinstance(step, int) and step < len(node.value):
            return node.value[step], node.value[step]
        case _:
            return None


def _place(node: yaml.Node) -> Place:
    return _mark(node.start_mark)


def _mark(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _too_large(place: Place) -> YamlFault:
    return YamlFault(place, f"more than {MAX_VALUES:,} values, with those that aliases repeat")
