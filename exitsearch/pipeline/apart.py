"""Measuring in a process of its own: a crash fails this alone, and a runtime may take its own threads.

The child is this module (`python -m exitsearch.pipeline.apart`), told what to do by one JSON object on stdin, so that
exact (placement, head) pairs arrive as they are.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from exitsearch.errors import ExitSearchError, InputError, UnavailableError
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.profile import Measuring, make_profile
from exitsearch.pipeline.watch import Quiet
from exitsearch.specs.document import Part
from exitsearch.specs.question.candidates import Pair


class MeasuringJob(Part):
    """One profile to make.

    Attributes:
        model: of which backbone.
        measuring: how.
        exits: of which heads, where.
        plugin: file that registers heads of the user's own.
        out: the file to write.
    """

    model: BackboneRequest
    measuring: Measuring
    exits: list[Pair]
    plugin: Path | None = None
    out: Path

    def run(self) -> None:
        """Measure and write."""
        if self.plugin is not None:
            from exitsearch.models.heads import load_plugin

            load_plugin(self.plugin)
        make_profile(self.model, self.measuring, exits=self.exits, watch=Quiet()).write(self.out)


def measure_apart(job: MeasuringJob) -> None:
    """Make a profile in a process of its own.

    Raises:
        UnavailableError: there is no such thing here; says what.
        ExitSearchError: it failed, and may succeed another time; says how.
        KeyboardInterrupt: it was interrupted.
    """
    done = subprocess.run(
        [sys.executable, "-m", "exitsearch.pipeline.apart"],
        input=job.model_dump_json(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if done.returncode < 0:
        raise ExitSearchError(
            f"the process that measured it was ended by signal {-done.returncode}; run the same command again"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]
        kind = UnavailableError if done.returncode == InputError.exit_status else ExitSearchError
        raise kind(last)


def main() -> int:
    """The child's side: returns the exit status of the command line."""
    try:
        MeasuringJob.model_validate_json(sys.stdin.read()).run()
    except ExitSearchError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
