"""Where is the official FOCUS validator, and what does it say of a file?

`focus-validator` needs a newer Python than this project and an older pyarrow, so it lives in an
environment of its own, which `make focus-validator` makes in build/. It ends with 0 whatever it
finds, and reads its rules relative to where it is started.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(os.environ.get("FOCUS_VALIDATOR", ROOT / "build" / "focus-validator"))
ADVICE = "no focus-validator here: `make focus-validator` installs it where Python 3.12 is"
TIMEOUT_S = 900
APPLICABLE = (
    "ACCOUNT_NAMING_SUPPORTED",
    "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED",
    "MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED",
    "MULTIPLE_PRICING_CATEGORIES_SUPPORTED",
    "MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED",
    "NEGOTIATED_PRICING_SUPPORTED",
    "PUBLIC_PRICE_LIST_SUPPORTED",
    "REGION_SUPPORTED",
    "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED",
    "SUB_ACCOUNT_SUPPORTED",
    "TAGGING_SUPPORTED",
    "UNIT_PRICING_SUPPORTED",
    "USAGE_MEASUREMENT_SUPPORTED",
)
"""What the export supports, and therefore has to fulfil."""
_FAILED = re.compile(r"^❌ (\S+): FAIL", re.MULTILINE)
_TOTAL = re.compile(r"Total: (\d+).*?Fail: (\d+)", re.IGNORECASE | re.DOTALL)


def is_installed() -> bool:
    return (ENVIRONMENT / "bin" / "focus-validator").exists()


def failed_rules(file: Path, version: str = "1.2") -> set[str]:
    """Names of the rules that the file breaks."""
    (packages,) = ENVIRONMENT.glob("lib/python3*/site-packages")
    done = subprocess.run(
        [
            str(ENVIRONMENT / "bin" / "focus-validator"),
            "--data-file",
            str(file),
            "--validate-version",
            version,
            "--block-download",
            "--applicability-criteria",
            ",".join(APPLICABLE),
        ],
        cwd=packages,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    said = done.stdout + done.stderr
    rules, (checked, failed) = set(_FAILED.findall(said)), _TOTAL.findall(said)[-1]
    assert int(checked) > 500, said[-2_000:]
    assert len(rules) == int(failed), said[-2_000:]
    return rules
