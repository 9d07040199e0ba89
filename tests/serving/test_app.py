"""The application over its routes: what it answers, what it refuses and counts, and one sentence for all else."""

from __future__ import annotations

import asyncio
import io
import re
import threading

import numpy as np
import pytest
from asking import ask, counted, timed_app, with_client
from serving_images import encoded
from tiny_bundle import write_tiny_bundle

from exitsearch.errors import InputError
from exitsearch.runtime import BundleError, load_bundle
from exitsearch.serving import create_app
from exitsearch.serving.admission.line import Asked
from exitsearch.serving.bounds import Bounds

PHOTO = {"Content-Type": "image/jpeg"}


def test_an_image_as_the_body_is_answered_as_by_the_session(bundle, session, jpeg):
    response = ask(create_app(bundle), content=jpeg, headers=PHOTO, params={"outputs": "true"})
    expected = session.predict(io.BytesIO(jpeg))
    found = response.json()
    assert response.status_code == 200
    assert (found["status"], found["in_time"]) == ("ok", True)
    assert (found["label"], found["name"], found["exit"], found["exit_name"]) == (
        expected.label,
        expected.name,
        2,
        "final",
    )
    np.testing.assert_allclose(found["outputs"], expected.outputs, atol=1e-6)
    assert found["confidence"] == pytest.approx(expected.confidence)
    assert found["budget_ms"] == 1000
    assert 0 < found["waited_ms"] < found["time_ms"]


def test_a_form_and_an_input_are_answered_alike(session, jpeg):
    app = create_app(session)
    x = session.prepare(io.BytesIO(jpeg))

    async def both(client):
        form = await client.post("/predict?outputs=true", files={"image": ("a.jpg", jpeg, "image/jpeg")})
        numbers = await client.post(
            "/predict?outputs=true",
            content=x.astype("<f4").tobytes(),
            headers={"Content-Type": "application/octet-stream"},
        )
        return form.json(), numbers.json()

    form, numbers = with_client(app, both)
    assert form["outputs"] == numbers["outputs"]
    assert form["outputs"] == [float(n) for n in session.predict(x).outputs]


def test_outputs_are_left_out_unless_wanted(session, jpeg):
    assert ask(create_app(session), content=jpeg, headers=PHOTO).json()["outputs"] is None


@pytest.mark.parametrize(("budget", "exit_"), [("1.75", 0), ("2.95", 1), ("3.95", 2)])
def test_the_budget_chooses_the_exit(session, jpeg, budget, exit_):
    """By p99 exits answer after 1.4, 2.6 and 3.6 ms; 0.3 are kept for the way back."""
    app, units = timed_app(session.manifest)
    found = ask(app, content=jpeg, headers=PHOTO | {"X-Budget-Ms": budget}).json()
    assert (found["exit"], found["status"], found["budget_ms"]) == (exit_, "ok", float(budget))
    assert units.heads_run == [exit_]
    assert counted(app, "answers_total", exit=f"{exit_}:{session.exits[exit_]}") == 1
    assert counted(app, "misses_total") == 0


def test_a_proxys_own_timeout_is_not_exceeded(session, jpeg):
    app, _ = timed_app(session.manifest)
    headers = PHOTO | {"X-Budget-Ms": "100", "X-Envoy-Expected-Rq-Timeout-Ms": "2.95"}
    assert ask(app, content=jpeg, headers=headers).json()["budget_ms"] == 2.95
    app, _ = timed_app(session.manifest)
    headers = PHOTO | {"X-Budget-Ms": "2.95", "X-Envoy-Expected-Rq-Timeout-Ms": "15000"}
    assert ask(app, content=jpeg, headers=headers).json()["budget_ms"] == 2.95


def test_a_budget_below_every_exit_is_refused_and_nothing_runs(session, jpeg):
    app, units = timed_app(session.manifest)
    response = ask(app, content=jpeg, headers=PHOTO | {"X-Budget-Ms": "1.6"})
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    found = response.json()
    assert (found["status"], found["reason"]) == ("refused", "budget")
    assert found["needed_ms"] == pytest.approx(1.4 + 0.3 + 0.001, abs=1e-3)
    assert units.heads_run == []
    assert counted(app, "refused_total", reason="budget") == 1


def test_an_answer_behind_its_deadline_says_so_and_is_counted(session, jpeg):
    app, _ = timed_app(session.manifest, slower=10.0)
    response = ask(app, content=jpeg, headers=PHOTO | {"X-Budget-Ms": "5"})
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["in_time"]) == ("late", False)
    assert counted(app, "misses_total") == 1


