"""What the demo shows to people: on a terminal a live timeline, elsewhere a line for each phase."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wherever.cli._demo_promise import GUESSED, MAX_DISAGREEMENT
from wherever.cli._demo_stream import DEADLINE_S
from wherever.cli._recording import Recording, quantile
from wherever.cli._timeline import COLOURS, timeline
from wherever_contracts.durations import duration

if TYPE_CHECKING:
    from wherever.cli._demo_asker import Asked
    from wherever.cli._demo_box import BoxPhase
    from wherever.cli._demo_calls import VersionResult
    from wherever.cli._demo_crashes import CrashResult
    from wherever.cli._demo_later import LaterResult
    from wherever.cli._demo_modes import Example, ModeResult
    from wherever.cli._demo_plans import PlansResult
    from wherever.cli._demo_promise import PromiseResult
    from wherever.cli._demo_story import Story
    from wherever.cli._demo_stream import PhaseResult
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.store import Package

FRAMES_PER_S = 12.0
WIDEST = 100

_MODES = f"   {'mode':<16}{'right':>9}{'median':>12}{'p95':>12}{'in the cloud':>16}"
_PHASES = (
    f"   {'phase':<12}{'calls':>7}{'failed':>8}{'right':>9}"
    f"{'device':>9}{'cloud':>7}{'kept':>7}{'slowest':>13}"
)
_ASKED = (
    f"   {'':<16}{'calls':>6}{'failed':>8}{'late':>6}{'right':>8}{'device':>8}{'waiting':>9}"
    f"{'slowest':>12}"
)
_PROMISED = f"   {'':<24}{'calls':>7}{'asked of the gateway':>24}{'differ':>10}"
_BOX = f"   {'':<12}{'calls':>7}{'failed':>8}{'right':>9}{'box':>9}{'device':>9}{'slowest':>14}"
_CONVERTED = f"   {'variant':<12}{'size':>10}{'right':>9}{'lost':>16}{'engine':>13}"
_VERSIONS = f"   {'version':<12}{'trust':<9}{'variant':<15}{'calls':>7}{'mixed':>8}{'right':>9}"
_PLANS = f"   {'':2}{'variant':<18}{'engine':<14}{'precision':<11}{'threads':>7}{'median':>16}"
_CRASHES = (
    f"   {'':<10}{'calls':>7}{'failed':>8}{'wrong':>7}{'by the next best':>18}"
    f"{'slowest':>12}{'back after':>13}"
)
_MOST_PLANS = 4
_COMMAND = 19
_INK_FULL = 16


class View:
    """Prints the demo as it goes.

    Args:
        console: where to; a quiet one for JSON.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, WIDEST)

    def opening(self, package: Package, digits: int, address: str, pid: int) -> None:
        """What is going to happen, and with what."""
        self.title("wherever demo")
        self.line(f"{digits} handwritten digits that no model here has seen; one predict():")
        small, large = (_variant(package, place) for place in ("device", "cloud"))
        self.line(f"  device  {small}, in this process", COLOURS["device"])
        self.line(f"  cloud   {large}, in gateway process {pid} at {address}", COLOURS["cloud"])

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """A spinner on a terminal."""
        return self._console.status(text)

    def title(self, text: str) -> None:
        """An act begins."""
        self._console.print()
        self.line(text, "bold")

    def line(self, text: str, style: str = "") -> None:
        """A line of its own, however long."""
        self._console.print(Text(f"   {text}", style=style), soft_wrap=True)

    def did(self, command: str, text: str) -> None:
        """What a command of ours did; "" goes on with what happened after it."""
        name = f"wherever {command}" if command else ""
        line = Text.assemble("   ", (f"{name:<{_COMMAND}}", "cyan"), text)
        self._console.print(line, soft_wrap=True)

    def quote(self, text: str) -> None:
        """What a command said, in as many lines as it takes."""
        for line in textwrap.wrap(text, self._width - _COMMAND - 3):
            self.line(f"{'':<{_COMMAND}}{line}", "italic")

    def modes(self, results: Sequence[ModeResult], threshold: float) -> None:
        """One line for each mode."""
        self.title("1  three modes, the same call")
        self.line(_MODES.removeprefix("   "), "dim")
        for result in results:
            self.line(_mode_row(result))
        self.line(f"auto asks the gateway only where the device is less than {threshold:.0%} sure.")

    @contextmanager
    def streaming(self, rate: float, acts: str) -> Generator[Callable[[Recording], None]]:
        """Around the stream; the function that it gives is to be called after every call."""
        self.title(f"2  {rate:.0f} calls a second; the gateway is {acts}")
        if not self._console.is_terminal:
            self.line(_PHASES.removeprefix("   "), "dim")
            yield lambda _: None
            return
        with Live(console=self._console, auto_refresh=False) as live:
            yield _Painter(live, self._width)

    def phase(self, result: PhaseResult) -> None:
        """A phase ended."""
        if not self._console.is_terminal:
            self.line(_phase_row(result))

    def streamed(self, recording: Recording, results: Sequence[PhaseResult]) -> None:
        """The stream ended."""
        if self._console.is_terminal:
            self._console.print()
            self.line(_PHASES.removeprefix("   "), "dim")
            for result in results:
                self.line(_phase_row(result))
        elif not self._console.options.ascii_only:
            self._console.print()
            self._console.print(timeline(recording, self._width))

    def example(self, example: Example | None, ink: Array | None) -> None:
        """One escalated call in full."""
        if example is None or ink is None:
            return
        self.title("3  one escalated call, explained")
        self.line(
            f"digit {example.position} is a {example.truth}; "
            f"the device alone said {example.device_said}, the gateway {example.prediction.value}"
        )
        self._console.print()
        explained = example.prediction.explain().splitlines()
        if self._console.is_terminal:
            self._console.print(Padding(_beside(_drawn(ink), explained), (0, 0, 0, 3)))
        else:
            for line in explained:
                self.line(line)

    def asked(self, phases: Sequence[Asked]) -> None:
        """What was asked while the gateway hung."""
        self.line(_ASKED.removeprefix("   "), "dim")
        for phase in phases:
            self.line(
                f"{phase.name:<16}{phase.calls:>6}{phase.failed:>8}{phase.late:>6}"
                f"{phase.right / phase.calls:>8.1%}{phase.device:>8}{len(phase.waiting):>9}"
                f"{phase.slowest_s * 1000:>9.1f} ms"
            )

    def came_later(self, result: LaterResult) -> None:
        """What another process than the one that asked got."""
        came = f"{result.came} of {result.waiting} answers"
        self.line(f"The gateway is thawed; another process has {came} {result.came_s:.1f} s later.")
        self.line(
            f"They correct {result.corrected} of the {result.wrong} that the device got wrong."
        )

    def promised(self, result: PromiseResult) -> None:
        """What a promise asked and kept, and how it was found to be endangered."""
        usual, shifted, lost = result.usual, result.shifted, result.lost
        n = usual.calls
        self.did("calibrate", f"on {result.calibrated} digits; asked about are {n} others")
        self.line(_PROMISED.removeprefix("   "), "dim")
        self.line(_promise_row("nothing is asked", n, 0, usual.alone))
        asks = f"max_disagreement={MAX_DISAGREEMENT:g}"
        self.line(_promise_row(asks, n, usual.escalated, usual.differ))
        self.line(_promise_row("everything is asked", n, n, 0))
        if shifted.alarm:
            self.line(
                f"Then digits come out of focus. After {shifted.after} of them an alarm is raised:"
            )
            self.quote(shifted.alarm)
            self.line(f"Since then the gateway was asked about all: {shifted.escalated} calls.")
        self.line(
            f"Without the gateway {lost.degraded} of {lost.calls} answers are unsure: degraded, "
            "and counted."
        )

    def replayed(self, result: PromiseResult) -> None:
        """What came of running recorded calls again, really and in thought."""
        self.did("replay", f"{result.receipts} receipts: {result.identical} identical, bit by bit")
        policy = f"--policy min_confidence={GUESSED:g}"
        self.did("", f"{policy}: asks {result.asked_if} times, not {result.asked}")

    def box_phase(self, phase: BoxPhase, *, head: bool = False) -> None:
        """The calls before or after the box was lost, perhaps with the head of the table."""
        if head:
            self.line(_BOX.removeprefix("   "), "dim")
        self.line(
            f"{phase.name:<12}{phase.calls:>7}{phase.failed:>8}{phase.right / phase.calls:>9.1%}"
            f"{phase.box:>9}{phase.device:>9}{phase.slowest_s * 1000:>11.1f} ms"
        )

    def converted(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """What the converter measured, the float network first."""
        self.line(_CONVERTED.removeprefix("   "), "dim")
        for row in sorted(rows, key=lambda row: bool(row["precision"] != "float32")):
            self.line(
                f"{row['precision']:<12}{row['bytes'] / 1000:>7.0f} KB{row['value']:>9.1%}"
                f"{row['drop'] * 100:>9.1f} points{row['latency_s'] * 1000:>10.3f} ms"
            )

    def versions(self, results: Sequence[VersionResult], failed: int) -> None:
        """What each version answered."""
        self.line(_VERSIONS.removeprefix("   "), "dim")
        for result in results:
            self.line(
                f"{result.version:<12}{result.trust:<9}{result.variant:<15}{result.calls:>7}"
                f"{result.mixed:>8}{result.right / result.digits:>9.1%}"
            )
        self.line(f"{failed} calls failed while versions changed.")

    def plans(self, result: PlansResult) -> None:
        """What was measured, and what answers since."""
        plans, rest = result.plans[:_MOST_PLANS], result.plans[_MOST_PLANS:]
        left = f", no time for {result.left} more" if result.left else ""
        count = f"{len(result.plans)} plan{'' if len(result.plans) == 1 else 's'}"
        self.did("profile", f"{count} in {result.took_s:.1f} s{left}")
        self.line(_PLANS.removeprefix("   "), "dim")
        for plan in plans:
            self.line(
                f"{'*' if plan.chosen else '':<2}{plan.variant:<18}{plan.engine:<14}"
                f"{plan.precision:<11}{plan.threads:>7}{duration(plan.median_s):>16}"
            )
        if rest:
            self.line(f"  and {len(rest)} more, up to {duration(rest[-1].median_s)}", "dim")
        told = f"{result.right / result.calls:.1%} of all {result.calls}"
        self.line(f"{result.ran.variant} in {result.ran.engine} answers now, and tells {told}.")

    def crashes(self, result: CrashResult) -> None:
        """What each death of the worker cost."""
        self.line(_CRASHES.removeprefix("   "), "dim")
        for phase in result.phases:
            self.line(
                f"{phase.name:<10}{phase.calls:>7}{phase.failed:>8}{phase.wrong:>7}"
                f"{phase.instead:>18}{phase.slowest_s * 1000:>9.1f} ms{phase.back_s:>11.2f} s"
            )
        self.line("One that is frozen is given a second, and then ended.")

    def closing(self, story: Story) -> None:
        """What to remember."""
        self._console.print()
        bad = story.failed or story.lost or story.mixed or story.wrong or story.broken
        self.line(
            f"{story.failed} of {story.calls:,} calls failed.",
            "bold " + (COLOURS["failed"] if bad else COLOURS["device"]),
        )
        if story.error:
            self.line(f"The first one said: {story.error}")
        for broken in story.broken:
            self.line(f"Not as promised: {broken}.", COLOURS["failed"])
        phases = story.phases
        with_it, without = (result.right / result.calls for result in phases[:2])
        self.line(
            f"With the gateway {with_it:.1%} of answers were right, without it {without:.1%}."
        )
        times = [f"{r.took_s:.1f} s after it was {r.mark}" for r in phases if r.waited]
        self.line(f"Asked again {' and '.join(times)}.")
        self.line(_on_freezing(phases))
        if story.later:
            self.line(_on_later(story.later))
        if story.promise:
            self.line(_on_promise(story.promise))
        if story.crashes:
            self.line(_on_crashes(story.crashes))

    def saved(self, path: str) -> None:
        """The picture was written."""
        self.line(f"The timeline is in {path}.")


class _Painter:
    """Repaints the timeline, no more often than a person can see."""

    def __init__(self, live: Live, width: int) -> None:
        self._live = live
        self._width = width
        self._due = 0.0

    def __call__(self, recording: Recording) -> None:
        now = monotonic()
        if now >= self._due:
            self._due = now + 1 / FRAMES_PER_S
            self._live.update(Group("", timeline(recording, self._width)), refresh=True)


def _variant(package: Package, place: str) -> str:
    """The variant for a place: its name, and how large it is."""
    manifest = package.manifest
    of_place = [variant for variant in manifest.variants if place in variant.places]
    variant = manifest.variant(manifest.reference) if place == "cloud" else of_place[0]
    size = sum(entry.bytes for entry in variant.files) / 1000
    return f"variant {variant.id} ({size:.0f} KB)"


def _mode_row(result: ModeResult) -> str:
    n = len(result.answers)
    median, p95 = (quantile(result.took_s, share) * 1000 for share in (0.5, 0.95))
    return (
        f"{result.mode:<16}{result.right / n:>9.1%}{median:>9.2f} ms{p95:>9.2f} ms"
        f"{result.cloud / n:>16.1%}"
    )


def _promise_row(name: str, calls: int, asked: int, differ: int) -> str:
    return f"{name:<24}{calls:>7}{asked:>15} = {asked / calls:>6.1%}{differ / calls:>10.1%}"


def _phase_row(result: PhaseResult) -> str:
    return (
        f"{result.name:<12}{result.calls:>7}{result.failed:>8}{result.right / result.calls:>9.1%}"
        f"{result.device:>9}{result.cloud:>7}{result.kept:>7}{result.slowest_s * 1000:>10.1f} ms"
    )


def _on_freezing(results: Sequence[PhaseResult]) -> str:
    for result in results:
        if result.mark == "frozen":
            return (
                f"Frozen, it cost {result.late} of {result.calls} calls the deadline of "
                f"{DEADLINE_S * 1000:.0f} ms, the others nothing."
            )
    return "This system cannot freeze a process, so that part was left out."


def _on_later(result: LaterResult) -> str:
    lost = f"{result.lost} of {result.waiting} later answers"
    return f"{lost} were lost with the process that waited for them."


def _on_promise(result: PromiseResult) -> str:
    usual = result.usual
    differ = f"{usual.differ} of {usual.calls} answers differed from the gateway's network"
    return f"{differ}; it was asked {usual.escalated} times."


def _on_crashes(result: CrashResult) -> str:
    back_s = max(phase.back_s for phase in result.phases)
    deaths = len(result.phases)
    return (
        f"The engine died {deaths} times: {result.wrong} wrong answers, back within {back_s:.1f} s."
    )


def _beside(picture: Text, lines: Sequence[str]) -> Table:
    """The picture, and right of it the lines, each as a name and what it is."""
    words = Table.grid(padding=(0, 2))
    words.add_column(justify="right", style="dim", no_wrap=True)
    for line in lines:
        name, _, text = line.strip().partition("  ")
        words.add_row(name, text.strip())
    both = Table.grid(padding=(0, 1))
    both.add_row(picture, words)
    return both


def _drawn(ink: Array) -> Text:
    """A digit in grey blocks, two columns for each of its pixels."""
    text = Text()
    for row in ink.tolist():
        for amount in row:
            grey = round(255 * amount / _INK_FULL)
            text.append("  ", style=f"on #{grey:02x}{grey:02x}{grey:02x}")
        text.append("\n")
    return text
