"""Attacks: changed artifacts and modules that turn, drawn from outside, without a look at the checks that they try.

python -m tests.plif_export.core.attacks                    all of them, as a table: expected, found, verdict
python -m tests.plif_export.core.attacks --only clip        those with "clip" in their name; --json FILE for what reads the table
python -m tests.plif_export.core.attacks --model SMALL      artifacts of a small random network, in seconds

artifacts.py   what an artifact attack is: a fresh artifact -> a changed one, with the digest made again, as anybody can, so that
               the digest alone does not give it away; what `plif verify` says of it
effect.py      how much a changed ONNX file differs, free-running on what a camera can show
    changed/frames.py, membranes.py        ONNX: another network, for some rows, frames, counts, membranes, steps, last digits
    changed/weights.py, names.py, freight.py   ONNX: weights, attributes, names, versions, notes, parts that nothing needs
    changed/cards.py                       every key of the card: gone, another value, another type, and keys that it lacks
    changed/triton.py, openvino.py, plif_files.py, sources.py   folders, .plif, C, NIR, the card before a plan of TensorRT
    changed/forged.py                      several changes, each of which explains the other: versions, digests, rounding
    changed/live.py                        ONNX files of a live module
    changed/harmless.py                    what must not be refused: fresh files of every kind, and changes that mean nothing
modules.py     what a module attack is: a module that a short trace shows otherwise than it is; whether it is exported, and how
               often the file then differs from it, free-running over hundreds of steps from reset
    turning/attributes.py, functions.py, outside.py   counters wherever Python can keep a number
    turning/tensors.py, hooks.py, noise.py   weights, buffers, hooks and methods that change; random numbers
    turning/values.py, batches.py          decisions about values that leave PyTorch, about batches; numbers that wrap
    turning/surroundings.py                modules that ask where, when and by whom they are run
    turning/lengths.py                     loops over T that do something else in a later step, or for another T
    turning/right.py, right_layers.py      modules that look dangerous and do the same in every step: they must be exported

To add one, write a function (artifact) or a class (module) with a name that says what it does, under the decorator of its file.
An attack "passes falsely" where a file is accepted and nothing is said: no `passed: false`, no `structure`, no `not_proved`
beyond what a fresh artifact has. A module that is exported and does the same over all steps that were run passed rightly.
"""
