"""Helpers that every other module may use and that import nothing else of this project.

errors      one line for the user, and an exit code
files       atomic writes; reading of regular files only; SHA-256 of files and folders
text        untrusted text, made printable
progress    a bar on a terminal
latency     percentiles of durations in constant memory
options     an option is declared once;  declared: options that several commands share
grammar     NAME=VALUE,...: the text of options that hold several settings
"""
