"""Folders for OpenVINO as artifacts."""
