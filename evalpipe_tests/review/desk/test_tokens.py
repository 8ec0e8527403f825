from pathlib import Path

import pytest

from evalpipe.errors import InputError, StateError
from evalpipe.review.desk.tokens import has_tokens, issue_token, reviewer_of, revoke
from evalpipe_tests.review.made import NOON


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "review-tokens.json"


def test_a_token_opens_the_desk_of_its_reviewer_and_no_other(path: Path):
    ada, ben = issue_token(path, "ada", NOON), issue_token(path, "Bén", NOON)
    assert (reviewer_of(path, ada), reviewer_of(path, ben)) == ("ada", "Bén")
    for wrong in ("", ada[:-1], ada + " ", ada.swapcase(), "\ud800", "é"):
        assert reviewer_of(path, wrong) is None


def test_a_token_has_256_bits_and_fits_a_link(path: Path):
    tokens = {issue_token(path, "ada", NOON) for _ in range(20)}
    # 32 bytes in base 64 without padding: ceil(256 / 6) = 43 characters.
    assert len(tokens) == 20
    assert {len(token) for token in tokens} == {43}
    assert all(
        set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") for token in tokens
    )


def test_the_file_keeps_no_token_and_is_its_owners_alone(path: Path):
    token = issue_token(path, "ada", NOON)
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_token_ends_the_one_before(path: Path):
    old, new = issue_token(path, "ada", NOON), issue_token(path, "ada", NOON)
    assert (reviewer_of(path, old), reviewer_of(path, new)) == (None, "ada")


def test_a_revoked_token_opens_nothing(path: Path):
    token = issue_token(path, "ada", NOON)
    other = issue_token(path, "ben", NOON)
    assert revoke(path, "ada")
    assert not revoke(path, "ada")
    assert (reviewer_of(path, token), reviewer_of(path, other)) == (None, "ben")


def test_without_a_file_nobody_has_a_token(path: Path):
    assert not has_tokens(path)
    assert reviewer_of(path, "x") is None
    assert not revoke(path, "ada")
    issue_token(path, "ada", NOON)
    assert has_tokens(path)


def test_a_token_without_a_name_is_refused(path: Path):
    with pytest.raises(InputError, match="give a name"):
        issue_token(path, " ", NOON)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"ada": 1}', '{"ada": {}}', '{"ada": {"sha256": null}}'])
def test_a_broken_file_lets_nobody_in_and_says_what_to_do(path: Path, content: str):
    path.write_text(content)
    with pytest.raises(StateError, match="invite the reviewers again"):
        reviewer_of(path, "x")
