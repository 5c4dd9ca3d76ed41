"""Readers: what somebody trained -> SNN graph. One file per source."""
