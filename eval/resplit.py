"""Write the wording-disjoint split of ScienceQA, mmadapter/scienceqa/wording_split.json.

python -m eval.resplit FOLDER      # a second; the same list from the same problems
"""

import json
import sys

from mmadapter.data import load_dataset
from mmadapter.scienceqa.resplit import FILE, disjoint_split


def main(folder: str) -> None:
    split = disjoint_split(load_dataset("scienceqa", folder))
    lines = [f'"{name}":{json.dumps(pids, separators=(",", ":"))}' for name, pids in split.items()]
    FILE.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
