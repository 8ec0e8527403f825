import re
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

N_REQUESTS, BODY_SPANS = 100, 12  # of some 40 KB: 26 of them are compressed as one
ZSTD_FRAME_BYTES = 1 << 20


def test_flipped_bytes_cost_what_was_compressed_with_them_and_everything_else_is_in_the_table(tmp_path: Path):
    home = Home.open(tmp_path)
    segments: dict[str, list[bytes]] = {}  # three, and the bodies in each
    for seed in range(3):
        bodies = list(Traffic(N_REQUESTS * BODY_SPANS, DAY, body_spans=BODY_SPANS, seed=seed).bodies())
        payloads = [Payload(body, "protobuf", "") for body in bodies]
        (segment_id,) = home.landing.land(payloads, source=f"client {seed}", now=NOW).segment_ids
        segments[segment_id] = bodies
    before, damaged, after = segments
    flip(next(home.landing.root.rglob(f"{damaged}{SUFFIX}")))

    taken = take_in_day(home.landing, home.lake, DAY, reading=home.reading, now=NOW, made_from=fingerprint)

    counts = dict(home.lake.scan(SPANS).group_by("segment_id").len().collect().iter_rows())
    assert counts[before] == counts[after] == N_REQUESTS * BODY_SPANS
    rejected = home.lake.read(REJECTIONS)
    assert taken.n_refused == rejected.height == 1
    assert rejected["source"].to_list() == [damaged]
    assert "damaged" in rejected["reason"][0]
    first, *last = map(int, re.findall(r"\d+", rejected["location"][0]))  # "payload 7", "payloads 7 to 9"
    lost = segments[damaged][first - 1 : (last or [first])[0]]
    assert 0 < sum(map(len, lost)) <= ZSTD_FRAME_BYTES
    assert counts[damaged] == (N_REQUESTS - len(lost)) * BODY_SPANS


def flip(path: Path) -> None:
    """Other bits in sixteen bytes two thirds into a file: behind the index, before the end."""
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 16] = bytes(byte ^ 0xFF for byte in content[middle : middle + 16])
    path.chmod(0o600)
    path.write_bytes(content)
