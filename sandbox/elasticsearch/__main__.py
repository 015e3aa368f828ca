"""``python -m sandbox.elasticsearch``: serve on port 9200 (moved by SANDBOX_PORT_OFFSET), data in var/elasticsearch."""

from __future__ import annotations

from sandbox import serving
from sandbox.elasticsearch.app import create_app

PORT = 9200

if __name__ == "__main__":
    serving.serve([(create_app(serving.var_dir("elasticsearch")), serving.port(PORT))], "elasticsearch")
