"""Measuring on the target device: operations, latency in place, memory, the machine's fingerprint and the verdict.

Reading order: macs, timing, runtimes, machine, verdict, profiler, paths.
"""
