"""Seconds that cell2sentence takes for the sentences of a data set; run by the Python that has it installed."""

from __future__ import annotations

import sys
import time

from _data import load
from cell2sentence import CSData

adata = load(sys.argv[1])
start = time.perf_counter()
CSData.adata_to_arrow(adata, random_state=0, sentence_delimiter=" ")
print("seconds", time.perf_counter() - start)
