"""Embeddings, slots, figures, and the description of all there is."""

from pathlib import Path

import pytest
from vkrun.runtime.server.http.app import endpoints_of
from vkrun.runtime.server.http.options import Options
from vkrun.runtime.server.http.schemas import replies
from vkrun.runtime.server.jobs import Embedded, Failed
from vkrun.tests.unit.http_serving import asked, error_of, post, served, words, workers


def test_embeddings_are_jobs_of_their_own() -> None:
    ours = served(causal=False)
    made = post(ours, "/v1/embeddings", {"input": ["one", "two words"], "pooling": "cls"}).json()
    replies.EmbeddingsReply.model_validate(made)
    assert [list(job.ids) for job in workers(ours).jobs] == [words()[0].encode(t) for t in ("one", "two words")]
    assert all(job.embed and job.pooling == "cls" for job in workers(ours).jobs)
    assert [d["index"] for d in made["data"]] == [0, 1] and made["usage"]["prompt_tokens"] == 4


@pytest.mark.parametrize("text", ["", "x " * 600, [], [9999], [""]])
def test_texts_that_cannot_be_embedded(text: object) -> None:
    ours = served()
    assert post(ours, "/v1/embeddings", {"input": text}).status_code == 400
    assert workers(ours).jobs == []


def test_an_embedding_that_fails_is_a_status_and_ends_the_others() -> None:
    ours = served(script=lambda job: [Failed("lost", 1.0)] if job.id.endswith("0") else [30.0, Embedded((1.0,))])
    assert post(ours, "/v1/embeddings", {"input": ["a", "b"]}).status_code == 503
    assert workers(ours).jobs[1].id in workers(ours).cancelled


def test_slots_tell_no_words() -> None:
    told = asked(served(), "GET", "/slots").json()
    replies.SlotsReply.model_validate(told)
    assert [slot["is_processing"] for slot in told] == [False, True] and told[1]["n_reused"] == 3
    assert asked(served(Options(slots=False)), "GET", "/slots").status_code == 404


def test_slots_are_saved_in_their_folder_and_nowhere_else(tmp_path: Path) -> None:
    ours = served(Options(slot_save_path=tmp_path))
    for action in ("save", "restore", "erase"):
        done = post(ours, f"/slots/1?action={action}", {"filename": "a.bin"})
        assert done.json() == {"id_slot": 1, "n_tokens": 7}
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    for name in ("../a", "/etc/passwd", "a/b", ".hidden", "", "a\n", "a\x00b"):
        assert post(ours, "/slots/1?action=save", {"filename": name}).status_code == 400
    assert post(ours, "/slots/1?action=save", {}).status_code == 400
    assert post(ours, "/slots/9?action=save", {"filename": "a"}).status_code == 404
    assert post(ours, "/slots/1?action=forget", {"filename": "a"}).status_code == 400
    assert post(served(), "/slots/1?action=save", {"filename": "a"}).status_code == 501


def test_a_folder_that_cannot_be_written_is_told_without_its_path(tmp_path: Path) -> None:
    ours = served(Options(slot_save_path=tmp_path / "absent"))
    failed = post(ours, "/slots/1?action=save", {"filename": "a"})
    assert failed.status_code == 400 and "absent" not in error_of(failed)["message"]


def test_figures_for_prometheus() -> None:
    told = asked(served(Options(metrics=True)), "GET", "/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    values = dict(line.rsplit(" ", 1) for line in told.text.splitlines() if not line.startswith("#"))
    assert values["vkrun:tokens_predicted_total"] == "20.0" and values["vkrun:requests_deferred"] == "2.0"
    assert values['vkrun:requests_total{ended="failed"}'] == "1.0"
    assert asked(served(), "GET", "/metrics").status_code == 404


def test_the_description_has_every_endpoint_with_its_bodies() -> None:
    ours = served(Options(metrics=True))
    told = asked(ours, "GET", "/openapi.json").json()
    paths = {(method.upper(), path) for path, by_method in told["paths"].items() for method in by_method}
    assert paths == {(e.method, e.path.replace(":path", "").replace(":int", "")) for e in endpoints_of(ours)}
    said = told["paths"]["/v1/chat/completions"]["post"]
    assert said["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("ChatRequest")
    assert {"200", "400", "401", "413", "429", "503"} <= said["responses"].keys()
    fields = told["components"]["schemas"]["ChatRequest"]["properties"]
    temperature = next(kind for kind in fields["temperature"]["anyOf"] if kind["type"] == "number")
    assert (temperature["minimum"], temperature["maximum"]) == (0, 100)


def test_usage_of_many_prompts_counts_each_once() -> None:
    ours = served()
    made = post(ours, "/v1/completions", {"prompt": ["a", "b c"], "n": 2, "max_tokens": 1}).json()
    assert made["usage"]["prompt_tokens"] == 3 and made["usage"]["completion_tokens"] == 4
