"""By which policies may jobs be placed?

Their names, for settings and command lines. It does not know what they do.
"""

from __future__ import annotations

from typing import Literal, get_args

PolicyName = Literal["penstock", "fgd", "best_fit", "gpu_packing", "random"]
POLICY_NAMES: tuple[str, ...] = get_args(PolicyName)
