"""Folders for OpenVINO."""