def test_a_machine_that_has_become_slow_refuses_and_comes_back(session, jpeg):
    app, units = timed_app(session.manifest, slower=4.0)
    headers = PHOTO | {"X-Budget-Ms": "4.1"}

    async def many(client):
        first = [(await client.post("/predict", content=jpeg, headers=headers)) for _ in range(30)]
        units.clock.now += 60.0
        units.slower = 1.0
        return [*first, await client.post("/predict", content=jpeg, headers=headers)]

    responses = with_client(app, many)
    assert responses[0].json()["status"] == "late"
    assert responses[-2].json()["reason"] == "slow"
    assert responses[-2].headers["Retry-After"] == "2"
    assert responses[-1].json()["status"] == "ok"


def test_whoever_is_admitted_is_refused_rather_than_late_where_time_ran_out_meanwhile(session, jpeg):
    """While the first is computed, the second waits; by the clock the first takes 50 ms instead of 3."""
    app, units = timed_app(session.manifest, bounds=Bounds(queue=4))
    inside, go_on = threading.Event(), threading.Event()

    def hold(position):
        if position == 0 and not inside.is_set():
            inside.set()
            assert go_on.wait(30)
            units.clock.now += 0.05

    units.before_segment = hold

    async def both(client):
        first = asyncio.create_task(client.post("/predict", content=jpeg, headers=PHOTO))
        await asyncio.to_thread(inside.wait, 30)
        second = asyncio.create_task(client.post("/predict", content=jpeg, headers=PHOTO | {"X-Budget-Ms": "20"}))
        while app.state.service.line.waiting < 1:
            await asyncio.sleep(0.001)
        behind = await client.post("/predict", content=jpeg, headers=PHOTO | {"X-Budget-Ms": "3"})
        go_on.set()
        return (await first).json(), (await second), behind

    first, second, behind = with_client(app, both)
    assert first["status"] == "ok"
    assert (second.status_code, second.json()["reason"]) == (503, "overtaken")
    assert (behind.status_code, behind.json()["reason"]) == (503, "queue")
    # Afterwards the session may look how slow the machine is, at its first exit, and again for the second run.
    assert units.heads_run[0] == 2
    assert set(units.heads_run[1:]) <= {0}


def test_a_full_queue_and_too_many_at_once_are_refused(session, jpeg):
    app, units = timed_app(session.manifest, bounds=Bounds(queue=1, connections=3))
    inside, go_on = threading.Event(), threading.Event()

    def hold(_):
        inside.set()
        assert go_on.wait(30)

    units.before_segment = hold
    line = app.state.service.line

    async def crowd(client):
        def send():
            return client.post("/predict", content=jpeg, headers=PHOTO)

        first = asyncio.create_task(send())
        await asyncio.to_thread(inside.wait, 30)
        second = asyncio.create_task(send())
        while line.waiting < 1:
            await asyncio.sleep(0.001)
        full = await send()
        async with asyncio.TaskGroup() as group:
            begun = asyncio.Event()
            group.create_task(client.post("/predict", content=dripping(begun, go_on), headers=PHOTO))
            await begun.wait()
            crowded = await send()
            go_on.set()
        return full, crowded, [(await task).status_code for task in (first, second)]

    full, crowded, others = with_client(app, crowd)
    assert full.json()["reason"] == "full"
    assert crowded.json()["reason"] == "connections"
    assert int(full.headers["Retry-After"]) >= 1
    assert others == [200, 200]


async def dripping(begun, until):
    """A body that goes on until an event comes."""
    while not until.is_set():
        begun.set()
        yield b"x"
        await asyncio.sleep(0.005)


def test_the_end_answers_who_was_admitted(session, jpeg):
    app, units = timed_app(session.manifest)
    service = app.state.service
    service.workers.start()
    inside, go_on, done = threading.Event(), threading.Event(), []

    def hold(_):
        inside.set()
        assert go_on.wait(30)

    units.before_segment = hold
    x = np.zeros((3, 8, 8), dtype="<f4").tobytes()
    for _ in range(3):
        service.line.admit(Asked(content=x, image=False, budget_ms=1e6, arrived=units.clock.now), done.append)
    assert inside.wait(30)
    end = threading.Thread(target=service.workers.close)
    end.start()
    go_on.set()
    end.join(30)
    assert [answer.status for answer, _ in done] == ["ok"] * 3
    assert ask(create_app(session), "GET", "/readyz").status_code == 200


