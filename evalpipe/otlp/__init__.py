"""From OTLP bytes to columns: files, durable landing, wire format. Only this room imports opentelemetry-proto."""
