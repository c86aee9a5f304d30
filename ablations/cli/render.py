"""A report at the terminal: headline, statements and tables in the width that there is.

Knows what a report is made of, not how it was found. No name, value or column is cut: where a table is too wide its
columns are stacked and long texts continue in the next line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from analysis.report.page import Report, Section
from analysis.report.tables import Table

GAP, INDENT = 2, 2
MOST_WORD = 32
"""Characters of a word that a column makes room for; a longer one continues in the next line."""
LEAST_WIDTH = 16
"""A terminal is taken to be at least as wide."""
_BREAKS = " =/_,-."
"""Characters after which a text that does not fit continues in the next line; a blank first."""


def show(console: Console, report: Report, brief: bool = True) -> None:
    """Print a report, its headline last, where it is still in sight.

    Args:
        console: where to.
        report: what was found.
        brief: whether to leave out what a page has more room for: sections, rows and columns that are not marked
            brief, and how each part is read.
    """
    width = max(console.width, LEAST_WIDTH)
    for section in report.brief if brief else report.sections:
        lines = list(_section(section, width, brief))
        if lines:
            console.print()
            _print(console, Text(section.title, style="bold"))
        for text in lines:
            _print(console, text)
    console.print()
    for line in fold(report.headline, width):
        _print(console, Text(line, style="bold"))


def _print(console: Console, line: Text) -> None:
    console.print(line, soft_wrap=True, highlight=False)


def _section(section: Section, width: int, brief: bool) -> Iterator[Text]:
    """Yield a section's lines: how it is read unless that is left out, statements, tables with their notes."""
    for paragraph in (*(() if brief else section.text), *section.statements):
        yield from map(Text, fold(paragraph, width))
    for table in section.tables:
        shown = table.brief() if brief else table
        if shown.rows:
            yield from (Text(line, style="italic") for line in fold(shown.caption, width))
            yield from layout(shown, width)
            yield from (Text(part, style="dim") for part in fold(shown.note, width) if part)


def fold(text: str, width: int) -> list[str]:
    """Return a text in lines of at most this width, which lack nothing of it but the blanks where they end.

    >>> fold("repetition_penalty=1.15 top_p=0.9", 20)
    ['repetition_penalty=', '1.15 top_p=0.9']
    """
    lines = []
    for line in text.splitlines() or [""]:
        while len(line) > width:
            blank = line.rfind(" ", 0, width + 1)
            at = blank if blank > 0 else max(line.rfind(sign, 0, width) + 1 for sign in _BREAKS) or width
            lines.append(line[:at].rstrip())
            line = line[at:].lstrip()
        lines.append(line)
    return lines


@dataclass(frozen=True)
class _Plan:
    """How a table is set.

    Attributes:
        heading: places of columns whose texts stand in a line of their own above each row; equal ones once.
        stacks: places of the other columns, those of one stack below each other.
        widths: of each stack.
    """

    heading: tuple[int, ...]
    stacks: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]

    @property
    def height(self) -> int:
        """Columns of the highest stack."""
        return max(map(len, self.stacks))


def layout(table: Table, width: int) -> list[Text]:
    """Return a table's lines, none wider than this: with the lowest stacks of columns, then the fewest lines."""
    plans = list(_plans(table, width))
    lowest = min((plan.height for plan in plans), default=0)
    settings = [_set(table, plan, width) for plan in plans if plan.height == lowest]
    return min(settings, key=len) if settings else _listed(table, width)


def _listed(table: Table, width: int) -> list[Text]:
    """Return a table that has no room for two columns side by side: a line for each value, after its heading."""
    named = (f"{name}: {text}" for row in table.rows for name, text in zip(table.columns, row, strict=True))
    return [Text(line) for text in named for line in fold(text, width)]


def _plans(table: Table, width: int) -> Iterator[_Plan]:
    """Yield the ways to set a table that fit, the plainest first."""
    columns = range(len(table.columns))
    texts = [at for at in columns if not table.numeric[at]]
    for heading in ((), tuple(texts[:1]), tuple(texts[:2])):
        others = [at for at in columns if at not in heading]
        for height in range(1, len(others)):
            first = (
                [(0,)] if not heading and height > 1 and texts[:1] == [0] else []
            )  # what a row is about stands alone
            rest = others[len(first) :]
            stacks = (*first, *(tuple(rest[at : at + height]) for at in range(0, len(rest), height)))
            if widths := _widths(table, stacks, width - INDENT * bool(heading)):
                yield _Plan(heading, stacks, widths)
                break


def _widths(table: Table, stacks: Sequence[tuple[int, ...]], width: int) -> tuple[int, ...]:
    """Return the width of each stack where all fit side by side, else ()."""
    if not stacks:
        return ()
    free = width - GAP * (len(stacks) - 1)
    wanted = [max(_wanted(table, at) for at in stack) for stack in stacks]
    least = [max(_least(table, at) for at in stack) for stack in stacks]
    if sum(least) > free:
        return ()
    while sum(wanted) > free:  # the widest that can give way does
        at = max((at for at in range(len(stacks)) if wanted[at] > least[at]), key=lambda at: wanted[at])
        wanted[at] -= 1
    return tuple(wanted)


def _wanted(table: Table, at: int) -> int:
    """Return the width at which a column needs no second line."""
    return max(len(table.columns[at]), *(len(row[at]) for row in table.rows))


def _least(table: Table, at: int) -> int:
    """Return the least width of a column: its longest number, or its longest word."""
    heads = max((len(word) for word in table.columns[at].split()), default=1)
    texts = (row[at] for row in table.rows)
    if table.numeric[at]:
        return max(heads, *(len(text) for text in texts))
    return max(heads, *(min(len(word), MOST_WORD) for text in texts for word in text.split() or [""]))


def _set(table: Table, plan: _Plan, width: int) -> list[Text]:
    """Return the lines of a table."""
    indent = " " * (INDENT if plan.heading else 0)
    named = [table.columns[at] for at in plan.heading[:1] if table.columns[at]]
    heads = [*named, *_line(plan, table, table.columns, indent)]
    lines, before = [Text(line, style="bold") for line in heads], ""
    for row in table.rows:
        own = row[plan.heading[0]] if plan.heading else ""
        own += "".join(f" {table.columns[at]} {row[at]}" for at in plan.heading[1:])
        if own != before:
            lines += [Text(line) for line in fold(own, width)]
        before = own
        lines += [Text(line) for line in _line(plan, table, row, indent)]
    return lines


def _line(plan: _Plan, table: Table, row: Sequence[str], indent: str) -> list[str]:
    """Return one row, which may take several lines."""
    stacks = [
        [
            line.rjust(width) if all(table.numeric[other] for other in stack) else line.ljust(width)
            for at in stack
            for line in fold(row[at], width)
        ]
        for stack, width in zip(plan.stacks, plan.widths, strict=True)
    ]
    height = max(map(len, stacks))
    filled = [
        [*stack, *[" " * width] * (height - len(stack))] for stack, width in zip(stacks, plan.widths, strict=True)
    ]
    return [f"{indent}{(' ' * GAP).join(parts)}".rstrip() for parts in zip(*filled, strict=True)]
