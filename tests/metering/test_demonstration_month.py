"""Does the demonstration month come out, with every millisecond accounted for?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TIMEOUT_S = 120


def test_two_days_of_the_demonstration_month_add_up(tmp_path: Path) -> None:
    picture = tmp_path / "month.png"
    done = subprocess.run(
        [sys.executable, EXAMPLES / "demo_month.py", "--days", "2", "--picture", str(picture)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("Profit and loss by model", "the worst devices", "to break even"):
        assert shown in done.stdout
    assert "unaccounted_ms 0" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
