"""Prints a Parquet file: a line with the type of each column, then a line for each row, all as JSON.

Usage: read.py FILE
"""

import datetime
import decimal
import json
import sys

import pyarrow.parquet


def plain(value):
    if isinstance(value, decimal.Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return value


table = pyarrow.parquet.read_table(sys.argv[1])
print(json.dumps({field.name: str(field.type) for field in table.schema}))
for row in table.to_pylist():
    print(json.dumps({name: plain(value) for name, value in row.items()}))
