"""Latency and throughput: of artifacts side by side (artifacts, table), and of a Triton server (served)."""
