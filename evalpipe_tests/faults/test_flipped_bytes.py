from pathlib import Path

from evalpipe.home import Home
from evalpipe.ids import fingerprint
from evalpipe.otlp.payload import Payload
from evalpipe.otlp.segment import SUFFIX
from evalpipe.tables import REJECTIONS, SPANS
from evalpipe.traces.on_lake import take_in_day
from evalpipe_tests.bench_ingest.payloads import Traffic
from evalpipe_tests.faults.dying import NOW
from evalpipe_tests.faults.hammer import DAY

N_REQUESTS, BODY_SPANS = 20, 12


def test_flipped_bytes_in_one_segment_are_refused_and_every_other_segment_is_in_the_table(tmp_path: Path):
    home = Home.open(tmp_path)
    for seed in range(3):  # three segments
        traffic = Traffic(N_REQUESTS * BODY_SPANS, DAY, body_spans=BODY_SPANS, seed=seed)
        payloads = [Payload(body, "protobuf", "") for body in traffic.bodies()]
        home.landing.land(payloads, source=f"client {seed}", now=NOW)
    segments = home.landing.ledger()["segment_id"].to_list()
    flip(next(home.landing.root.rglob(f"{segments[1]}{SUFFIX}")))

    taken = take_in_day(home.landing, home.lake, DAY, reading=home.reading, now=NOW, made_from=fingerprint)

    counts = dict(home.lake.scan(SPANS).group_by("segment_id").len().collect().iter_rows())
    assert counts[segments[0]] == counts[segments[2]] == N_REQUESTS * BODY_SPANS
    assert counts.get(segments[1], 0) < N_REQUESTS * BODY_SPANS
    assert taken.n_refused >= 1
    rejected = home.lake.read(REJECTIONS)
    assert rejected["source"].unique().to_list() == [segments[1]]
    assert all("damaged" in reason for reason in rejected["reason"])


def flip(path: Path) -> None:
    """Other bits in sixteen bytes two thirds into a file: behind the index, before the end."""
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 16] = bytes(byte ^ 0xFF for byte in content[middle : middle + 16])
    path.chmod(0o600)
    path.write_bytes(content)
