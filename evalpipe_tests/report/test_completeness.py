import polars as pl

from evalpipe.report.completeness import COMPLETENESS, DEFECTS, completeness_frame


def traces(*rows: tuple[str, list[str], bool]) -> pl.LazyFrame:
    return pl.LazyFrame(
        [{"service_name": s, "defects": d, "is_complete": not d, "is_open": is_open} for s, d, is_open in rows],
        schema={
            "service_name": pl.String,
            "defects": pl.List(pl.String),
            "is_complete": pl.Boolean,
            "is_open": pl.Boolean,
        },
    )


def test_each_service_says_how_many_of_its_traces_are_whole_and_what_the_others_lack():
    shop, help_desk = completeness_frame(
        traces(
            ("shop", [], False),
            ("shop", ["missing_root", "orphan_span"], False),
            ("shop", ["orphan_span"], False),
            ("shop", ["unfinished"], True),  # it may still end
            ("help", [], False),
        )
    ).to_dicts()
    assert (shop["service_name"], shop["n_traces"], shop["n_open"]) == ("shop", 4, 1)
    assert shop["complete_share"] == 1 / 3
    assert [shop[name] for name in DEFECTS] == [1, 2, 0, 0, 0]
    assert shop["advice"] == DEFECTS["orphan_span"]
    assert (help_desk["complete_share"], help_desk["advice"]) == (1.0, None)


def test_the_share_of_a_service_with_only_open_traces_is_unknown():
    assert completeness_frame(traces(("shop", [], True)))["complete_share"].to_list() == [None]


def test_no_traffic_gives_no_rows():
    assert completeness_frame(traces()).schema == COMPLETENESS
