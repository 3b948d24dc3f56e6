"""The table of a proof: each figure beside its bar, and the verdict last."""

from __future__ import annotations

from typing import NamedTuple


class _Row(NamedTuple):
    what: str
    figure: str
    bar: str
    holds: bool | None


class Bars:
    """Collects the rows of one proof, prints each as it comes, and gives the exit status."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows: list[_Row] = []

    def at_most(self, what: str, value: float, bar: float, unit: str = "") -> None:
        """A figure that must not exceed its bar."""
        self._add(what, _text(value, unit), f"≤ {_text(bar, unit)}", value <= bar)

    def at_least(self, what: str, value: float, bar: float, unit: str = "") -> None:
        """A figure that must reach its bar."""
        self._add(what, _text(value, unit), f"≥ {_text(bar, unit)}", value >= bar)

    def must(self, what: str, holds: bool, detail: str = "") -> None:
        """A claim without a number."""
        self._add(what, detail or ("yes" if holds else "no"), "", holds)

    def say(self, what: str, figure: str) -> None:
        """A figure without a bar."""
        self._add(what, figure, "", None)

    def finish(self, figure: str) -> int:
        """Print the figure, last; 1 when a bar was missed."""
        missed = [row.what for row in self._rows if row.holds is False]
        verdict = "holds" if not missed else f"FALLS SHORT: {'; '.join(missed)}"
        print(f"\n{self._name}: {figure} — {verdict}", flush=True)
        return 1 if missed else 0

    def _add(self, what: str, figure: str, bar: str, holds: bool | None) -> None:
        self._rows.append(_Row(what, figure, bar, holds))
        verdict = {None: "", True: "holds", False: "FALLS SHORT"}[holds]
        print(f"  {what:<46} {figure:>16}  {bar:<14} {verdict}".rstrip(), flush=True)


def _text(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    number = f"{value:,.{digits}f}"
    return f"{number} {unit}" if unit else number
