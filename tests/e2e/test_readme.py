"""The Python on the first screen runs and says what it is said to say."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_first_block_says_what_its_comment_says(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert found is not None
    block = found.group(1)
    file = tmp_path / "shop.py"
    file.write_text(block)
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    promised = block.rstrip().rsplit("# ", 1)[1]
    assert done.stdout.strip() == promised
