"""What commands print with: aligned lines in a terminal's width and colours, whole plain lines in a pipe, or JSON.

Nothing that a lab holds is trusted to be printable: names and configurations pass through `safe`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from rich.console import Console
from rich.text import Text

Cell: TypeAlias = "Text | str"

# Colours of kinds of births; chosen to differ in lightness too, not in hue alone.
KIND_STYLES = {
    "init": "bold cyan",
    "import": "bold cyan",
    "train": "green",
    "adapt": "green",
    "distill": "bright_green",
    "mutate": "yellow",
    "explore": "yellow",
    "exploit": "bright_yellow",
    "crossover": "bold magenta",
    "merge": "bold magenta",
    "prune": "red",
    "grow": "blue",
    "step": "white",
}
_ASCII = str.maketrans(
    {"…": "...", "→": "->", "●": "*", "◆": "M", "│": "|", "├": "|", "─": "-", "┼": "+", "┘": "'", "╰": "`"}
    | {
        "⋮": ":",
        "Δ": "change",
        "×": "x",
        "–": "-",
        "·": "-",
        "†": "x",
        "✗": "!",
        "“": '"',
        "”": '"',
        "★": "!",
        "≈": "~",
    }
)


def safe(text: str) -> str:
    """Text with control characters (newlines, terminal codes, direction marks) written as escapes.

    >>> safe("a\\nb\\x1b[31m")
    'a\\\\nb\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def styled(text: str, style: str = "") -> Text:
    """Safe text in a style; rich markup in it stays as it is written."""
    return Text(safe(text), style)


def joined(parts: Iterable[Cell], between: str = "  ") -> Text:
    """The parts that are not empty, with something between them."""
    return Text(between).join([part if isinstance(part, Text) else styled(part) for part in parts if part])


def kind_text(kind: str) -> Text:
    """A kind of birth in its colour."""
    return styled(kind, KIND_STYLES.get(kind, ""))


def names_text(names: Sequence[str]) -> Text:
    """Names that point to a model, as [one, two]."""
    return styled(f"[{', '.join(names)}]", "bold bright_white") if names else Text()


class Out:
    """Standard output of one command."""

    def __init__(self) -> None:
        self.console = Console(markup=False, emoji=False, highlight=False)
        self.terminal = self.console.is_terminal
        self.width = self.console.width if self.terminal else None
        self.unicode = (self.console.encoding or "").lower().startswith("utf")

    def line(self, content: Cell = "") -> None:
        """One line, cut at the terminal's width."""
        text = content if isinstance(content, Text) else styled(content)
        if self.width is not None and self.unicode:
            text = text.copy()
            text.truncate(self.width, overflow="ellipsis")
            self.console.print(text, no_wrap=True, overflow="ignore", crop=False)
            return
        plain = text.plain.rstrip()
        if not self.unicode:
            encoding = self.console.encoding or "ascii"
            plain = plain.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
        sys.stdout.write(plain + "\n")

    def paragraph(self, content: Cell) -> None:
        """Text that goes on in further lines where the terminal is too narrow."""
        text = content if isinstance(content, Text) else styled(content)
        for line in [text] if self.width is None else text.wrap(self.console, self.width):
            self.line(line)

    def title(self, text: str) -> None:
        """A heading, with an empty line before it."""
        self.line()
        self.line(styled(text, "bold"))

    def rows(
        self,
        rows: Sequence[Sequence[Cell]],
        *,
        header: Sequence[str] = (),
        right: Iterable[int] = (),
        stretch: int | None = None,
        indent: int = 0,
    ) -> None:
        """Aligned columns; empty ones are left out.

        Args:
            rows: cells, as many in each row.
            header: titles of the columns.
            right: columns aligned to the right.
            stretch: the column that is shortened where the terminal is too narrow.
            indent: spaces before each row.
        """
        cells = [[cell if isinstance(cell, Text) else styled(cell) for cell in row] for row in rows]
        if not cells:
            return
        filled = [place for place in range(len(cells[0])) if any(row[place] for row in cells)]
        if header:
            cells.insert(0, [styled(title, "dim") for title in header])
        widths = {place: max(row[place].cell_len for row in cells) for place in filled}
        if stretch in widths and self.width is not None:
            excess = indent + sum(widths.values()) + 2 * (len(filled) - 1) - self.width
            widths[stretch] = max(min(12, widths[stretch]), widths[stretch] - max(0, excess))
        aligned = set(right)
        for row in cells:
            line = Text(" " * indent)
            for place in filled:
                if place != filled[0]:
                    line.append("  ")
                cell = row[place]
                space = widths[place] - cell.cell_len
                if space < 0:
                    cell = cell.copy()
                    cell.truncate(widths[place], overflow="ellipsis")
                    space = 0
                line.append(" " * space if place in aligned else "")
                line.append_text(cell)
                line.append("" if place in aligned else " " * space)
            line.rstrip()
            self.line(line)

    def pairs(self, pairs: Iterable[tuple[str, Cell]], *, indent: int = 2) -> None:
        """Labelled facts; those without a value are left out, long ones go on below themselves."""
        shown = [(label, cell if isinstance(cell, Text) else styled(cell)) for label, cell in pairs if cell]
        margin = indent + max((len(label) for label, _ in shown), default=0) + 2
        for label, cell in shown:
            pieces = [cell]
            if self.width is not None and margin + cell.cell_len > self.width:
                pieces = list(cell.wrap(self.console, max(20, self.width - margin)))
            for place, piece in enumerate(pieces):
                start = Text(" " * indent).append(label if place == 0 else "", "dim")
                start.append(" " * (margin - start.cell_len))
                self.line(start.append_text(piece))

    def command(self, command: str) -> None:
        """A command to type next: whole, so that it can be copied."""
        line = Text("  ").append(safe(command), "cyan")
        if self.width is not None and line.cell_len > self.width:
            self.console.print(line, soft_wrap=True)
        else:
            self.line(line)

    def next_steps(self, *commands: str) -> None:
        """An empty line, then commands to type next."""
        self.line()
        for command in commands:
            self.command(command)


