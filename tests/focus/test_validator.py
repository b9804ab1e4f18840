"""What does the specification's own validator say of the 1.2 projection?

Of InvoiceId it asks in one rule that it be empty and in the next that it be not, each for charges
it cannot tell apart; so one of them fails in every file, with the rules above it where a file has
rows of both kinds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from focus import validator
from focus.builders import a_page
from penstock_client.focus.columns import columns_of
from penstock_client.focus.files import FocusFile
from penstock_client.focus.rows import rows_of

EMPTY, FILLED = "InvoiceId-C-004-C", "InvoiceId-C-005-C"
ABOVE = {"InvoiceId-C-003-C", "InvoiceId-C-000-O"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not validator.is_installed(), reason=validator.ADVICE),
]


@pytest.mark.parametrize(
    ("suffix", "closed", "provider", "unavoidable"),
    [
        (".csv", True, False, {EMPTY}),
        (".csv", False, False, {FILLED}),
        (".csv", True, True, {EMPTY, FILLED, *ABOVE}),
        (".parquet", True, False, {EMPTY}),
    ],
)
def test_a_month_passes_but_for_the_rule_that_contradicts_itself(
    tmp_path: Path, suffix: str, closed: bool, provider: bool, unavoidable: set[str]
) -> None:
    file = tmp_path / f"month{suffix}"
    with FocusFile(file, columns_of("1.2", provider=provider)) as rows:
        rows.write(rows_of(a_page(closed=closed, provider=provider)))
    assert validator.failed_rules(file) == unavoidable
