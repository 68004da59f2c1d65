"""Benchmarks: each measures ours and its baseline in one run, and prints."""
