"""The command blocks of the documentation, and the comments above them that say how they are checked."""

import re
import subprocess
from dataclasses import dataclass

from tests.builders.tiny_models import REPOSITORY

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "configs/README.md")),
    *(REPOSITORY / name for name in ("datasets/README.md", "examples/tiny_project/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# A shell in which these commands write down their arguments, each followed by a zero byte, and an empty one
# at the end.
_RECORDED = (
    *("reldn", "python", "make", "pip", "aws", "docker"),
    *("curl", "mkdir", "md5sum", "sha256sum", "unzip", "label-studio"),
)
_SHELL = "".join(f"{name}() {{ printf '%s\\0' {name} \"$@\" ''; }}\n" for name in _RECORDED)


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: file that it is in, relative to the repository.
        line: number of its first line.
        language: the word after the fence; may be empty.
        text: its lines.
        mark: the comment in the line above it, without the comment's signs; may be empty.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def kind(self) -> str:
        """First word of the mark: "run", "file", "long" or "needs"."""
        return self.mark.partition(":")[0]

    @property
    def detail(self) -> str:
        """What follows the first word of the mark."""
        return self.mark.partition(":")[2].strip()

    def commands(self) -> list[list[str]]:
        """The words of each command of a bash block, after the shell's work (variables, loops, backslashes).

        Raises:
            ValueError: the shell fails, or a command is none of those that are recorded.
        """
        done = subprocess.run(
            ["bash", "-eu", "-c", _SHELL + self.text], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError(f"{self}: {done.stderr}")
        found: list[list[str]] = [[]]
        for word in done.stdout.split("\0")[:-1]:
            if word:
                found[-1].append(word)
            else:
                found.append([])
        return found[:-1]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """All code blocks of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            above = text[: match.start()].rstrip("\n").rpartition("\n")[2].strip()
            mark = re.fullmatch(r"<!-- (.*) -->", above)
            indent, language, body = match.groups()
            found.append(
                Block(
                    page=str(page.relative_to(REPOSITORY)),
                    line=text[: match.start()].count("\n") + 1,
                    language=language,
                    text="\n".join(line.removeprefix(indent) for line in body.splitlines()),
                    mark=mark.group(1) if mark else "",
                )
            )
    return found
