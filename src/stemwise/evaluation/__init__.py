"""How good are stems? The metrics of the field on arrays, files and sets of tracks (NumPy, SciPy).

`bss_eval.bss_eval` gives museval's BSS Eval v4 numbers; every other module holds one family of
metrics and says, for each, its definition, its rule for silence and its aggregation.
"""
