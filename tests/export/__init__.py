"""Tests of the export of live modules: forms that must be exported, and ones that must not."""
