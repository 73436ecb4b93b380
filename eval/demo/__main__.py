"""Write the embedded demo, assets/demo.zip: the data set of seed 0 and its instructions.

    python -m eval.demo      # 20 seconds; the same bytes with the same version of Pillow

The package ships what this writes, as it ships the backbones: a user's demo depends on no version of Pillow.
"""

import json
import tempfile
import zipfile
from pathlib import Path

from eval.demo.generate import write_demo
from eval.demo.instructions import demo_instructions
from mmadapter.storage.paths import assets_dir

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of all members."""


def records() -> list[dict[str, str | None]]:
    """The instructions as JSON, in order of their pids."""
    return [
        {"split": p.split, "question": p.question, "hint": p.hint, "response": p.choices[0], "topic": p.topic}
        for p in demo_instructions()
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_demo(Path(temporary, "demo"))
        (folder / "instructions.json").write_text(json.dumps(records(), indent=1, ensure_ascii=False), encoding="utf-8")
        with zipfile.ZipFile(assets_dir() / "demo.zip", "w") as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                member = zipfile.ZipInfo(file.relative_to(folder).as_posix(), EPOCH)
                kind = zipfile.ZIP_STORED if file.suffix == ".png" else zipfile.ZIP_DEFLATED
                archive.writestr(member, file.read_bytes(), kind)


if __name__ == "__main__":
    main()
