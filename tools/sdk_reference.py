"""Write docs/sdk.md: every public name of the distribution `keystead`, with its signature and docstring.

usage: python -m tools.sdk_reference

Read from the source, so nothing has to be installed. The command line is documented by its own `--help`.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "sdk" / "keystead"
TARGET: Final = ROOT / "docs" / "sdk.md"
FIRST: Final = ("api", "credentials", "secrets", "encryption")
"""Modules in the order in which a reader meets them; the others follow by name."""
WITHOUT: Final = ("cli",)
OTHERS: Final = ("cache_ok", "comparator_factory", "impl")
"""Attributes that SQLAlchemy documents, and that its types have to set."""
_HEAD: Final = """\
# Reference of the package `keystead`

Written by `python -m tools.sdk_reference` from the docstrings; a test compares. How to begin is in
[sdk/README.md](../sdk/README.md), the command line says its own (`keystead --help`). Times are in seconds, lengths in bytes, unless
a name says otherwise.
"""


class Entry(NamedTuple):
    """A public name: where it is, how it is written, and what is said of it."""

    name: str
    """With the names that it is in: `keystead.api.Api.call`."""
    signature: str
    doc: str
    """Empty where it has none."""
    level: int
    """0 is a module, 1 what is in a module, 2 what is in a class."""


def entries() -> Iterator[Entry]:
    """Every public name, a module before what is in it, a class before its members."""
    for path in sorted(SOURCE.rglob("*.py"), key=_place):
        parts = ("keystead", *path.relative_to(SOURCE).with_suffix("").parts)
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if any(part.startswith("_") or part in WITHOUT for part in parts):
            continue
        module = ".".join(parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield Entry(module, module, ast.get_docstring(tree) or "", 0)
        for name, signature, doc, node in _names(tree.body):
            yield Entry(f"{module}.{name}", signature, doc, 1)
            if isinstance(node, ast.ClassDef):
                for member, its_signature, its_doc in _members(node):
                    yield Entry(f"{module}.{name}.{member}", its_signature, its_doc, 2)


def undocumented(found: Iterable[Entry]) -> list[str]:
    """Names that nothing is said of. Of an attribute, the docstring of its class may speak."""
    said, missing = "", []
    for entry in found:
        said = entry.doc if entry.level < 2 else said  # noqa: PLR2004 - see Entry
        name = entry.name.rpartition(".")[2]
        if not entry.doc and name not in OTHERS and (entry.level < 2 or f"`{name}`" not in said):  # noqa: PLR2004
            missing.append(entry.name)
    return missing


def text() -> str:
    """The page."""
    parts = [_HEAD]
    for entry in entries():
        if entry.level == 0:
            parts.append(f"\n## {entry.name}\n\n{entry.doc}\n")
        elif entry.level == 1:
            parts.append(f"\n### `{entry.signature}`\n\n{entry.doc}\n")
        else:
            parts.append(f"\n- `{entry.signature}`" + _indented(entry.doc))
    return "".join(parts)


def _place(path: Path) -> tuple[int, str]:
    name = path.relative_to(SOURCE).with_suffix("").parts
    first = FIRST.index(name[0]) if name[0] in FIRST else len(FIRST)
    return -1 if name == ("__init__",) else first, "/".join(name).replace("__init__", "")


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, str, str, ast.stmt]]:
    """What a module or a class defines: name, signature, docstring, and the node itself."""
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(ast.unparse(each) == "overload" for each in node.decorator_list):
                continue  # the one that follows says it all
            found = node.name, _function(node), ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef):
            found = node.name, _class(node), ast.get_docstring(node) or ""
        elif (assigned := _assigned(node)) is not None:
            found = *assigned, _text(after)
        else:
            continue
        if not found[0].startswith("_"):
            yield *found, node


def _members(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Attributes, properties and methods; attributes of `self` where a docstring follows or their name is public."""
    seen = set()
    for name, signature, doc, member in _names(node.body):
        seen.add(name)
        if (
            isinstance(member, ast.FunctionDef)
            and member.returns is not None
            and any(ast.unparse(each).endswith("property") for each in member.decorator_list)
        ):
            signature = f"{name}: {ast.unparse(member.returns)}"  # noqa: PLW2901 - a property reads like an attribute
        yield name, signature, doc
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        for statement, after in zip(method.body, [*method.body[1:], None], strict=True):
            assigned = _assigned(statement, of_self=True)
            if assigned is not None and not assigned[0].startswith("_") and assigned[0] not in seen:
                seen.add(assigned[0])
                yield *assigned, _text(after)


def _assigned(node: ast.stmt, *, of_self: bool = False) -> tuple[str, str] | None:
    """Name and signature of what is assigned: `NAME = value`, `name: type`, or the same of `self`."""
    target: ast.expr
    if isinstance(node, ast.AnnAssign):
        target, annotation = node.target, ast.unparse(node.annotation)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, annotation = node.targets[0], ""
    else:
        return None
    if of_self and isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
        name = target.attr
    elif not of_self and isinstance(target, ast.Name):
        name = target.id
    else:
        return None
    is_short = isinstance(node.value, ast.Constant | ast.UnaryOp | ast.BinOp)
    value = "" if of_self or not is_short or node.value is None else f" = {ast.unparse(node.value)}"
    return name, name + (f": {annotation}" if annotation not in ("", "Final") else "") + value


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str = "") -> str:
    arguments = node.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments = ast.arguments(**{**dict(ast.iter_fields(arguments)), "args": arguments.args[1:]})
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None and not name else ""
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{prefix}{name or node.name}({ast.unparse(arguments)}){returns}"


def _class(node: ast.ClassDef) -> str:
    bases = ", ".join(map(ast.unparse, node.bases))
    made = [
        _function(each, node.name)
        for each in node.body
        if isinstance(each, ast.FunctionDef) and each.name == "__init__"
    ]
    return f"class {node.name}" + (f"({bases})" if bases else "") + "".join(f": {each}" for each in made)


def _text(node: ast.stmt | None) -> str:
    """The docstring of an attribute stands after it."""
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return node.value.value
    return ""


def _indented(doc: str) -> str:
    return (
        "\n" + "".join(f"\n  {line}" if line else "\n" for line in doc.splitlines()) + ("\n" if doc else "")
    )


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{TARGET.relative_to(ROOT)}\n")
