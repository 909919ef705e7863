"""Collected only where there are eight devices; see ``tests/devices/test_eight.py``."""

import os

if "host_platform_device_count=8" not in os.environ.get("XLA_FLAGS", ""):
    collect_ignore_glob = ["test_*.py"]
