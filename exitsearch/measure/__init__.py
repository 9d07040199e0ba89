"""Measuring on the target device: operations, latency in place, memory, the machine's fingerprint and the verdict.

Reading order: macs, clock, statistics, runtimes, latency, load, machine, verdict, profiler, paths.
"""
