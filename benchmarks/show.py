"""Print recorded benchmarks as tables.

python -m benchmarks.show benchmarks/results/*.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.measure import shown

if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(shown(json.loads(Path(name).read_text(encoding="utf-8"))))
