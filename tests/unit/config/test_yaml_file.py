"""Study files as bytes: what is read, and what is refused in one plain sentence."""

import os
import time

import pytest
import yaml
from helpers import tiny_study
from helpers.hanging import end_within
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdpipe.config import load
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.plan import planner

TEXT = yaml.safe_dump(tiny_study.STUDY, default_flow_style=None).encode()


def test_plain_yaml_is_read_as_yaml_reads_it():
    text = "a: 1\nb: [1.5, x, null, true]\nc: {d: 5.0e-4}\ne: 'é'\n"
    expected = {"a": 1, "b": [1.5, "x", None, True], "c": {"d": 0.0005}, "e": "é"}
    assert load.parse_yaml(text.encode(), "f") == expected == yaml.safe_load(text)
    assert load.parse_yaml(TEXT, "f") == tiny_study.STUDY
    assert load.parse_yaml(b"\xef\xbb\xbfa: 1", "f") == {"a": 1}  # a byte order mark


@pytest.mark.parametrize(
    ("data", "output"),
    [
        (b"", "this is empty"),
        (b"[1, 2]", "this is a list"),
        (b"study", "this is a text"),
        (b"a: [1", "not valid YAML"),
        (b"a: b: c", "not valid YAML"),
        (b"a: 1\n\tb: 2", "not valid YAML"),
        (b"a: \x00", "not valid YAML"),
        (b"a: 2001-99-01", "not valid YAML"),
        (b"a: " + b"9" * 5000, "not valid YAML"),
        (b"a: 1\n---\nb: 2", "not valid YAML"),
        ("a: é".encode("latin-1"), "not UTF-8 text (byte 3)"),
        ("a: 1".encode("utf-16"), "not UTF-8 text (byte 0)"),
        (b"a: 1\nb: 2\na: 3", "line 3: duplicate key a"),
        (b"a: {b: 1, b: 1}", "duplicate key b"),
        (b"1: x", "the key 1 is not a string"),
        (b"on: x", "the key True is not a string"),
        (b"{[a]: 1}", "is not a string"),
        (b"a: 1\nb: [010]", "line 2: '010': write the number as a plain decimal"),
        (b"a: -0_7", "'-0_7': write the number as a plain decimal"),
        (b"a: 1:30", "'1:30': write the number as a plain decimal"),
        (b"a: 00.5", "'00.5': write the number as a plain decimal"),
        (b"sha256: 0" + b"1" * 63, "a checksum of digits alone is read as a number: put it in"),
        (b"a: &x [1]\nb: *x", "alias *x in line 2: not allowed"),
        (b"a: &x {b: 1}\nc:\n  <<: *x", "alias *x in line 3"),
        (b"[" * 5000, "nested deeper than 12 levels"),
        (b"- " * 5000, "nested deeper than 12 levels"),
        (b"? " * 5000, "nested deeper than 12 levels"),
        (b"{a: " * 5000, "nested deeper than 12 levels"),
        (b"a: '" + b"x" * 100_000 + b"'", "too long; a study file has at most 65,536 bytes"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(data, output):
    started = time.process_time()
    with pytest.raises(StudyError) as error:
        load.parse_yaml(data, "study.yaml")
    message = str(error.value)
    assert message.startswith("study.yaml: ") and output in message
    assert "\n" not in message and len(message) < 400
    assert time.process_time() - started < 1


BOMB = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c]\n" % (i + 1, i + 1, i, i) for i in range(ord("a"), ord("z"))
)


def test_a_bomb_of_aliases_does_not_go_off():
    with pytest.raises(StudyError, match=r"alias \*a in line 2"):
        load.parse_yaml(BOMB, "f")


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir [MARK]",
        "!!python/object/new:os.mkdir [MARK]",
        "!!python/name:os.system ''",
        "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [MARK]",
        "!!timestamp x",
        '!!int ""',
        '!!float ""',
        "!!bool x",
        "!!binary ////",
        "!own x",
    ],
)
def test_tags_are_refused_and_construct_nothing(tag, tmp_path):
    mark = tmp_path / "made"
    with pytest.raises(StudyError, match=r"line 1: the tag .*: tags are not allowed"):
        load.parse_yaml(f"study: {tag.replace('MARK', str(mark))}".encode(), "f")
    assert not mark.exists()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(StudyError, match="there is no such file"):
        load.read_yaml(tmp_path / "none.yaml")
    with pytest.raises(StudyError, match="this is a folder"):
        load.read_yaml(tmp_path)
    (tmp_path / "photos.yaml").touch()
    (tmp_path / "photos").mkdir()
    for word in ("photos.yml", "photo", "photos"):
        with pytest.raises(StudyError, match=r"; did you mean photos\.yaml\?"):
            load.read_yaml(tmp_path / word)
    (tmp_path / "long.yaml").write_bytes(b"#" * (load.MAX_BYTES + 1))
    with pytest.raises(StudyError, match="too long"):
        load.read_yaml(tmp_path / "long.yaml")
    secret = tmp_path / "secret.yaml"
    secret.write_text("a: 1")
    secret.chmod(0)
    if not os.access(secret, os.R_OK):  # root may read everything
        with pytest.raises(StudyError, match="cannot be read"):
            load.read_yaml(secret)


@pytest.mark.parametrize("kind", ["fifo", "device", "link", "folder"])
def test_what_is_no_file_is_neither_waited_for_nor_suggested(kind, tmp_path):
    path = tmp_path / "study.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    with end_within(10), pytest.raises(StudyError) as error:
        load.read_yaml(path)
    reason = {"link": "there is no such file", "folder": "this is a folder; give a study file"}
    expected = reason.get(kind, "cannot be read (it is not a regular file)")
    assert str(error.value) == f"{path}: {expected}"


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(TEXT) - 1),
            st.integers(0, 6),
            st.one_of(
                st.binary(min_size=1, max_size=3),
                st.sampled_from(
                    [b"!!int ", b"&a ", b"*a", b"<<: ", b"? ", b"[", b"}", b"\n", b"-"]
                ),
                st.sampled_from([b".nan", b".inf", b"0x", b"1e3", b"1:30", b"%", b"|\n", b"---\n"]),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(
    max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
def test_no_bytes_are_answered_but_by_a_plan_or_one_message(edits):
    text = bytearray(TEXT)
    for start, length, new in edits:
        text[start : start + length] = new
    try:
        content = load.parse_yaml(bytes(text), "f")
        planner.build_plan(load.validate_study(content, "f"))
    except KdpipeError as error:
        assert str(error).startswith("f: ")
