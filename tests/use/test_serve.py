"""The server's answers and refusals, request by request (FAULTS F1, F2, F4 to F7, F11 to F13, F15, F17)."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from saccade.api import load
from saccade.errors import ModelError, ResourceError, RunError, SaccadeError, UsageError
from saccade.finished import Run
from saccade.runs import RunFolder
from saccade.screen import QuietScreen
from saccade.use import serve_child
from saccade.use.serve import serve, with_token
from saccade.use.serve_app import build_app
from saccade.use.serve_child import Loaded, answer_in_pieces, try_out
from saccade.use.serve_messages import Answer, AskHeat, Limits, Options, Source, Squares
from saccade.use.serve_page import Page
from saccade.use.serve_problems import Problem
from saccade.use.serve_service import Service
from saccade.use.serve_worker import Worker

pytestmark = pytest.mark.usefixtures("quick_python")

OWN = "http://127.0.0.1:8000"


def _client(run: RunFolder, options: Options) -> TestClient:
    service = Service(partial(Worker, Source(str(run.path), "cpu")), options)
    return TestClient(build_app(service, Page(service)), base_url=OWN)


@pytest.fixture(scope="module")
def served(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The finished run, with a report."""
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path_factory.mktemp("served") / "colours")))
    run.write_report("<!doctype html><title>report</title>")
    return run


@pytest.fixture(scope="module")
def client(served: RunFolder) -> Iterator[TestClient]:
    limits = Limits(body_bytes=300_000, pictures=20, pixels=1_000_000)
    with _client(served, Options(limits=limits, allow_origins=("https://shop.example",))) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(served: RunFolder) -> Iterator[TestClient]:
    with _client(served, Options(host="0.0.0.0", token="correct-horse", allow_hosts=("animals.example",))) as client:
        yield client


@pytest.fixture(scope="module")
def picture(colours: Path) -> bytes:
    return (colours / "red" / "03.png").read_bytes()


def _send(client: TestClient, *pictures: bytes, name: str = "a.png") -> dict[str, object]:
    answer = client.post("/v1/predict", files=[("pictures", (name, data)) for data in pictures])
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _problem(answer: object, status: int, reason: str) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json", answer.text  # type: ignore[attr-defined]
    problem = Problem.model_validate(answer.json())  # type: ignore[attr-defined]
    found = (answer.status_code, problem.status, problem.reason)  # type: ignore[attr-defined]
    assert found == (status, status, reason), answer.text  # type: ignore[attr-defined]
    assert set(answer.json()) == set(Problem.model_fields)  # type: ignore[attr-defined]
    assert problem.model == answer.headers["saccade-model"]  # type: ignore[attr-defined]
    return problem


def test_f17_answers_are_those_of_the_python_api_to_the_last_bit(
    client: TestClient, finished: RunFolder, colours: Path
) -> None:
    paths = sorted(colours.glob("*/0*.png"))[::2]
    expected = load(finished.path, device="cpu").predict(paths)
    together = _send(client, *(path.read_bytes() for path in paths))["predictions"]
    for path, alone, among, want in zip(paths, paths, together, expected, strict=True):  # type: ignore[arg-type]
        (single,) = _send(client, alone.read_bytes())["predictions"]  # type: ignore[misc]
        wanted = [guess._asdict() for guess in want.guesses]
        assert among["guesses"] == wanted, path
        assert single["guesses"] == wanted, path
        assert sum(guess["probability"] for guess in wanted) == pytest.approx(1, abs=1e-12)


def test_f17_real_photographs_get_the_answers_of_the_python_api(finished: RunFolder, shared: Path) -> None:
    with zipfile.ZipFile(shared / "data" / "cats_and_dogs_small.zip") as archive:
        names = sorted(name for name in archive.namelist() if "/test/" in name and name.endswith(".jpg"))[::40]
        photographs = [archive.read(name) for name in names]
    classifier = load(finished.path, device="cpu")
    with _client(finished, Options()) as client:
        found = _send(client, *photographs)["predictions"]
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in photographs]
    by_class = [prediction.class_name for prediction in classifier.predict(pixels)]
    assert [row["guesses"][0]["class_name"] for row in found] == by_class  # type: ignore[index]


