"""The server: OTLP over HTTP and gRPC into the journal, and what answers to browsers and probes. Only this room
imports starlette, uvicorn and grpc.
"""
