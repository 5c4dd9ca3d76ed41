"""What everything else may use, and what uses nothing of ours.

errors      one line for the user, and an exit code
files       whole or not at all; SHA-256 of files and folders
text        foreign text, made printable
progress    a bar on a terminal
latency     percentiles of durations in constant memory
aliases     old names of modules that programs import
"""
