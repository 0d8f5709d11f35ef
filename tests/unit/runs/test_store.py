"""The run directory survives kills, full disks, other processes and other people's files."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selfchallenge.episode import Episode, StopReason, as_json
from selfchallenge.errors import RecordError, StorageError, UsageError
from selfchallenge.runs import store
from selfchallenge.runs.store import FORMAT, RunDirectory, RunFiles, read_records
from selfchallenge.task import CodeAsTask, Record

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
records = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=3), max_size=6)


class Note(Record):
    """A small record."""

    number: int
    text: str = ""


@pytest.fixture
def run(tmp_path):
    with RunDirectory.open(tmp_path / "run", create=True) as opened:
        yield opened


# --- appending and reading ---


def test_what_is_appended_is_read_in_order(run):
    for number in range(3):
        run.append("notes.jsonl", Note(number=number))
    run.append("notes.jsonl", {"number": 3, "text": "a mapping\nwith a line break"})
    assert run.read("notes.jsonl", Note)[-1].text == "a mapping\nwith a line break"
    assert [line["number"] for line in run.read("notes.jsonl")] == [0, 1, 2, 3]


def test_a_file_that_is_not_there_holds_nothing(run):
    assert run.read("notes.jsonl") == []
    assert run.read_json("summary.json") is None


@given(text=st.text(), answer=values)
@example(text="", answer="\ud800")
@settings(max_examples=50, deadline=None)
def test_an_episode_comes_back_equal_whatever_the_model_wrote(tmp_path_factory, text, answer):
    episode = Episode(
        phase="train",
        task="t",
        attempt=0,
        model="m",
        seed=0,
        turns=({"role": "assistant", "content": text + "\ud800\x00\u2028", "token_ids": (1, 2)},),
        answer=answer,
        stop=StopReason.STEPS,
        reward=0.0,
        passed=False,
    )
    with RunDirectory.open(tmp_path_factory.mktemp("run"), create=True) as run:
        run.append("episodes.jsonl", episode)
        # Half a character in an answer is written out as the verifier sees it: as its escape.
        written = episode.model_copy(update={"answer": as_json(answer)})
        assert run.read("episodes.jsonl", Episode) == [written]


@given(before=records, after=records, cut=st.integers(0))
@settings(max_examples=60, deadline=None)
def test_a_kill_at_any_byte_loses_only_what_was_not_whole(tmp_path_factory, before, after, cut):
    path = tmp_path_factory.mktemp("run")
    with RunDirectory.open(path, create=True) as run:
        for record in before:
            run.append("x.jsonl", record)
    file = path / "x.jsonl"
    data = file.read_bytes() if before else b""
    kept = data[: cut % (len(data) + 1)]
    file.write_bytes(kept)
    whole = before[: kept.count(b"\n")]
    with RunDirectory.open(path, create=True) as run:
        assert run.read("x.jsonl") == whole
        for record in after:
            run.append("x.jsonl", record)
        assert run.read("x.jsonl") == whole + after


@pytest.mark.parametrize("tail", [b'{"number": 2', b"\0\0\0\0\n", b'{"number": 2\0\0\0\n', b"\xff"])
def test_a_torn_last_line_is_ignored_and_then_cut_off(run, tail):
    file = run.path / "notes.jsonl"
    file.write_bytes(b'{"number":1,"text":""}\n' + tail)
    assert run.read("notes.jsonl", Note) == [Note(number=1)]
    run.append("notes.jsonl", Note(number=3))
    assert file.read_bytes() == b'{"number":1,"text":""}\n{"number":3,"text":""}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{broken", "line 2"),
        (b"[1]", "not a JSON object"),
        (b'{"text": "no number"}', "line 2, field number"),
        (b'{"number": 1, "extra": 2}', "line 2, field extra"),
        (b'{"text": "\xff"}', "not UTF-8"),
    ],
)
def test_a_malformed_line_in_the_middle_is_named(run, line, said):
    good = b'{"number":1}\n'
    (run.path / "notes.jsonl").write_bytes(good + line + b"\n" + good)
    with pytest.raises(RecordError, match=said) as caught:
        run.read("notes.jsonl", Note)
    assert "notes.jsonl" in caught.value.where
    assert caught.value.fix


def test_a_process_killed_while_it_appends_leaves_whole_records(tmp_path):
    code = (
        "import sys; from selfchallenge.runs.store import RunDirectory\n"
        f"run = RunDirectory.open({str(tmp_path)!r}, create=True)\n"
        "for number in range(10**6):\n"
        "    run.append('x.jsonl', {'number': number, 'text': 'x' * 3000})\n"
        "    print(number, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        for _ in range(20):
            process.stdout.readline()
        process.kill()
        said = process.stdout.read()
    told = int(said.split()[-1]) if said else 19
    with RunDirectory.open(tmp_path, create=True) as run:
        numbers = [line["number"] for line in run.read("x.jsonl")]
        run.append("x.jsonl", {"number": -1})
        assert [line["number"] for line in run.read("x.jsonl")] == [*numbers, -1]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > told


# --- full disk ---


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; needs the right to mount."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_really_full_disk_loses_nothing_that_was_written(small_disk):
    with RunDirectory.open(small_disk / "run", create=True) as run:
        written, error = 0, None
        while error is None and written < 100:
            try:
                run.append("x.jsonl", {"number": written, "text": "x" * 3000})
                written += 1
            except StorageError as caught:
                error = caught
        assert error is not None
        assert "the disk is full" in error.what
        assert "goes on where it was" in error.fix
        with pytest.raises(StorageError, match="the disk is full"):
            run.write_json("summary.json", "x" * 30_000)
        assert run.read_json("summary.json") is None
        assert [line["number"] for line in run.read("x.jsonl")] == list(range(written))
        assert (run.path / "x.jsonl").read_bytes().endswith(b"}\n")
        assert sorted(p.name for p in run.path.iterdir()) == [".lock", "x.jsonl"]


def test_a_disk_that_fills_in_the_middle_of_a_line(run, monkeypatch):
    run.append("x.jsonl", {"number": 0})
    real, room = os.write, [5]

    def write(handle, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(handle, bytes(data[: room[0]]))
        room[0] = 0
        return written

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError, match="the disk is full"):
        run.append("x.jsonl", {"number": 1})
    monkeypatch.undo()
    run.append("x.jsonl", {"number": 2})
    assert [line["number"] for line in run.read("x.jsonl")] == [0, 2]


def test_an_interrupted_append_leaves_no_half_line(run, monkeypatch):
    run.append("x.jsonl", {"number": 0})
    real = os.write

    def write(handle, data):
        real(handle, bytes(data[:3]))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(KeyboardInterrupt):
        run.append("x.jsonl", {"number": 1})
    monkeypatch.undo()
    run.append("x.jsonl", {"number": 2})
    assert [line["number"] for line in run.read("x.jsonl")] == [0, 2]


# --- whole files ---


def test_a_whole_file_is_replaced(run):
    run.write_json("summary.json", {"a": 1})
    run.write_json("summary.json", {"b": ["é", "\ud800"]})
    assert run.read_json("summary.json") == {"b": ["é", "\ud800"]}


def test_a_replacement_that_fails_leaves_the_old_file(run, monkeypatch):
    run.write_json("summary.json", {"a": 1})

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="full"):
        run.write_json("summary.json", {"a": 2})
    assert run.read_json("summary.json") == {"a": 1}
    assert sorted(p.name for p in run.path.iterdir()) == [".lock", "summary.json"]


def test_a_whole_file_that_is_no_json_is_named(run):
    (run.path / "summary.json").write_bytes(b"\xff{")
    with pytest.raises(RecordError, match=r"summary\.json"):
        run.read_json("summary.json")


# --- holding the directory ---


def test_a_second_holder_is_told_who_holds_it(run):
    with pytest.raises(StorageError, match=f"process {os.getpid()} is using"):
        RunDirectory.open(run.path, create=True)
    run.close()
    RunDirectory.open(run.path, create=True).close()


def test_another_process_is_kept_out_and_may_look(run):
    run.write_json("run.json", {"format": FORMAT})
    run.append("x.jsonl", {"number": 1})
    code = (
        "import sys; from selfchallenge.runs.store import *\n"
        "print(RunFiles.view(sys.argv[1]).read('x.jsonl'))\n"
        "try: RunDirectory.open(sys.argv[1])\n"
        "except StorageError as error: print(error.what)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True
    ).stdout
    assert shown.splitlines() == [
        "[{'number': 1}]",
        f"process {os.getpid()} is using this run directory",
    ]


def test_closing_twice_is_fine(run):
    run.close()
    run.close()
    with RunDirectory.open(run.path, create=True) as again:  # nobody holds it any more
        assert again.path == run.path


@pytest.mark.parametrize("look", [RunFiles.view, RunDirectory.open])
def test_a_folder_that_is_no_run_is_refused(tmp_path, look):
    with pytest.raises(UsageError, match="no run directory"):
        look(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("look", [RunFiles.view, RunDirectory.open])
@pytest.mark.parametrize("text", ['{"format": 99}', "{}", "[]"])
def test_a_run_of_another_format_is_refused_and_let_go(tmp_path, look, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StorageError, match=f"this version reads format {FORMAT}"):
        look(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": FORMAT}))
    RunDirectory.open(tmp_path).close()


def test_a_path_that_cannot_be_a_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use this file"):
        RunDirectory.open(tmp_path / "file", create=True)


# --- files of users ---


def lines(tmp_path, data):
    file = tmp_path / "notes.jsonl"
    file.write_bytes(data)
    return list(read_records(file, Note))


def test_every_line_gives_a_record_or_an_error_with_its_number(tmp_path):
    found = lines(
        tmp_path,
        b'\xef\xbb\xbf{"number": 1}\r\n'
        b"\r\n"
        b"   \n"
        b"{broken\n"
        b'{"number": "many"}\n'
        b'{"number": 2, "text": "\xff"}\n'
        b"[1, 2]\n"
        b'{"number": 3, "text": "\\ud800"}\n'
        b'{"number": 4, "text": "\\ud83d\\ude00"}',
    )
    assert [number for number, _ in found] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [record.number for _, record in found if isinstance(record, Note)] == [1, 4]
    said = [str(record) for _, record in found if isinstance(record, RecordError)]
    for text, expected in zip(
        said,
        [
            "line 2",
            "an empty line",
            "line 4",
            "line 5, field number",
            "not UTF-8",
            "not a JSON object",
            "surrogate",
        ],
        strict=True,
    ):
        assert expected in text
        assert "notes.jsonl" in text


def test_hostile_json_is_an_error_and_not_a_crash(tmp_path):
    deep = b'{"text": ' + b"[" * 200_000 + b"}"
    huge = b'{"number": ' + b"1" * 10_000 + b"}"
    found = lines(tmp_path, deep + b"\n" + huge + b"\n" + b'{"number": 1}')
    assert [type(record) for _, record in found] == [RecordError, RecordError, Note]


def test_an_enormous_line_is_skipped_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LONGEST_LINE", 100)
    enormous = b'{"text": "' + b"x" * 1000 + b'"}'
    found = lines(tmp_path, enormous + b'\n{"number": 1}\n' + enormous)
    assert [number for number, _ in found] == [1, 2, 3]
    assert isinstance(found[1][1], Note)
    assert "longer than" in str(found[0][1])
    assert "longer than" in str(found[2][1])


def test_a_task_whose_id_does_not_match_is_named(tmp_path):
    task = {
        "environment": "shop",
        "instruction": "Cancel it.",
        "verifier": "def evaluate(): return False",
        "solution": "answer = 1",
        "failures": ["1", "2", "3"],
        "id": "0123456789abcdef",
    }
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps(task))
    [(number, error)] = read_records(file, CodeAsTask)
    assert number == 1
    assert isinstance(error, RecordError)
    assert "does not match" in error.what


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_missing_file_is_wrong_usage(tmp_path, name):
    with pytest.raises(UsageError, match="no such file"):
        list(read_records(tmp_path / name, Note))


def test_an_unreadable_file_is_a_storage_error(tmp_path, monkeypatch):
    file = tmp_path / "notes.jsonl"
    file.write_text("{}")

    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        list(read_records(file, Note))


@given(data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_records_or_errors(tmp_path_factory, data):
    found = lines(tmp_path_factory.mktemp("user"), data)
    assert len(found) <= data.count(b"\n") + 1
    assert all(isinstance(record, Note | RecordError) for _, record in found)
