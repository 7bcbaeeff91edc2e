"""Results by way of a bucket are the same results, whatever fails on the way."""

import contextlib
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest
from helpers import bucket_server
from helpers.finished_study import PLAN, STUDENT, TEACHER
from werkzeug.wrappers import Response

from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.runs import copies, records, registrations, run_folder
from kdpipe.runs.files import compute_file_info, read_arrays, write_arrays
from kdpipe.runs.integrity import bucket, merge
from kdpipe.runs.integrity.verify import verify_store
from kdpipe.runs.store import Store

URL = "s3://bucket/some/prefix"
KEY = "/bucket/some/prefix"
UPLOAD = ["archive", "study.yaml", "--to", URL]
DOWNLOAD = ["merge", URL, "--results", "new/results"]


def results(store: Store) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for kind in records.RECORD_KINDS
        for path in sorted((store.root / kind).rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def record_of(store: Store, run) -> dict:
    record = records.read_record(store.run(run.name), None)
    assert record is not None
    return record


@pytest.fixture
def new(store):
    return Store(store.root.parent / "new" / "results")


def count_files(store: Store) -> int:
    """How many files the records of the study list."""
    found = [store.load_records(kind).values() for kind in records.RECORD_KINDS]
    return sum(len(record.get("files", {})) for each in found for record in each)


def refused(capsys, *words: str) -> str:
    assert main(list(words)) == 2
    message = capsys.readouterr().err
    assert message.startswith("kdpipe: ") and message.count("\n") == 1, message
    return message.removeprefix("kdpipe: ").rstrip("\n")


def test_what_comes_out_of_a_bucket_is_what_went_in(s3, store, new, say):
    assert say(*UPLOAD) == f"{URL}: 4 runs, 1 ensemble uploaded\n"
    n_files, n_results = count_files(store), len(PLAN.nodes_by_name)
    assert s3.count("PUT") == n_files + n_results and s3.count("HEAD") <= 1
    places = {request.removeprefix(f"PUT {KEY}/"): n for n, request in enumerate(s3.requests)}
    for run in PLAN.runs.values():  # the record comes last
        files = record_of(store, run)["files"].values()
        parts = [places[f"files/{info['sha256']}"] for info in files]
        assert max(parts) < places[f"runs/{run.name}/record.json"]
    s3.requests.clear()
    assert say(*DOWNLOAD) == f"{URL}: 4 runs, 1 ensemble merged\n"
    # One listing, and no object is asked for twice or looked up before.
    assert s3.count("GET /bucket?list-type=2") == 1
    assert len(s3.requests) == 1 + n_files + n_results
    assert results(new) == results(store) and not list(verify_store(new))
    assert sorted(path.name for path in new.root.iterdir()) == ["ensembles", "runs"]


def test_the_commands_of_the_manual(s3, store, new, say):
    page = (Path(__file__).parents[3] / "docs/how-to/machines.md").read_text()
    block = page.split("## Through a bucket")[1].split("```bash\n")[1].split("```")[0]
    s3.call("PUT", "/my-bucket")
    shutil.copy("study.yaml", "mine.yaml")
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [words[:2] for words in lines] == [["kdpipe", "archive"], ["kdpipe", "merge"]]
    say(*lines[0][1:])
    say(*lines[1][1:], "--results", str(new.root))
    assert results(new) == results(store)


def test_what_is_there_is_transferred_once(s3, store, new, say):
    say(*UPLOAD)
    s3.requests.clear()
    n_results = len(PLAN.nodes_by_name)
    assert say(*UPLOAD) == f"{URL}: nothing to upload, {n_results} there already\n"
    assert not s3.count("PUT") and s3.count("GET") == 1 + n_results
    say(*DOWNLOAD)
    s3.requests.clear()
    assert say(*DOWNLOAD) == f"{URL}: nothing to merge, {n_results} here already\n"
    assert s3.count("GET") == 1 + n_results == len(s3.requests)


def test_checkpoints_that_only_one_of_both_has_are_added(s3, store, new, say):
    """Also where the files of the other checkpoint are in the bucket alone."""
    whole, folder = record_of(store, TEACHER), store.run(TEACHER.name)
    epochs = list(whole["checkpoints"])
    assert epochs
    say(*UPLOAD)
    files = {name: i for name, i in whole["files"].items() if not name.startswith("checkpoints")}
    records.publish_record(folder, whole | {"checkpoints": {}, "files": files})
    shutil.rmtree(folder / "checkpoints")
    s3.requests.clear()
    assert "nothing to upload" in say(*UPLOAD) and not s3.count("PUT")
    assert say("merge", URL) == f"{URL}: 1 run merged, {len(PLAN.nodes_by_name) - 1} here already\n"
    assert record_of(store, TEACHER) == whole and not list(verify_store(store))


# --- kills


def kill_at(s3, words: list[str], number: int) -> int:
    """Run a command that is killed when it sends so many requests."""
    s3.requests.clear()

    def answer(request, n):
        if n == number:
            bucket_server.kill(child)

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.read(reader, 1)
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                code = main(words)
        finally:
            os._exit(code)
    s3.answer = answer
    os.write(writer, b".")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    s3.answer = lambda request, n: None
    os.close(reader), os.close(writer)
    return code


def moments(count: int) -> list[int]:
    step = 1 if os.environ.get("KDPIPE_FAULTS") == "all" else max(1, count // 6)
    return list(range(0, count, step))


@pytest.mark.slow
def test_an_upload_killed_at_any_request_is_never_read_as_whole(s3, store, new):
    expected = results(store)
    count = count_files(store) + len(PLAN.nodes_by_name) + 1
    for number in moments(count):
        s3.reset()
        assert kill_at(s3, UPLOAD, number) == -9
        shutil.rmtree(new.root, ignore_errors=True)
        code = main(DOWNLOAD)
        there = results(new)
        whole = {name.rsplit("/", 1)[0] for name in there if name.endswith("/record.json")}
        assert code in (0, 2) and {name.split("/")[1] for name in there} == {
            name.split("/")[1] for name in whole
        }
        assert there.items() <= expected.items()
        assert main(UPLOAD) == 0 and main(DOWNLOAD) == 0
        assert results(new) == expected, number


@pytest.mark.slow
def test_a_merge_killed_at_any_request_goes_on(s3, store, new, say):
    say(*UPLOAD)
    expected = results(store)
    for number in moments(count_files(store) + len(PLAN.nodes_by_name) + 1):
        shutil.rmtree(new.root, ignore_errors=True)
        assert kill_at(s3, DOWNLOAD, number) == -9
        for name, record in new.load_records("runs").items():
            assert all((new.run(name) / file).exists() for file in record["files"])
        staging = bucket.find_staging_folders(new)
        if new.load_records("runs"):
            (orphan,) = staging
            assert f"{orphan}: left by a killed process" in "\n".join(verify_store(new))
            message = say("prune", "study.yaml", "--yes", "--results", str(new.root))
            assert str(orphan) in message and not orphan.exists()
            assert kill_at(s3, DOWNLOAD, 2) == -9
        assert main(DOWNLOAD) == 0
        assert results(new) == expected and not list(verify_store(new)), number
        assert not bucket.find_staging_folders(new)


def test_what_a_killed_merge_has_downloaded_is_not_downloaded_again(s3, store, new):
    assert main(UPLOAD) == 0
    s3.requests.clear()
    assert main(DOWNLOAD) == 0
    parts = [request for request in s3.requests if "/files/" in request]
    info = record_of(store, TEACHER)["files"]["weights.safetensors"]
    staging = bucket.get_staging_folder(URL, new)
    shutil.rmtree(new.root)
    (staging / "files").mkdir(parents=True)
    weights = run_folder.weights_path(store.run(TEACHER.name))
    shutil.copy(weights, staging / "files" / info["sha256"])
    other = record_of(store, STUDENT)["files"]["weights.safetensors"]
    (staging / "files" / other["sha256"]).write_bytes(b"cut off")
    s3.requests.clear()
    assert main(DOWNLOAD) == 0 and results(new) == results(store)
    again = [request for request in s3.requests if "/files/" in request]
    assert sorted(again) == sorted(set(parts) - {f"GET {KEY}/files/{info['sha256']}"})


# --- answers that are slow, failed, cut off


def test_failed_answers_are_asked_for_again(s3, store, new, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "6")
    s3.answer = lambda request, n: bucket_server.fail(request, n) if n % 3 == 1 else None
    assert main(UPLOAD) == 0 and main(DOWNLOAD) == 0
    assert results(new) == results(store)


@pytest.mark.parametrize("words", [UPLOAD, DOWNLOAD])
def test_answers_that_fail_for_good_are_one_message(s3, store, new, capsys, words):
    if words is DOWNLOAD:
        assert main(UPLOAD) == 0
    s3.requests.clear()
    s3.answer = lambda request, n: bucket_server.fail(request, n) if n > 5 else None
    message = refused(capsys, *words)
    action = "written to" if words is UPLOAD else "read"
    assert message == (
        f"{URL} cannot be {action} ([Errno 121] We are ill): try again; what was done is not done "
        "again"
    )
    s3.answer = lambda request, n: None
    assert main(UPLOAD) == 0 and main(DOWNLOAD) == 0
    assert results(new) == results(store)


def test_slow_answers_are_waited_for_or_asked_for_again(s3, store, new, monkeypatch):
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 3)
    s3.answer = lambda request, n: time.sleep(6 if n == 4 else 0.05)
    assert main(UPLOAD) == 0
    s3.requests.clear()
    assert main(DOWNLOAD) == 0 and results(new) == results(store)


def test_a_server_that_does_not_answer_is_one_message(s3, store, capsys, monkeypatch):
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 0.2)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 2)
    s3.answer = bucket_server.wait(2)
    assert refused(capsys, *DOWNLOAD).startswith(f"{URL} cannot be read (")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert refused(capsys, *DOWNLOAD).startswith(f"{URL} cannot be read (Could not connect to")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    assert refused(capsys, *DOWNLOAD).startswith(f"{URL} cannot be read (Invalid endpoint")