def test_raw_body_and_form_give_the_same_answer(client: TestClient, picture: bytes) -> None:
    raw = client.post("/v1/predict?top=2", content=picture, headers={"content-type": "image/png"}).json()
    form = _send(client, picture)
    assert raw["predictions"][0]["guesses"] == form["predictions"][0]["guesses"][:2]  # type: ignore[index]
    assert len(raw["predictions"][0]["guesses"]) == 2


def test_every_answer_carries_the_hash_of_the_weights_and_the_classes(
    client: TestClient, finished: RunFolder, picture: bytes
) -> None:
    digest = serve_child.file_hash(finished.best_path)
    answer = client.post("/v1/predict", files={"pictures": picture})
    assert answer.headers["saccade-model"] == answer.json()["model"] == digest
    assert answer.json()["class_names"] == ["blue", "green", "red"]
    about = client.get("/v1/model").json()
    assert (about["model"], about["class_names"], about["architecture"]) == (digest, ["blue", "green", "red"], "lenet5")
    for path in ("/", "/healthz", "/readyz", "/metrics", "/docs", "/nowhere"):
        assert client.get(path).headers["saccade-model"] == digest, path


def test_f01_body_above_the_limit_is_refused_with_and_without_its_length(client: TestClient) -> None:
    kind = {"content-type": "image/png"}
    problem = _problem(client.post("/v1/predict", content=b"x" * 300_001, headers=kind), 413, "body_too_large")
    assert "--max-body" in (problem.remedy or "")
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 100_000
            yield b"x" * 100_000

    _problem(client.post("/v1/predict", content=endless(), headers=kind), 413, "body_too_large")


def test_f02_too_many_parts_and_a_giant_field_are_refused(client: TestClient, picture: bytes) -> None:
    many = client.post("/v1/predict", files=[("pictures", (f"{number}.png", b"x")) for number in range(1000)])
    _problem(many, 413, "too_many_parts")
    _problem(
        client.post("/v1/predict", data={f"f{number}": "x" for number in range(2000)}, files={"a": b""}),
        413,
        "too_many_parts",
    )
    giant = client.post("/v1/predict", data={"pictures": "x" * 100_000}, files={"pictures": picture})
    _problem(giant, 400, "malformed_form")


def test_f04_what_is_sent_wrongly_is_named(client: TestClient, picture: bytes) -> None:
    post = partial(client.post, "/v1/predict")
    assert _problem(post(content=picture), 415, "content_type").field == "Content-Type"
    _problem(post(content=b"{}", headers={"content-type": "application/json"}), 415, "content_type")
    assert _problem(post(files={"file": picture}), 422, "unknown_field").field == "file"
    _problem(post(files={"pictures": ("empty.png", b"")}), 422, "empty_file")
    _problem(post(content=b"", headers={"content-type": "image/png"}), 422, "empty_file")
    _problem(post(content=b"--x", headers={"content-type": "multipart/form-data"}), 400, "malformed_form")
    _problem(post(content=b"--x--", headers={"content-type": "multipart/form-data; boundary=x"}), 422, "no_picture")
    assert _problem(client.post("/v1/predict?top=0", files={"pictures": picture}), 422, "invalid_parameter").field == (
        "query.top"
    )
    _problem(client.get("/v1/predict"), 405, "method_not_allowed")
    _problem(client.get("/v2"), 404, "not_found")


