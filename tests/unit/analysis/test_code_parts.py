"""A report names the parts of the source that are no longer what was registered."""

from kdpipe import version


def test_what_changed_and_what_has_another_name_since_is_named_as_it_was_registered():
    registered = version.hash_result_code()
    assert version.find_changed_parts(registered) == []
    earlier = registered | {"jobs": "another", "evidence": "of before the renaming"}
    assert version.find_changed_parts(earlier) == ["evidence", "jobs"]


def test_every_part_is_there_and_has_sources():
    empty = version._hash_sources()
    assert all(digest != empty for digest in version.hash_result_code().values())
