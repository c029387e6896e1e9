"""`make soak`: the long repetitions, too long for `make test`. Each module with a `run` is a part.

A part's `run()` answers figures by name, each name once among all parts, and raises BoundsBrokenError where a
figure is not what it must be. Modules without a `run` are what parts are made of.
"""