def test_f05_files_that_are_no_pictures_have_their_reason(client: TestClient, picture: bytes) -> None:
    large = io.BytesIO()
    Image.new("L", (1001, 1000)).save(large, "PNG")
    for data, reason in (
        (b"<html>not found</html>", "not_an_image"),
        (picture[: len(picture) // 2], "truncated"),
        (large.getvalue(), "too_many_pixels"),
        (b"%PDF-1.7 and so on", "unsupported_format"),
    ):
        problem = _problem(client.post("/v1/predict", files={"pictures": ("x.png", data)}), 422, reason)
        assert problem.predictions[0]["reason"] == reason
        _problem(client.post("/v1/explain", files={"pictures": ("x.png", data)}), 422, reason)


def test_f05_one_bad_picture_among_good_ones_costs_its_own_row_alone(client: TestClient, picture: bytes) -> None:
    rows = _send(client, picture, b"nothing", picture)["predictions"]
    assert [row.get("reason") for row in rows] == [None, "not_an_image", None]  # type: ignore[attr-defined]
    assert rows[0]["guesses"] == rows[2]["guesses"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\windows\\cat.png", "cat.png"),
        ("a\x1b[31m.png", "a?[31m.png"),
        ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
        ("한글.png", "한글.png"),
    ],
)
def test_f06_names_of_files_are_shown_and_never_paths(
    client: TestClient, picture: bytes, name: str, shown: str
) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="pictures"; filename="%s"\r\n\r\n%s\r\n--b--\r\n'
    body = form % (name.replace("\\", "\\\\").encode(), picture)
    answer = client.post("/v1/predict", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.json()["predictions"][0]["name"] == shown


def test_f07_compressed_body_is_refused(client: TestClient) -> None:
    kinds = {"content-type": "image/png", "content-encoding": "gzip"}
    _problem(client.post("/v1/predict", content=b"\x1f\x8b", headers=kinds), 415, "content_encoding")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.168.1.7", "", "[::1"]
)
def test_f12_foreign_names_of_the_server_are_refused(client: TestClient, host: str) -> None:
    _problem(client.get("/v1/model", headers={"host": host}), 403, "host_not_allowed")
    _problem(client.get("/", headers={"host": host}), 403, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_own_names_of_the_server_are_accepted(client: TestClient, host: str) -> None:
    assert client.get("/v1/model", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_f12_foreign_pages_may_not_post(client: TestClient, picture: bytes, headers: dict[str, str]) -> None:
    answer = client.post("/v1/predict", files={"pictures": picture}, headers=headers)
    _problem(answer, 403, "origin_not_allowed")


def test_own_page_may_post(client: TestClient, picture: bytes) -> None:
    headers = {"origin": OWN, "sec-fetch-site": "same-origin"}
    assert client.post("/v1/predict", files={"pictures": picture}, headers=headers).status_code == 200


def test_f13_only_listed_origins_are_told_that_they_may_read(client: TestClient, picture: bytes) -> None:
    listed = {"origin": "https://shop.example", "sec-fetch-site": "cross-site"}
    answer = client.post("/v1/predict", files={"pictures": picture}, headers=listed)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    asked = listed | {"access-control-request-method": "POST"}
    assert client.options("/v1/predict", headers=asked).headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in client.get("/v1/model").headers


def test_f12_token_is_needed_where_others_can_ask(guarded: TestClient, picture: bytes) -> None:
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "correct-horse"},
        {"authorization": "Bearer ü"},
    ):
        raw = {name: value.encode() for name, value in headers.items()}
        answer = guarded.post("/v1/predict", files={"pictures": picture}, headers=raw)
        _problem(answer, 401, "token_needed")
        assert answer.headers["www-authenticate"] == "Bearer"
    right = {"authorization": "Bearer correct-horse"}
    assert guarded.post("/v1/predict", files={"pictures": picture}, headers=right).status_code == 200
    for path in ("/v1/model", "/metrics", "/report"):
        assert (guarded.get(path).status_code, guarded.get(path, headers=right).status_code) == (401, 200), path
    for path in ("/", "/healthz", "/readyz", "/page/page.js", "/docs"):
        assert guarded.get(path).status_code == 200, path


def test_token_becomes_a_cookie_that_scripts_cannot_read(guarded: TestClient) -> None:
    _problem(guarded.post("/session", headers={"authorization": "Bearer wrong"}), 401, "token_needed")
    answer = guarded.post("/session", headers={"authorization": "Bearer correct-horse"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert guarded.get("/v1/model").status_code == 200
    guarded.cookies.clear()


def test_addresses_and_listed_names_are_accepted_where_others_can_ask(guarded: TestClient) -> None:
    for host, status in (("192.168.1.7:8000", 401), ("animals.example", 401), ("evil.example", 403)):
        assert guarded.get("/v1/model", headers={"host": host}).status_code == status, host


@pytest.mark.parametrize(
    ("host", "is_made"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("10.0.0.7", True)]
)
def test_token_is_made_where_others_can_ask(host: str, is_made: bool) -> None:
    assert bool(with_token(Options(host=host)).token) == is_made
    assert len(with_token(Options(host="10.0.0.7")).token) >= 32


def test_token_that_is_too_short_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 8"):
        with_token(Options(token="secret"))


def test_f15_addresses_of_pictures_are_not_fetched(client: TestClient) -> None:
    address = {"url": "http://127.0.0.1:8000/metrics"}
    _problem(client.post("/v1/predict", json=address), 415, "content_type")
    text = client.post("/v1/predict", data={"pictures": address["url"]}, files={"x": b""})
    _problem(text, 422, "not_a_file")
    assert client.post("/v1/predict", params=address).status_code == 415


def test_explain_gives_a_png_about_the_class_that_was_asked_for(client: TestClient, picture: bytes) -> None:
    answer = client.post("/v1/explain?class=green", files={"pictures": picture})
    assert (answer.headers["content-type"], answer.headers["saccade-class"]) == ("image/png", "green")
    assert Image.open(io.BytesIO(answer.content)).size >= (300, 300)
    named = client.post("/v1/explain", content=picture, headers={"content-type": "image/png"})
    best = _send(client, picture)["predictions"][0]["guesses"][0]["class_name"]  # type: ignore[index]
    assert named.headers["saccade-class"] == best
    assert named.content != answer.content
    _problem(client.post("/v1/explain?class=blu", files={"pictures": picture}), 400, "bad_request")
    assert unquote(answer.headers["saccade-heat"]) == "Grad-CAM, block2_pool, 5×5 places"
    two = client.post("/v1/explain", files=[("pictures", picture), ("pictures", picture)])
    _problem(two, 422, "too_many_pictures")


@pytest.fixture(scope="module")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`finished` as an ONNX file."""
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    Run(finished).export(path, quiet=True)
    return path


def test_exported_file_shows_by_occlusion_what_the_run_shows_by_occlusion(
    exported: Path, client: TestClient, picture: bytes
) -> None:
    asked = {"files": {"pictures": picture}}
    service = Service(partial(Worker, Source(str(exported), "cpu")), Options())
    with TestClient(build_app(service, Page(service)), base_url=OWN) as of_file:
        assert of_file.get("/v1/model").json()["explain_methods"] == ["occlusion"]
        answer = of_file.post("/v1/explain?class=red", **asked)  # type: ignore[arg-type]
        refused = of_file.post("/v1/explain?method=gradcam", **asked)  # type: ignore[arg-type]
    assert "method=occlusion" in (_problem(refused, 400, "bad_request").remedy or "")
    assert unquote(answer.headers["saccade-heat"]) == "occlusion, a grey square of 5×5 pixels at 121 places"
    expected = client.post("/v1/explain?class=red&method=occlusion", **asked)  # type: ignore[arg-type]
    other = client.post("/v1/explain?class=green&method=occlusion", **asked)  # type: ignore[arg-type]
    seen = [np.asarray(Image.open(io.BytesIO(each.content)).convert("L")).ravel() for each in (answer, expected, other)]
    same, apart = np.corrcoef(seen)[0, 1:]
    assert same > 0.95 > 0.5 > apart  # 0.98 and 0.23: the file covers places before it enlarges


def test_occlusion_that_would_hold_up_all_others_is_refused(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = serve_child.load(Source(str(finished.path), "cpu"))
    square = np.full((32, 32, 3), 90, np.uint8)
    assert loaded.heat(AskHeat(square, "occlusion", "")).png
    monkeypatch.setattr(serve_child, "_LONGEST_HEAT", 0.0)
    with pytest.raises(UsageError, match="100 places would take about"):
        loaded.heat(AskHeat(square, "occlusion", ""))
    assert loaded.heat(AskHeat(square, "gradcam", "")).png


def test_metrics_count_requests_and_pictures(client: TestClient, picture: bytes) -> None:
    def count(line: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(line)), 0.0)

    asked, bad = (
        'saccade_requests_total{path="/v1/predict",status="200"}',
        'saccade_pictures_total{outcome="truncated"}',
    )
    before = count(asked), count(bad)
    _send(client, picture, picture[:200])
    assert (count(asked), count(bad)) == (before[0] + 1, before[1] + 1)
    client.get("/something/that/is/not/there")
    assert "something" not in client.get("/metrics").text
    assert count("saccade_ready") == 1


def test_documentation_needs_no_other_server_and_knows_every_path(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    page = client.get("/docs").text
    assert {"/v1/predict", "/v1/explain", "/v1/model", "/healthz", "/readyz", "/metrics"} == set(schema["paths"])
    assert all(path in page for path in schema["paths"])
    assert "http" not in page.replace("http://127.0.0.1:8000", "")
    assert 'id="queue_full"' in page
    assert "multipart/form-data" in schema["paths"]["/v1/predict"]["post"]["requestBody"]["content"]


def test_page_and_report_are_strict_about_what_browsers_may_do(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in page.text
    assert "onclick" not in page.text
    assert "sandbox" in client.get("/report").headers["content-security-policy"]
    assert client.get("/page/page.js").headers["x-content-type-options"] == "nosniff"
    _problem(client.get("/page/../serve.py"), 404, "not_found")
    _problem(client.get("/page/index.html"), 404, "not_found")


def test_run_that_is_not_there_is_said_before_anything_listens(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        serve(str(tmp_path), Options(port=0), QuietScreen(), lambda address: None)


def test_f11_batch_that_is_too_large_is_tried_one_by_one() -> None:
    def answer(squares: Squares, top: int) -> list[Answer]:
        if len(squares) > 1 or squares[0, 0, 0, 0] == 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [Answer((("cat", 1.0),), True)]

    squares = np.zeros((4, 2, 2, 1), np.uint8)
    squares[2] = 9
    found = answer_in_pieces(answer, squares, 1)
    assert [isinstance(each, Answer) for each in found] == [True, True, False, True]
    assert isinstance(found[2], ResourceError)


def test_other_errors_of_the_network_are_not_taken_for_a_lack_of_memory() -> None:
    def answer(squares: Squares, top: int) -> list[Answer]:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        answer_in_pieces(answer, np.zeros((2, 2, 2, 1), np.uint8), 1)


def test_f14_weights_that_give_no_probabilities_are_refused(finished: RunFolder) -> None:
    loaded = serve_child.load(Source(str(finished.path), "cpu"))
    broken = Loaded(loaded.facts, lambda squares, top: [Answer((("cat", float("nan")),), True)], loaded.heat)
    with pytest.raises(ModelError, match="sum to nan"):
        try_out(broken)


def test_errors_of_the_process_arrive_as_what_they_are(finished: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        Worker(Source(str(tmp_path / "nothing"), "cpu"))
    with pytest.raises(SaccadeError, match="cannot be used"):
        Worker(Source(str(finished.path), "cuda:77"))


def test_classes_of_an_answer_are_json_that_strict_readers_take(client: TestClient, picture: bytes) -> None:
    answer = client.post("/v1/predict", files={"pictures": picture})
    assert json.loads(answer.content.decode("utf-8"), parse_constant=lambda word: pytest.fail(word))
