"""What is remembered of requests, against a model of it."""

from hypothesis import given
from hypothesis import strategies as st

from evalpipe.web.hook_ledger import Entry, Finished, Ledger, OtherQuestionError, ReplayedError

REQUEST = st.tuples(
    st.sampled_from(["ci", "other"]),
    st.integers(0, 3),  # the question, and with sent_at the signature
    st.integers(0, 1),
    st.sampled_from([None, "k1", "k2"]),
)


@given(requests=st.lists(REQUEST, max_size=14))
def test_a_signature_starts_one_gate_at_most_and_a_key_names_one_question(requests, tmp_path_factory):
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "requests.sqlite")
    of_key: dict[tuple[str, str], tuple[str, int]] = {}
    seals: set[tuple[str, str]] = set()
    for number, (by, question, sent_at, key) in enumerate(requests):
        seal = f"{question}/{sent_at}"
        try:
            known = ledger.known(by=by, seal=seal, key=key, asked=str(question))
            if known is None:
                ledger.add(Entry(f"id{number}", by, key, str(question), "{}", float(number)), seal=seal)
            said = f"id{number}" if known is None else known.id
        except ReplayedError:
            said = "replayed"
        except OtherQuestionError:
            said = "other question"
        first = None if key is None else of_key.get((by, key))
        if first is not None:
            expected = first[0] if first[1] == question else "other question"
        else:
            expected = "replayed" if (by, seal) in seals else f"id{number}"
        assert said == expected
        if expected == f"id{number}" and key is not None:
            of_key[by, key] = (said, question)
        if said.startswith("id"):
            seals.add((by, seal))
    ledger.close()


def test_what_is_unfinished_is_never_forgotten_and_what_is_finished_stays(tmp_path):
    ledger = Ledger(tmp_path / "requests.sqlite")
    for name in ("a", "b"):
        ledger.add(Entry(name, "ci", None, name, "{}", 1.0), seal=name)
    ledger.finish("a", Finished("done", exit_code=0), now=2.0)
    ledger.finish("a", Finished("failed", error="too late"), now=3.0)
    ledger.close()
    again = Ledger(tmp_path / "requests.sqlite")
    entry = again.get("a")
    assert entry is not None
    assert (entry.status, entry.exit_code) == ("done", 0)
    assert [each.id for each in again.unfinished()] == ["b"]
    again.forget(before=10.0)
    assert again.get("a") is None
    assert again.get("b") is not None
    assert again.known(by="ci", seal="a", key=None, asked="a") is None
    again.close()
