import gzip
from collections import Counter
from datetime import date

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from evalpipe_tests.bench_ingest.payloads import SPANS_PER_TRACE, Traffic

DAY = date(2025, 9, 2)


def spans_of(traffic: Traffic) -> list[Span]:
    requests = map(ExportTraceServiceRequest.FromString, traffic.bodies())
    return [
        span
        for request in requests
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def test_equal_traffic_is_equal_byte_for_byte_and_another_seed_shares_no_span():
    traffic = Traffic(120, DAY)

    assert list(traffic.bodies()) == list(Traffic(120, DAY).bodies())
    ids = {span.span_id for span in spans_of(traffic)}
    assert len(ids) == 120
    assert not ids & {span.span_id for span in spans_of(Traffic(120, DAY, seed=2))}


def test_every_trace_has_one_root_and_eleven_spans_below_it():
    spans = spans_of(Traffic(120, DAY))

    assert set(Counter(span.trace_id for span in spans).values()) == {SPANS_PER_TRACE}
    roots = {span.trace_id: span.span_id for span in spans if not span.parent_span_id}
    assert len(roots) == 10
    assert all(span.parent_span_id in (b"", roots[span.trace_id]) for span in spans)


def test_first_passes_over_spans_and_the_rest_are_the_same():
    ids = [span.span_id for span in spans_of(Traffic(100, DAY, body_spans=1))]

    assert [span.span_id for span in spans_of(Traffic(40, DAY, first=60, body_spans=1))] == ids[60:]


def test_days_share_the_spans():
    starts = [span.start_time_unix_nano // (86_400 * 10**9) for span in spans_of(Traffic(101, DAY, n_days=2))]

    first = (DAY - date(1970, 1, 1)).days
    assert Counter(starts) == {first: 51, first + 1: 50}


def test_a_span_is_as_large_as_an_agent_applications_and_compresses_as_well():
    bodies = list(Traffic(2_400, DAY, body_spans=100).bodies())
    n_bytes = sum(map(len, bodies))

    assert n_bytes / 2_400 == pytest.approx(3_300, rel=0.1)
    assert n_bytes / sum(len(gzip.compress(body, 6)) for body in bodies) == pytest.approx(5.7, rel=0.1)
