"""Runs the judges of the modules that are named, and prints a line of JSON for each case."""

import importlib
import sys

for module in sys.argv[1:]:
    for judge in importlib.import_module(module).JUDGES:
        judge.run()
