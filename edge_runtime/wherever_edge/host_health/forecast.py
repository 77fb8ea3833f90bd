"""The words in which the cost of a call is spoken of: what it needs, showed, and may take."""

from __future__ import annotations

from typing import NamedTuple


class Work(NamedTuple):
    """What one call asks of a host.

    Attributes:
        model: the model's name.
        variant: the variant asked for; "": the host's own choice.
        up_bytes: what travels to the host.
        batch: how many rows it has.
    """

    model: str
    variant: str = ""
    up_bytes: int = 0
    batch: int = 1

    @property
    def kind(self) -> tuple[str, str, int, int]:
        """Works of one kind can be compared: the same model, sizes within a factor of two."""
        return self.model, self.variant, self.up_bytes.bit_length(), self.batch.bit_length()


class Traffic(NamedTuple):
    """What a call that was answered showed of its host.

    Attributes:
        work: what was asked.
        down_bytes: what travelled back.
        elapsed_s: from sending to the answer, everything included.
        queue_s: of it, waiting for the engine, as the host says.
        compute_s: of it, inside the engine, as the host says.
        connected: whether the call had to connect first.
    """

    work: Work
    down_bytes: int
    elapsed_s: float
    queue_s: float = 0.0
    compute_s: float = 0.0
    connected: bool = False


class Forecast(NamedTuple):
    """How long a call is expected to take.

    Attributes:
        latency_s: the quantile that was asked for.
        samples: how many recent observations stand behind it, each counting less as it ages; 0:
            a guess from priors.
    """

    latency_s: float
    samples: float
