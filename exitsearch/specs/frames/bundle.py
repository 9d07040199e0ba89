"""A bundle and its verification as tables: a row an exit, or a phase of requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from exitsearch.specs.frames.columns import FINAL, HEAD, MODULE, PLACEMENT
from exitsearch.specs.frames.config import budget_words
from exitsearch.specs.frames.frame import Cell, Column, Frame, counted

if TYPE_CHECKING:
    from exitsearch.specs.bundle import Bundle
    from exitsearch.specs.verification import Lateness, Verification


def _bundle_title(bundle: Bundle) -> str:
    exits = counted(len(bundle.exits), "exit")
    return f"bundle of {bundle.model.name}: {exits} and the final one, {bundle.format}, {bundle.precision}"


def _bundle_rows(bundle: Bundle) -> Iterator[tuple[Cell, ...]]:
    answers = bundle.latency.answers_ms(bundle.policy)
    for number, exit_ in enumerate([*bundle.exits, None]):
        segment, agreement = bundle.latency.segments[number], bundle.agreement[number]
        head = bundle.latency.heads[number] if exit_ else None
        yield (
            number,
            exit_.placement if exit_ else None,
            exit_.module if exit_ else None,
            str(exit_.choice) if exit_ else FINAL,
            bundle.values[number],
            segment.median,
            segment.p90,
            segment.p99,
            head.median if head else None,
            head.p90 if head else None,
            head.p99 if head else None,
            answers[number],
            agreement.agreement,
            agreement.samples,
            agreement.largest_difference,
            bundle.segments[number].file,
            bundle.heads[number].file if exit_ else None,
        )


_EXIT = {
    "exit": Column("number of the exit in the order of answering, from 0; the final one last", "whole"),
    "placement": PLACEMENT,
    "module": MODULE,
    "head": HEAD,
    "value": Column("higher is better: accuracy, or minus the error, as the bundle states it"),
}

BUNDLE = Frame(
    title=_bundle_title,
    columns=_EXIT
    | {
        "segment_ms": Column("median time of the segment that leads to it, in ms of one batch"),
        "segment_p90_ms": Column("90% of its times are below, in ms"),
        "segment_p99_ms": Column("99% of its times are below, in ms"),
        "head_ms": Column("median time of its head, in ms of one batch"),
        "head_p90_ms": Column("90% of its times are below, in ms"),
        "head_p99_ms": Column("99% of its times are below, in ms"),
        "answers_ms": Column("from the input to its answer at median times under the bundle's policy, in ms"),
        "agreement": Column("share of samples answered as in torch in fp32, from 0 to 1; missing: not compared"),
        "samples": Column("that answers were compared over", "whole"),
        "largest_difference": Column("of its outputs from those in torch in fp32, over random inputs"),
        "segment_file": Column("graph of the segment", "text"),
        "head_file": Column("graph of the head", "text"),
    },
    rows=_bundle_rows,
    brief=Frame(
        title=_bundle_title,
        columns={name: column for name, column in _EXIT.items() if name != "exit"}
        | {
            "head ms": Column("median time of its head, in ms of one batch"),
            "answers ms": Column("from the input to its answer at median times, in ms"),
            "agreement": Column("share of samples answered as in torch in fp32"),
        },
        rows=lambda bundle: [(*row[1:5], row[8], row[11], row[12]) for row in _bundle_rows(bundle)],
        notes=lambda bundle: [
            f"{bundle.policy}, {budget_words(bundle.budget, bundle.request)}.",
            f"Times with {counted(bundle.latency.threads, 'thread')} and batches of {bundle.latency.batch_size}.",
            f"{len(bundle.files)} files, {sum(facts.bytes for facts in bundle.files.values()) / 1e6:.2f} MB.",
        ],
    ),
)


def _verification_title(verification: Verification) -> str:
    found = "as predicted" if verification.within else "not as predicted"
    return f"verification of {verification.bundle}: {found}, {counted(len(verification.phases), 'phase')}"


def _phase_rows(verification: Verification) -> Iterator[tuple[Cell, ...]]:
    for phase in verification.phases:
        predicted, observed = phase.predicted, phase.observed
        yield (
            phase.name,
            phase.policy,
            phase.load,
            phase.correction,
            phase.decides,
            observed.requests,
            predicted.value,
            observed.value,
            *observed.interval,
            *phase.allowed,
            phase.within,
            predicted.no_answer,
            observed.no_answer,
            observed.refused,
            *_late(observed.late),
            *_late(observed.struck),
        )


def _late(late: Lateness | None) -> tuple[Cell, ...]:
    return (None, None, None) if late is None else (late.share, late.median_ms, late.worst_ms)


VERIFICATION = Frame(
    title=_verification_title,
    columns={
        "phase": Column("its name", "text"),
        "policy": Column("how requests were asked", "text"),
        "load": Column("busy processes beside it", "whole"),
        "correction": Column("whether plans were corrected by how slow the machine was", "flag"),
        "decides": Column("whether its value decides the status", "flag"),
        "requests": Column("how many there were", "whole"),
        "predicted": Column("expected value for the budgets that requests really had"),
        "observed": Column("mean value over requests"),
        "observed_low": Column("lower end of its bootstrap 95% interval"),
        "observed_high": Column("upper end of it"),
        "allowed_low": Column("lower end of the prediction's interval"),
        "allowed_high": Column("upper end of it"),
        "within": Column("whether the observed value lies in the prediction's interval", "flag"),
        "predicted_no_answer": Column("share of requests, from 0 to 1"),
        "no_answer": Column("observed share of requests without an answer, refusals among them"),
        "refused": Column("share of requests that were refused beforehand"),
        "late": Column("share of answers behind a hard deadline; missing where there was none"),
        "late_ms": Column("median of how late they were, in ms"),
        "latest_ms": Column("the most that one was late, in ms"),
        "struck": Column("share of interruptions behind their budget; missing where nothing was interrupted"),
        "struck_ms": Column("median of how far behind, in ms"),
        "struck_worst_ms": Column("the most that one was behind, in ms"),
    },
    rows=_phase_rows,
    brief=Frame(
        title=_verification_title,
        columns={
            "phase": Column("its name", "text"),
            "requests": Column("how many there were", "whole"),
            "predicted": Column("expected value for the budgets that requests really had"),
            "observed": Column("mean value over requests"),
            "within": Column("whether the observed value lies in the prediction's interval", "flag"),
            "no answer": Column("observed share of requests without an answer"),
            "late": Column("share of answers behind a hard deadline"),
        },
        rows=lambda verification: [(row[0], *row[5:8], row[12], row[14], row[16]) for row in _phase_rows(verification)],
        notes=lambda verification: verification.sentences,
    ),
)
