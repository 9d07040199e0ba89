"""The step `verify`: what a bundle was predicted to do, against what it does on this machine.

The rule. Requests of the bundle's own policy are asked on the machine as it is, with budgets drawn from the bundle's
distribution. The prediction is the expected value, by the bundle's own latency table and values, for the budgets and
pauses that these requests really had. Its interval reaches as far to each side as the 95% bootstrap interval of the
observed value reaches from its middle (the wider side; samples are drawn again with all of their requests), and one
point of accuracy further, or 1% of the way from no answer to the best exit for a regression. The observed value must
lie in it. Hard deadlines and runs beside load are shown, and do not decide.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.measure.pause import check_pause
from exitsearch.pipeline import verify_words
from exitsearch.pipeline.outcomes import Training
from exitsearch.pipeline.watch import Quiet, Watch
from exitsearch.specs.budget import BudgetDistribution, parse_budget
from exitsearch.specs.bundle import BUNDLE_FILE, Bundle
from exitsearch.specs.question.request import Policy
from exitsearch.specs.verification import Phase, Verification

if TYPE_CHECKING:
    from exitsearch.deploy.verify import Request
    from exitsearch.pipeline.verify_samples import AskedSamples
    from exitsearch.pipeline.watch import Progress
    from exitsearch.runtime import Session

SECONDS = 60.0
VERIFICATION_FILE = "verify.json"
# Beyond this the load is no neighbour any more, but a fault of typing.
_MOST_LOAD = 1024
_LONGEST_SETTLE_S = 3600.0
_POINT = 0.01


@dataclass(frozen=True)
class Verified:
    """What was verified.

    Attributes:
        file: where it was written.
        verification: what was written.
    """

    file: Path
    verification: Verification


@dataclass(frozen=True)
class _Run:
    """Requests that are asked in turns, at one time: each a policy, and whether plans are corrected."""

    when: str
    load: int
    asks: tuple[tuple[Policy, bool], ...]


def verify(
    bundle: Path | str,
    *,
    data: str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    budget: str | None = None,
    seconds: float = SECONDS,
    load: int = 0,
    settle: float = 0.0,
    pause_ms: float = 0.0,
    quantile: float = 0.99,
    threads: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Watch | None = None,
) -> Verified:
    """Hold a bundle against its prediction on this machine: `exitsearch verify`.

    Args:
        bundle: its folder.
        data: whose report split is asked; None takes the digits for the embedded default, and random inputs else.
        data_dir: where data sets that have a name are kept.
        download: fetch what is missing there.
        budget: a distribution as text instead of the bundle's own; `%` is a share of its backbone's time in the bundle.
        seconds: for all requests together, above 0.
        load: busy processes that the requests are asked beside once more, 0 to 1024.
        pause_ms: to wait before every request, as between two frames of a camera, 0 to 60,000.
        settle: seconds from the end of that load to the requests that are asked afterwards, 0 to 3600.
        quantile: by which hard deadlines are planned: 0.5, 0.9 or 0.99.
        threads: of one request; None: the bundle's own number.
        seed: of budgets and samples.
        out: the file to write; None: `verify.json` beside the bundle.
        watch: is shown the progress.

    Raises:
        InputError: the bundle, the data or an option cannot be.
        ExitSearchError: a graph failed, or the file cannot be written.
    """
    watch = watch or Quiet()
    if not 0 < seconds < float("inf"):
        raise InputError(f"--seconds must be above 0, found {seconds}; give a number of seconds")
    if isinstance(load, bool) or not 0 <= load <= _MOST_LOAD:
        raise InputError(
            f"--load must be a number of processes from 0 to {_MOST_LOAD}, found {load}; give a number in that range"
        )
    if not 0 <= settle <= _LONGEST_SETTLE_S:
        raise InputError(
            f"--settle must be from 0 to {_LONGEST_SETTLE_S:g} seconds, found {settle}; give a number in that range"
        )
    check_pause(pause_ms)
    asked = None if budget is None else parse_budget(budget)
    folder = Path(bundle)
    file = folder.resolve().parent / VERIFICATION_FILE if out is None else Path(out)
    with faults_as_errors():
        from exitsearch.runtime import load_bundle

        session = load_bundle(folder, threads=threads, quantile=quantile)
        manifest = Bundle.read(folder / BUNDLE_FILE)
        verification = _Verifier(
            session=session,
            bundle=manifest,
            training=Training(data=data, data_dir=None if data_dir is None else str(data_dir), download=download),
            budget=asked,
            threads=threads or manifest.latency.threads,
            pause_ms=pause_ms,
            seed=seed,
            watch=watch,
        ).verify(str(bundle), seconds=seconds, load=load, settle=settle)
    return Verified(verification.write(file), verification)


@contextmanager
def faults_as_errors() -> Iterator[None]:
    """Turn what the runtime refuses into this package's own errors, which commands print as one sentence."""
    from exitsearch.runtime import RuntimeFault

    try:
        yield
    except RuntimeFault as fault:
        kind = InputError if fault.exit_status == InputError.exit_status else ExitSearchError
        raise kind(str(fault)) from None


