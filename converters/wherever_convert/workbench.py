"""Where files of one model are tried: through its own pipeline, on samples, by its metric."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from wherever_convert.judges import Judge, check_numbering, judge_for, measuring_options
from wherever_convert.measuring import Measured, engine_inputs, measure, write_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherever_contracts.tensors import Array
    from wherever_convert.draft import Draft
    from wherever_convert.model_file import ModelFile
    from wherever_convert.samples.sample import Sample
    from wherever_convert.samples.split import Split
    from wherever_edge.host import LoadedVariant

Part: TypeAlias = Literal["calibration", "test"]
_TRIED = "tried"


class Trial(NamedTuple):
    """What came of trying a file.

    `value` is the metric's, `drop` how much less than the reference's on the same samples,
    `agreement` how far the answers are the reference's, `n` how many samples there were.
    """

    value: float
    drop: float
    agreement: float
    n: int


@dataclass
class Workbench:
    """Where files of one model are tried.

    Attributes:
        draft: the package in the making; its first variant is the reference.
        parts: the samples: those that ranges and layers are chosen on, and those that decide.
        scratch: a directory for what is made on the way.
        advance: called after each sample that was answered.
        metric: how answers are scored; see `wherever_convert.judges.judge_for`.
    """

    draft: Draft
    parts: Split
    scratch: Path
    advance: Callable[[], None]
    metric: object = None

    @property
    def reference(self) -> str:
        """The id of the variant that others are compared with."""
        return self.draft.reference

    def samples(self, part: Part) -> Sequence[Sample]:
        """The samples of a part."""
        return self.parts.test if part == "test" else self.parts.calibration

    def judge(self, part: Part) -> Judge:
        """Who scores answers to a part's samples."""
        return self._judges[part]

    def inputs(self) -> Path:
        """A folder with an .npz file for each calibration sample: the reference's input tensors."""
        return self._inputs

    def feeds(self, most: int) -> list[dict[str, Array]]:
        """The reference's input tensors of the first `most` calibration samples."""
        with self.draft.opened(self.reference) as loaded:
            options = measuring_options(loaded.signature)
            some = self.parts.calibration[:most]
            return [engine_inputs(loaded, each, options) for each in some]

    def measured(self, variant_id: str, part: Part = "test", engine: str = "") -> Measured:
        """Ask a variant of the draft about every sample of a part.

        Raises:
            ConversionError: it cannot answer for one.
            EngineError: the engine cannot load it.
        """
        with self.draft.opened(variant_id, engine) as loaded:
            return self.measure(loaded, part)

    def measure(self, loaded: LoadedVariant, part: Part = "test") -> Measured:
        """The same for a variant that is loaded."""
        options = measuring_options(loaded.signature)
        return measure(loaded, self.samples(part), self.judge(part), options, self.advance)

    def reference_measured(self, part: Part = "test") -> Measured:
        """What the reference answers, asked once."""
        if part not in self._references:
            measured = self.measured(self.reference, part)
            check_numbering(self.judge(part), measured.kept)
            self._references[part] = measured
        return self._references[part]

    def trial(self, measured: Measured, part: Part = "test") -> Trial:
        """What measured answers are worth beside the reference's."""
        judge, reference = self.judge(part), self.reference_measured(part).kept
        value = judge.score(measured.kept, reference)
        drop = judge.score(reference, reference) - value
        agreement = judge.agreement(measured.kept, reference)
        return Trial(value, drop, agreement, len(measured.kept))

    def try_file(self, file: ModelFile, part: Part = "calibration", engine: str = "") -> Trial:
        """Try a file as if it were a variant; it is not one afterwards.

        Raises:
            ConversionError: it does not fit the reference's pipeline, or fails on a sample.
            EngineError: no engine can load it.
        """
        self.draft.add(_TRIED, file)
        try:
            return self.trial(self.measured(_TRIED, part, engine), part)
        finally:
            self.draft.drop(_TRIED)

    @cached_property
    def _judges(self) -> dict[Part, Judge]:
        with self.draft.opened(self.reference) as loaded:
            signature = loaded.signature
        return {
            "calibration": judge_for(signature, self.parts.calibration, self.metric),
            "test": judge_for(signature, self.parts.test, self.metric),
        }

    @cached_property
    def _references(self) -> dict[Part, Measured]:
        return {}

    @cached_property
    def _inputs(self) -> Path:
        folder = self.scratch / "inputs"
        with self.draft.opened(self.reference) as loaded:
            options = measuring_options(loaded.signature)
            write_inputs(loaded, self.parts.calibration, options, folder)
        return folder
