"""How gepa is run: without what is wrong with it, and without a word."""

from evalpipe.generation.engine import TRAIN, VALIDATION, Loader


def test_ids_of_training_and_validation_never_meet():
    """gepa 0.1.4 shares its evaluation cache between the two sets by id."""
    train, validation = (Loader({3: "a", 7: "b"}, prefix) for prefix in (TRAIN, VALIDATION))
    assert not set(train.all_ids()) & set(validation.all_ids())
    assert train.fetch(train.all_ids()) == validation.fetch(validation.all_ids()) == ["a", "b"]
    assert [Loader.number_of(i) for i in train.all_ids()] == [3, 7]
    assert len(train) == 2


def test_an_id_may_be_part_of_a_path():
    assert Loader({3: "a"}, TRAIN).all_ids() == ["t000003"]