class _Verifier:
    """One verification."""

    def __init__(
        self,
        *,
        session: Session,
        bundle: Bundle,
        training: Training,
        budget: BudgetDistribution | None,
        threads: int,
        pause_ms: float,
        seed: int,
        watch: Watch,
    ) -> None:
        from exitsearch.pipeline.bundle_prediction import full_ms
        from exitsearch.pipeline.verify_samples import samples_of

        self.bundle, self.threads, self.seed, self.watch = bundle, threads, seed, watch
        self.pause_ms = pause_ms
        self.sessions = {True: session, False: session.replanned(correction=False)}
        self.budget = (budget or parse_budget(bundle.budget)).resolved(full_ms(bundle))
        self.budget.survival(0.0)  # a trace that cannot be read is said before anything runs
        if bundle.policy == "confidence" and not training.has_data_for(bundle.model.name):
            raise InputError(
                "under the policy confidence where an input leaves depends on the input, so that random ones verify "
                "nothing; name the data with --data"
            )
        self.samples: AskedSamples = samples_of(bundle, training, seed=seed, watch=watch)

    def verify(self, name: str, *, seconds: float, load: int, settle: float) -> Verification:
        """Run every phase."""
        from exitsearch.measure.machine.processor import cpu_name

        session = self.sessions[True]
        with self.watch.progress(f"verifying {name}") as report:
            report(0.0, "every exit over every sample")
            # Also warms everything up.
            worths = self.samples.worths(session)
            self.samples.outputs(session, 0, 1)
            runs, phases, sentences = runs_of(self.bundle.policy, load), list[Phase](), list[str]()
            for number, run in enumerate(runs):
                if run.when == "after":
                    time.sleep(settle)
                part = partial(_part, report, number / len(runs), (number + 1) / len(runs), _run_name(run))
                found, said = self._run(run, worths, seconds=seconds / len(runs), report=part)
                phases += found
                sentences += said
        metric = "accuracy" if self.bundle.model.task == "classification" else "minus the mean absolute error"
        deciding = next(phase for phase in phases if phase.decides)
        is_observed = self.samples.targets is not None
        return Verification(
            schema_version=Verification.current_version,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            bundle=name,
            bundle_identity=self.bundle.identity,
            cpu=cpu_name(),
            budget=str(self.budget),
            data=self.samples.source,
            samples=len(self.samples.inputs),
            values_observed=is_observed,
            seconds=seconds,
            settle=settle,
            pause_ms=self.pause_ms,
            quantile=session.quantile,
            seed=self.seed,
            phases=phases,
            sentences=[
                *verify_words.value_sentences(deciding, is_observed=is_observed, words=metric),
                *sentences,
            ],
            within=deciding.within,
        )

    def _run(
        self, run: _Run, worths: NDArray[np.float64] | None, *, seconds: float, report: Progress
    ) -> tuple[list[Phase], list[str]]:
        from exitsearch.deploy.verify import asking, observe
        from exitsearch.deploy.verify_load import busy_processes, disturbance, small_heap
        from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores
        from exitsearch.pipeline.bundle_prediction import fallback_value

        asks = {(policy, corrected): asking(self.sessions[corrected], policy) for policy, corrected in run.asks}
        named = {f"{policy} {corrected}": ask for (policy, corrected), ask in asks.items()}
        worth = partial(self.samples.worth, values=self.bundle.values, fallback=fallback_value(self.bundle))
        with busy_processes(run.load), small_heap():
            before = Snapshot.take()
            requests = observe(
                named,
                self.samples.inputs,
                self.budget,
                worth=worth,
                seconds=seconds,
                rng=np.random.default_rng(self.seed),
                pause_s=self.pause_ms / 1e3,
                extra=lambda: self.sessions[True].extra_ms,
                progress=lambda share: report(share, ""),
            )
            load = Load.between(before, Snapshot.take(), cores=usable_cores(), load_average=load_average())
        phases = [
            self._phase(run, policy, corrected, requests[f"{policy} {corrected}"], worths, load.facts())
            for policy, corrected in run.asks
        ]
        disturbed = verify_words.machine_sentence(phases[0], disturbance(load, threads=self.threads, own=run.load))
        said = [sentence for phase in phases for sentence in self._sentences(phase)]
        return phases, [*said, *([disturbed] if disturbed else [])]

    def _phase(
        self,
        run: _Run,
        policy: Policy,
        corrected: bool,
        requests: list[Request],
        worths: NDArray[np.float64] | None,
        state: Mapping[str, object],
    ) -> Phase:
        from exitsearch.deploy.verify_figures import allowed_interval, observed
        from exitsearch.pipeline.bundle_prediction import BundlePrediction, fallback_value

        session = self.sessions[corrected]
        seen = observed(requests, names=session.exits, policy=policy, seed=self.seed)
        predicted = BundlePrediction(self.bundle, session.manifest, policy, session.quantile).predict(
            self.budget,
            budgets_ms=[request.budget_ms for request in requests],
            extras_ms=[request.extra_ms for request in requests],
            worths=None if worths is None else worths[:, [request.sample for request in requests]].mean(axis=1),
        )
        # A worth of the user's own may be more than an accuracy can be.
        slack, most = _POINT, max(1.0, predicted.value)
        if self.bundle.model.task == "regression":
            slack, most = _POINT * abs(max(self.bundle.values) - fallback_value(self.bundle)), 0.0
        low, high = allowed_interval(predicted.value, seen, slack=slack, most=most)
        return Phase.given(
            "phase",
            name=_phase_name(run, policy, corrected),
            policy=policy,
            load=run.load,
            correction=corrected,
            decides=run.when == "quiet" and policy == self.bundle.policy,
            predicted=predicted,
            observed=seen,
            allowed=(low, high),
            within=low <= seen.value <= high,
            state=dict(state),
        )

    def _sentences(self, phase: Phase) -> list[str]:
        deadlines = verify_words.deadline_sentence(phase, quantile=self.sessions[True].quantile)
        return [words for words in (verify_words.strike_sentence(phase), deadlines) if words]


def runs_of(policy: Policy, load: int) -> list[_Run]:
    """What is run, in order: quiet, beside the load, and when that has gone.

    Args:
        policy: the bundle's own.
        load: busy processes; 0: nothing of it.
    """
    own = () if policy == "contract" else ((policy, True),)
    runs = [_Run("quiet", 0, (ask,)) for ask in (*own, ("contract", True))]
    if load:
        runs += [_Run("load", load, (ask,)) for ask in own]
        runs += [_Run("load", load, (("contract", True), ("contract", False)))]
        # With the session that has taken the load in.
        runs += [_Run("after", 0, (("contract", True),))]
    return runs


def _run_name(run: _Run) -> str:
    return _phase_name(run, *run.asks[0])


def _phase_name(run: _Run, policy: Policy, corrected: bool) -> str:
    words: dict[Policy, str] = {"interruptible": "interrupted", "contract": "deadlines", "confidence": "mean budget"}
    return f"{run.when}, {words[policy] if corrected else 'uncorrected'}"


def _part(report: Progress, begin: float, end: float, words: str, share: float, _words: str) -> None:
    report(begin + share * (end - begin), words)
