"""What the rules of plif say, in plain and slow Python: the place to look up what `leak:120ms,margin=0.2` does exactly.

    text.py      numbers, times and options, as every line of text has them
    framing.py   the line that says how events become frames
    view.py      in which cell of a frame an event lands
    filters.py   which events pass, and where they go
    framer.py    which frame an event belongs to, when frames begin and end, and what became of each event
    decide.py    how the votes of the steps add up to an answer, and when there is none
    reset.py     when membranes and evidence start afresh, and when they fade
    stream.py    all of it together: frames -> votes -> decisions

It is what docs/events.md and docs/live-rules.md say, in full. `test_*.py` here give it and the product the same random lines,
events and votes, and compare; subject.py alone knows what they compare it with. It imports nothing of the product.

To change a rule: change the sentence in the docs, then the equation here, see the tests fail, then change the product.
"""