def test_a_download_that_is_cut_off_is_not_taken_for_whole(s3, store, new, capsys):
    assert main(UPLOAD) == 0
    info = record_of(store, TEACHER)["files"]["weights.safetensors"]
    key = f"{KEY}/files/{info['sha256']}"
    half = s3.call("GET", key)[: info["bytes"] // 2]
    s3.answer = lambda request, n: Response(half) if request.path == key else None
    capsys.readouterr()
    assert main(DOWNLOAD) == 2
    reason = "damaged, not what the record of its run says"
    assert f"  left out  s3:/{key}: {reason}\n" in capsys.readouterr().out
    assert not new.run(TEACHER.name).exists() and new.load_records("runs")
    s3.answer = lambda request, n: None
    assert main(DOWNLOAD) == 0 and results(new) == results(store)


# --- what is wrong in the bucket


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_missing_object_is_named_and_its_run_left_out(s3, store, new, capsys, is_listed):
    assert main(UPLOAD) == 0
    info = record_of(store, TEACHER)["files"]["weights.safetensors"]
    key = f"{KEY}/files/{info['sha256']}"
    content = s3.call("GET", key)
    body = "<Error><Code>NoSuchKey</Code><Message>No such key.</Message></Error>"
    if is_listed:  # and removed before it is read
        s3.answer = lambda request, n: Response(body, 404) if request.path == key else None
    else:
        s3.call("DELETE", key)
    capsys.readouterr()
    assert main(DOWNLOAD) == 2
    message = capsys.readouterr().out
    place = f"s3:/{key}" if is_listed else f"{URL}/runs/{TEACHER.name}/weights.safetensors"
    assert f", 1 left out\n  left out  {place}" in message and "missing" in message
    assert not new.run(TEACHER.name).exists() and STUDENT.name in new.load_records("runs")
    s3.answer = lambda request, n: None
    if not is_listed:
        s3.call("PUT", key, content[:-1])  # of another size: uploaded again
    assert main(UPLOAD) == 0 and main(DOWNLOAD) == 0
    assert results(new) == results(store)


def test_files_without_a_record_and_what_is_foreign_are_not_read(s3, store, new, say):
    say(*UPLOAD)
    s3.call("DELETE", f"{KEY}/runs/{TEACHER.name}/record.json")
    s3.call("PUT", f"{KEY}/notes.txt", b"mine")
    s3.call("PUT", f"{KEY}/runs/{STUDENT.name}/notes.txt", b"mine")
    s3.call("PUT", f"{KEY}/runs/../../outside/record.json", b"{}")
    s3.call("PUT", f"{KEY}-2/runs/{TEACHER.name}/record.json", b"{}")
    assert say(*DOWNLOAD) == f"{URL}: 3 runs, 1 ensemble merged\n"
    assert not new.run(TEACHER.name).exists() and not list(new.root.rglob("notes.txt"))
    assert not (new.root.parent / "outside").exists()


@pytest.mark.parametrize("name", ["../../../outside", "/tmp/kdpipe-outside", ".lock/../x"])
def test_a_record_that_lists_a_file_elsewhere_writes_none(s3, store, new, name, capsys):
    """The object is there, under its checksum."""
    folder, record = store.run(TEACHER.name), record_of(store, TEACHER)
    info = compute_file_info(run_folder.weights_path(folder))
    assert main(UPLOAD) == 0
    records.publish_record(folder, record | {"files": record["files"] | {name: info}})
    s3.call("PUT", f"{KEY}/runs/{TEACHER.name}/record.json", (folder / "record.json").read_bytes())
    assert main(DOWNLOAD) == 2
    assert ": missing" in capsys.readouterr().out and not new.run(TEACHER.name).exists()
    assert not Path("/tmp/kdpipe-outside").exists()
    assert not list(new.root.parent.rglob("outside")) and not list(store.root.rglob("outside"))


def test_a_results_folder_that_another_tool_has_copied_is_read(s3, store, new, say):
    for name, content in results(store).items():
        s3.call("PUT", f"{KEY}/{name}", content)
    assert say(*DOWNLOAD) == f"{URL}: 4 runs, 1 ensemble merged\n"
    assert results(new) == results(store)


def test_an_archive_in_a_bucket_is_merged(s3, archive, new, say):
    s3.call("PUT", f"{KEY}/records.jsonl.gz", archive.read_bytes())
    assert say(*DOWNLOAD) == f"{URL}: 1 ensemble, 4 runs merged\n"
    assert new.archive_path.read_bytes() == archive.read_bytes()


# --- other copies, registrations


def train_elsewhere(store: Store) -> None:
    """The teacher as on another kind of processor."""
    folder = store.run(TEACHER.name)
    path = run_folder.weights_path(folder)
    arrays, about = read_arrays(path)
    write_arrays(path, {name: array * 1.001 for name, array in arrays.items()}, about)
    record, info = record_of(store, TEACHER), compute_file_info(path)
    records.publish_record(folder, record | {"files": record["files"] | {path.name: info}})


def test_a_record_that_differs_is_refused_before_anything_is_uploaded(s3, store, new, capsys):
    assert main(UPLOAD) == 0
    train_elsewhere(store)
    s3.requests.clear()
    message = refused(capsys, *UPLOAD)
    assert message.startswith(f"{URL} has other records of 1 runs or ensembles than results, ")
    assert "(file weights.safetensors)" in message and not s3.count("PUT")
    merge_code = main(["merge", URL])
    assert merge_code == 2 and "which stays" in capsys.readouterr().out
    assert copies.read_copies(store).keys() == {TEACHER.digest}


def test_copies_and_registrations_come_along(s3, store, new, say):
    known = {TEACHER.digest: {"0" * 64}}
    copies.add_copies(store, known)
    content = {
        "format": 2, "study": "tiny", "looks": [3], "names": [[*PLAN.nodes_by_name, "more"]],
    }  # fmt: skip
    path = registrations.registration_path("tiny", store)
    path.parent.mkdir()
    path.write_bytes(registrations.encode_registration(content))
    message = say(*UPLOAD)
    assert "\nIt holds test results that no report shows yet: " in message
    puts = [request for request in s3.requests if request.startswith("PUT")]
    assert {each.rsplit("/", 1)[1] for each in puts[:2]} == {"copies.json", "tiny.json"}  # first
    say(*DOWNLOAD)
    assert registrations.registration_path("tiny", new).read_bytes() == path.read_bytes()
    assert copies.read_copies(new) == known
    assert registrations.find_sealed_names(new).keys() == {*PLAN.nodes_by_name, "more"}
    path.write_bytes(registrations.encode_registration(content | {"looks": [2]}))
    with (
        pytest.raises(KdpipeError, match=f"^{URL}/registrations/tiny.json: another registration"),
        merge.open_sources([URL], store) as sources,
    ):
        merge.merge_results(sources, store)


# --- one message


def test_without_s3fs_it_says_how_to_install_it(store, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for words in (UPLOAD, DOWNLOAD):
        assert refused(capsys, *words) == (
            f"{URL}: buckets need s3fs, and s3fs is not installed here: pip install 'kdpipe[s3]', "
            "in a clone pip install -c requirements.lock -e '.[s3]'"
        )


def test_without_credentials_it_says_how_to_set_them(s3, store, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(store.root))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for words in (UPLOAD, DOWNLOAD):
        assert refused(capsys, *words).startswith(
            f"{URL}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
        )
    assert not s3.requests


def test_a_bucket_that_does_not_exist_is_named(s3, store, new, capsys):
    url = "s3://other/prefix"
    for words in (["archive", "study.yaml", "--to", url], ["merge", url]):
        message = refused(capsys, *words)
        assert message.startswith(f"{url}: there is no bucket other (The specified bucket does not")
    assert refused(capsys, *DOWNLOAD).startswith(f"{URL}: not a results folder (it has no run")


def test_access_that_is_denied_is_named(s3, store, capsys):
    body = "<Error><Code>AccessDenied</Code><Message>Not yours.</Message></Error>"
    s3.answer = lambda request, n: Response(body, 403, content_type="application/xml")
    for words in (UPLOAD, DOWNLOAD):
        message = refused(capsys, *words)
        assert message.startswith(f"{URL} cannot be read (Not yours): check the credentials")


@pytest.mark.parametrize("text", ["gs://bucket/x", "s3://", "s3:///", "http://host/results"])
def test_what_is_no_bucket_of_s3_is_refused(text, store, capsys):
    for words in (["archive", "study.yaml", "--to", text], ["merge", text]):
        assert refused(capsys, *words).startswith(f"{text}: give a folder, or a bucket as s3://")
    assert not bucket.is_url("a:b/results") and not bucket.is_url("results")


def test_a_damaged_file_is_not_uploaded(s3, store, capsys):
    weights = run_folder.weights_path(store.run(TEACHER.name))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    message = refused(capsys, *UPLOAD)
    assert message.startswith(
        f"{weights.relative_to(store.root.parent)}: damaged, not what the record of its run "
    )
    assert f"PUT {KEY}/runs/{TEACHER.name}/record.json" not in s3.requests


def test_results_of_which_only_an_archive_is_left_stay(s3, store, archive, say):
    shutil.rmtree(store.run(STUDENT.name))
    assert say(*UPLOAD) == (
        f"{URL}: 3 runs, 1 ensemble uploaded\n"
        f"1 of which only results/{archive.name} has the record stayed here\n"
    )
