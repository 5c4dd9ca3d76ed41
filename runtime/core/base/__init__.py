"""What everything else may use, and what uses nothing of ours.

errors      one line for the user, and an exit code
files       whole or not at all; nothing but files opened; SHA-256 of files and folders
text        foreign text, made printable
progress    a bar on a terminal
latency     percentiles of durations in constant memory
options     an option is declared once;  declared: those that several commands have
grammar     NAME=VALUE,...: the text of options that hold several settings
"""