def print_json(value: Any) -> None:
    """One JSON value on one line of standard output; letters beyond ASCII are escaped, so that any pipe takes it."""
    sys.stdout.write(json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n")


def number(value: float) -> str:
    """A measured value: four decimals for small ones, fewer for large ones, an exponent where those do not do.

    >>> number(0.91234), number(1234.5), number(1.5e-7)
    ('0.9123', '1234.5', '1.500e-07')
    """
    size = abs(value)
    if value == 0 or 1e-3 <= size < 10:
        return f"{value:.4f}"
    if 10 <= size < 1000:
        return f"{value:.2f}"
    return f"{value:.1f}" if 1000 <= size < 1e6 else f"{value:.3e}"


def change(before: float | None, after: float | None) -> Text:
    """A difference with its sign, in colour; empty where one of the values is missing."""
    if before is None or after is None:
        return Text()
    gain = after - before
    return Text(
        f"{'+' if gain >= 0 else '-'}{number(abs(gain))}", "green" if gain > 0 else "red" if gain < 0 else "dim"
    )


def ago(moment: float, now: float | None = None) -> str:
    """How long ago, short; a date beyond thirty days.

    >>> ago(0, 90), ago(0, 7200)
    ('1m', '2h')
    """
    seconds = max(0.0, (time.time() if now is None else now) - moment)
    for limit, unit, letter in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h"), (30 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{int(seconds // unit)}{letter}"
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def duration(seconds: float) -> str:
    """A length of time for people.

    >>> duration(0.0123), duration(4.2), duration(200), duration(7500)
    ('12 ms', '4.2 s', '3m 20s', '2h 05m')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600:,}h {whole % 3600 // 60:02d}m"


def size(count: int) -> str:
    """Bytes in decimal units.

    >>> size(544), size(2_500_000)
    ('544 bytes', '2.5 MB')
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return "1 byte" if count == 1 else f"{count} bytes"


def plural(count: int, word: str) -> str:
    """`1 birth`, `2 births`, `3 studies`."""
    if count == 1:
        return f"1 {word}"
    return f"{count:,} {word[:-1]}ies" if word.endswith("y") else f"{count:,} {word}s"
