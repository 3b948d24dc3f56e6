"""Rules of this repository that no ready-made tool checks; run by scripts/check.

Each rule takes a file's path and text and yields what is wrong, one line each. Exits 1 when
anything is.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

PYTHON_LINES_MAX: Final = 600  # a file is one idea, usually 60-250 lines
FILE_BYTES_MAX: Final = 1 << 20

# Packages come from whatever registry the reader's own tools are set to.
_REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|npmmirror|crates|golang|maven)\.(?:org|com|io|apache)\b"
    r"|--(?:extra-)?index[-]url|--find[-]links"
)
_MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:home|Users|root|work)/\w")
_LEFTOVER = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")

_MONEY: Final = ("src/aipool/kit/money.py", "src/aipool/rating/", "src/aipool/ledger/core.py")

Rule = Callable[[PurePosixPath, str], Iterator[str]]


def names_no_registry(path: PurePosixPath, text: str) -> Iterator[str]:
    """No file names a package registry's host, and no lock any address at all."""
    for number, line in enumerate(text.splitlines(), 1):
        is_lock = path.parent.name == "requirements" or path.name == "package-lock.json"
        if _REGISTRY.search(line) or (is_lock and '"resolved"' in line):
            yield f"{path}:{number}: names a package registry"


def names_no_machine_path(path: PurePosixPath, text: str) -> Iterator[str]:
    """No file knows where somebody's checkout or home lies."""
    for number, line in enumerate(text.splitlines(), 1):
        if _MACHINE_PATH.search(line):
            yield f"{path}:{number}: names a path of one machine"


def leaves_nothing_over(path: PurePosixPath, text: str) -> Iterator[str]:
    """Work that is left is an issue, not a remark."""
    for number, line in enumerate(text.splitlines(), 1):
        if _LEFTOVER.search(line):
            yield f"{path}:{number}: a remark about work that is left"


def is_small(path: PurePosixPath, text: str) -> Iterator[str]:
    """No huge file, no endless Python file."""
    if len(text.encode()) > FILE_BYTES_MAX:
        yield f"{path}: larger than {FILE_BYTES_MAX} bytes"
    lines = text.count("\n")
    if path.suffix == ".py" and lines > PYTHON_LINES_MAX:
        yield f"{path}: {lines} lines, more than {PYTHON_LINES_MAX}"


def counts_money_in_integers(path: PurePosixPath, text: str) -> Iterator[str]:
    """Where money is computed there is no float: no literal, no name, no true division."""
    if not (path.suffix == ".py" and str(path).startswith(_MONEY)):
        return
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Constant(value=float() | complex()):
                what = "a float literal"
            case ast.Name(id="float"):
                what = "float"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                what = "a true division"
            case _:
                continue
        yield f"{path}:{getattr(node, 'lineno', 0)}: {what} where money is computed"


def keeps_stores_private(path: PurePosixPath, text: str) -> Iterator[str]:
    """The SQL of a slice is called by that slice alone."""
    if path.suffix != ".py" or path.parts[:2] != ("src", "aipool"):
        return
    own = path.parts[2]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            match module.split("."):
                case ["aipool", slice_name, "store", *_] if slice_name != own:
                    yield f"{path}:{node.lineno}: imports the store of {slice_name}"
                    break


RULES: Final[tuple[Rule, ...]] = (
    names_no_registry,
    names_no_machine_path,
    leaves_nothing_over,
    is_small,
    counts_money_in_integers,
    keeps_stores_private,
)


def problems(root: Path) -> Iterator[str]:
    """Everything that is wrong with the files that are, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in sorted(filter(None, listed.split("\0"))):
        try:
            text = (root / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # not text, or deleted and not yet committed
        for rule in RULES:
            yield from rule(PurePosixPath(name), text)


def main() -> int:
    """Print every problem; 1 when there are any."""
    found = list(problems(ROOT))
    for line in found:
        print(line)
    print(f"tidy: {len(found)} problems" if found else "tidy: nothing to say")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
