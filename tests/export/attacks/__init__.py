"""Attacks: changed artifacts and modules that turn, drawn from outside, without a look at the checks that they try.

python -m tests.export.attacks                    all of them, as a table: expected, found, verdict
python -m tests.export.attacks --only clip        those with "clip" in their name; --json FILE for what reads the table
python -m tests.export.attacks --model SMALL      artifacts of a small random network, in seconds

artifacts.py   what an artifact attack is: a fresh artifact -> a changed one, with the digest made again, as anybody can, so that
               the digest alone does not give it away; what `plif verify` says of it
    effect.py      how much another network differs, free-running on what a camera can show
    graphs.py      ONNX: another network, that differs for some rows, frames, counts, membranes or steps
    onnx_files.py  ONNX: names, opset, documents, weights, and fields that no engine needs
    cards.py       every key of the card: without it, with another value, with another type, and keys that it lacks
    folders.py     Triton and OpenVINO
    files.py       .plif, C, NIR, the card before a plan of TensorRT
    harmless.py    what must not be refused
modules.py     what a module attack is: a module that a short trace shows otherwise than it is; whether it is exported, and how
               often the file then differs from it, free-running over hundreds of steps from reset
    counters.py    state that no tensor shows: counters wherever Python can keep a number
    drifts.py      weights, buffers, hooks and methods that change; random numbers
    lookers.py     decisions about values that leave PyTorch, and about batches; numbers that wrap
    surroundings.py  modules that ask where, when and by whom they are run
    lengths.py     loops over T that do something else in a later step, or for another T
    right.py       modules that look dangerous and do the same in every step: they must be exported

To add one, write a function (artifact) or a class (module) with a name that says what it does, under the decorator of its file.
An attack "passes falsely" where a file is accepted and nothing is said: no `passed: false`, no `structure`, no `not_proved`
beyond what a fresh artifact has. A module that is exported and does the same over all steps that were run passed rightly.
"""
