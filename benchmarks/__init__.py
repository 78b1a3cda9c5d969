"""Benchmarks of ot_fast: one list of cases, one list of peers, one command."""
