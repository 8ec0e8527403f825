import re
from pathlib import Path

import polars as pl
import pytest

from evalpipe.errors import InputError
from evalpipe.review.queue.reviewers import Reviewer, fitting, load_reviewers
from evalpipe.settings import ReviewSettings

SETTINGS = ReviewSettings()


def test_without_a_file_there_is_one_default_reviewer(tmp_path: Path):
    assert load_reviewers(None, SETTINGS) == [Reviewer("reviewer", 100)]
    assert load_reviewers(tmp_path / "none.yaml", SETTINGS) == [Reviewer("reviewer", 100)]


@pytest.mark.parametrize(
    "text", ["- {name: ada, capacity: 30}\n- name: bo\n", "reviewers:\n- {name: ada, capacity: 30}\n- {name: bo}\n"]
)
def test_a_reviewer_without_a_capacity_has_the_usual_one(tmp_path: Path, text: str):
    path = tmp_path / "reviewers.yaml"
    path.write_text(text)
    assert load_reviewers(path, SETTINGS) == [Reviewer("ada", 30), Reviewer("bo", 100)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no list of reviewers"),
        ("reviewers: ada", "no list of reviewers"),
        ("- capacity: 3", "reviewer 1: needs a name"),
        ("- {name: ada, capacity: many}", "capacity must be a whole number"),
        ("- {name: ada, capacity: -1}", "capacity must be a whole number"),
        ("- {name: ada, domain: shop}", "unknown domain. Known: name, capacity, services, tools, words"),
        ("- {name: ada, services: shop}", "reviewer 1: services must be a list of texts"),
        ("- {name: bo}\n- {name: ada, words: []}", "reviewer 2: words must be a list of texts"),
        ("- {name: ada, tools: [1]}", "tools must be a list of texts"),
        ("- {name: ada}\n- {name: ada}", "ada is listed twice"),
        ("- {name: [", "not YAML"),
        ("- !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_a_reviewers_file_with_a_mistake_is_refused_by_name_and_place(tmp_path: Path, text: str, what: str):
    path = tmp_path / "reviewers.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(what)) as raised:
        load_reviewers(path, SETTINGS)
    assert "reviewers.yaml" in str(raised.value)


def test_a_domain_is_read_from_the_file(tmp_path: Path):
    path = tmp_path / "reviewers.yaml"
    path.write_text("- {name: ada, services: ['shop*'], tools: [refund], words: [money back]}")
    assert load_reviewers(path, SETTINGS) == [Reviewer("ada", 100, ("shop*",), ("refund",), ("money back",))]


def fits(reviewer: Reviewer, **trace: object) -> bool:
    usual = {"service_name": "shop", "tools": ["search"], "request": "Where is it?", "response": None}
    schema = {"service_name": pl.String, "tools": pl.List(pl.String), "request": pl.String, "response": pl.String}
    frame = pl.DataFrame({name: [value] for name, value in (usual | trace).items()}, schema=schema)
    return frame.select(fitting([reviewer])).item().to_list() == [0]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ({}, True),
        ({"services": ("sh*",)}, True),
        ({"services": ("sho",)}, False),  # a pattern is for the whole name
        ({"services": ("s.op",)}, False),  # a dot is a dot
        ({"services": ("s?op", "bank")}, True),
        ({"tools": ("sea*",)}, True),
        ({"tools": ("refund",)}, False),
        ({"words": ("WHERE",)}, True),
        ({"words": ("refund",)}, False),
        ({"services": ("shop",), "words": ("refund",)}, False),  # every filter that is given must fit
    ],
)
def test_a_trace_fits_who_has_it_in_their_domain(domain: dict, expected: bool):
    assert fits(Reviewer("ada", 1, **domain)) is expected


def test_a_trace_without_tools_or_words_fits_no_filter_on_them():
    empty = {"tools": [], "request": None, "response": None}
    assert not fits(Reviewer("ada", 1, tools=("*",)), **empty)
    assert not fits(Reviewer("ada", 1, words=("where",)), **empty)
