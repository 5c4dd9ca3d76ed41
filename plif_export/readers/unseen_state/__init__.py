"""What a trace of a module cannot see: values that leave torch (looks.py), and state that no tensor shows.

world    what Python keeps between two steps: attributes, closures, globals, defaults, random generators; saved and put back
later    numbers that know what they are k steps on, and note what they are compared with
asks     what forward asks of the world around it: the clock, files, threads, modes
codes    what the code of functions and classes says without being run
hidden   whether what changed there changes what a step does, now or in any later step that can be found
"""
