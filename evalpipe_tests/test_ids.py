from hypothesis import given
from hypothesis import strategies as st

from evalpipe.ids import canonical_json, content_hash, fingerprint, is_safe_name, issue_id, normalised_failure_mode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_equal_content_has_an_equal_hash_whatever_the_order_of_its_keys(value: dict):
    reversed_keys = dict(reversed(list(value.items())))
    assert content_hash(value) == content_hash(reversed_keys)
    assert canonical_json(value) == canonical_json(reversed_keys)


@given(JSON)
def test_a_fingerprint_fits_the_version_of_a_delta_transaction(value: object):
    assert 0 <= fingerprint(value) < 2**62


def test_one_failure_mode_in_two_spellings_is_one_issue():
    assert issue_id("Promised refund,  not issued!") == issue_id("promised_refund-not issued")
    assert issue_id("promised refund") != issue_id("promised refunds")
    assert normalised_failure_mode("  Réponse: VIDE ") == "réponse vide"


def test_an_id_that_would_leave_its_folder_is_not_a_name():
    assert is_safe_name("iss_0123456789")
    for hostile in ("../x", "a/b", "", ".hidden", "a\x00b", "x" * 200, "c:\\x"):
        assert not is_safe_name(hostile)
