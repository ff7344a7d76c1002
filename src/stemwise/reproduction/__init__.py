"""The tables of five papers: published beside reproduced, with every claim judged.

published   the tables as printed
experiments which trainings and measurements stand behind every cell
songs       data sets, or rendered songs in their stead
runs        trainings, each in a folder of its own, continued where they were stopped
estimators  stems of one or several trained networks, for `evaluate_set`
measures    scores of the test songs
results     cells of a table from scores
claims      what the papers say of their tables, as predicates
report      Markdown, JSON and CSV
reproduce   all of it, for one table or for all
"""
