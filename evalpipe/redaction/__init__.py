"""Personal data and secrets in texts -> placeholders that say what stood there and whether it was the same.

detectors.py finds them in a piece of text, texts.py in columns of texts, tables.py in SPANS and REJECTIONS rows;
key.py keeps the key. Payloads on the wire are otlp/redact_payload.py's.
"""