def test_whoever_goes_away_while_waiting_is_not_computed_for(session, jpeg):
    app, units = timed_app(session.manifest)
    service = app.state.service
    inside, go_on = threading.Event(), threading.Event()

    def hold(_):
        inside.set()
        assert go_on.wait(30)

    units.before_segment = hold
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/predict",
        "raw_path": b"/predict",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"image/jpeg")],
        "server": ("server", 80),
        "scheme": "http",
    }

    async def leave(client):
        first = asyncio.create_task(client.post("/predict", content=jpeg, headers=PHOTO))
        await asyncio.to_thread(inside.wait, 30)
        messages = iter([{"type": "http.request", "body": jpeg, "more_body": False}])
        left = asyncio.Event()

        async def receive():
            for message in messages:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        second = asyncio.create_task(app(dict(scope), receive, send))
        while service.line.waiting < 1:
            await asyncio.sleep(0.001)
        left.set()
        await second
        go_on.set()
        return (await first).status_code

    assert with_client(app, leave) == 200
    assert units.heads_run == [2]
    assert counted(app, "abandoned_total") == 1


def test_a_confidence_and_a_mean_budget_are_asked_for(session, jpeg):
    app, units = timed_app(session.manifest)

    async def several(client):
        paths = ("?confidence=0.9", "?mean_budget_ms=2.5", "?mean_budget_ms=1", "?confidence=0.9&mean_budget_ms=2")
        return [await client.post("/predict" + path, content=jpeg, headers=PHOTO) for path in paths]

    sure, mean, low, both = with_client(app, several)
    assert (sure.json()["exit"], mean.json()["exit"]) == (0, 0)
    assert (low.status_code, both.status_code) == (422, 422)
    assert "at least 2" in low.json()["error"]
    assert units.heads_run == [0, 0]


def test_regression_answers_its_outputs(tmp_path):
    model = {"name": "tiny", "task": "regression", "num_outputs": 4, "classes": None}
    path = write_tiny_bundle(tmp_path / "bundle", model=model, policy="contract", confidence=None).path
    found = ask(create_app(path), files={"image": encoded("PNG")}).json()
    assert (found["label"], found["confidence"]) == (None, None)
    assert len(found["outputs"]) == 4


def test_a_graph_that_fails_is_a_sentence(tmp_path):
    session = load_bundle(write_tiny_bundle(tmp_path / "bundle").path)
    app = create_app(session)
    x = np.full((3, 8, 8), 3e38, dtype="<f4").tobytes()
    response = ask(app, content=x, headers={"Content-Type": "application/octet-stream"})
    assert response.status_code == 500
    assert "finite" in response.json()["error"]
    assert counted(app, "failures_total") == 1


def test_a_fault_of_ours_is_a_sentence_without_a_traceback(session, jpeg, monkeypatch, caplog):
    app = create_app(session)
    monkeypatch.setattr(app.state.service, "answer", lambda _: 1 / 0)
    response = ask(app, content=jpeg, headers=PHOTO)
    assert (response.status_code, response.json()) == (
        500,
        {"error": "the server failed over this request; its log says more"},
    )
    assert "ZeroDivisionError" in caplog.text
    assert "Traceback" not in caplog.text


def test_pages(session):
    app = create_app(session, bounds=Bounds(workers=2, queue=7))

    async def several(client):
        return [
            await client.get(path) for path in ("/healthz", "/readyz", "/bundle", "/metrics", "/docs", "/openapi.json")
        ]

    health, ready, facts, metrics, docs, schema = with_client(app, several)
    assert (health.status_code, ready.status_code) == (200, 200)
    assert facts.json()["exits"][0] == {"name": "0:linear", "value": 0.5, "planned_ms": 1.4, "planned_now_ms": 1.4}
    assert (facts.json()["bounds"]["workers"], facts.json()["bounds"]["queue"]) == (2, 7)
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in (
        "answers_total",
        "misses_total",
        "refused_total",
        "queue_length",
        "slow_down",
        "latency_seconds_bucket",
    ):
        assert f"exitsearch_{name}" in metrics.text
    assert "/predict" in docs.text
    assert not re.search(r"<script|https?://(?!HOST)", docs.text.replace("http://HOST", ""))
    assert "X-Budget-Ms" in str(schema.json()["paths"]["/predict"]["post"]["parameters"])
    assert set(schema.json()["components"]["schemas"]) >= {"AnswerForm", "ErrorForm", "RefusedForm"}
    assert app.state.service.line.closing


def test_a_server_that_closes_is_not_ready(session):
    app = create_app(session)

    async def closing(client):
        app.state.service.line.close()
        return await client.get("/readyz"), await client.get("/healthz")

    ready, health = with_client(app, closing)
    assert (ready.status_code, health.status_code) == (503, 200)


def test_what_the_factory_refuses(tmp_path, session):
    with pytest.raises(BundleError):
        create_app(tmp_path)
    with pytest.raises(InputError, match="budget must be a number"):
        create_app(session, budget_ms=0)
    with pytest.raises(InputError, match="workers must be a whole number from 1"):
        Bounds(workers=0)
    with pytest.raises(InputError, match="body_seconds must be"):
        Bounds(body_seconds=float("nan"))
