"""What every test has in common: 64-bit numbers, no colours."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "80"
os.environ.setdefault("JAX_ENABLE_X64", "1")
