"""The least that ingest must do, done alone: what evalpipe's own figures are held against in the same run."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from deltalake import WriterProperties, write_deltalake
from isal import igzip
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_ZSTD_1 = WriterProperties(compression="ZSTD", compression_level=1)  # as the lake appends


def inflate(gzipped: Sequence[bytes]) -> None:
    """Gunzip alone, by the fastest library."""
    for body in gzipped:
        igzip.decompress(body)


def parse(bodies: Sequence[bytes]) -> None:
    """Protobuf's own parser (upb, in C), whose objects nobody reads."""
    for body in bodies:
        ExportTraceServiceRequest.FromString(body)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """The same columns as a Parquet file, without a table round it."""
    frame.write_parquet(path, compression="zstd", compression_level=1)


def append_blindly(frame: pl.DataFrame, uri: str) -> None:
    """A Delta append that looks for no duplicate."""
    write_deltalake(uri, frame, mode="append", writer_properties=_ZSTD_1)
