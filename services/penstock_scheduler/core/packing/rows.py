"""Of which shapes are scores kept?

Of those asked for lately; the one that was not asked for longest makes room for a new one. It does
not know how scores are computed.
"""

from __future__ import annotations

import numpy as np

from penstock_scheduler.core.packing.fleet import Fleet
from penstock_scheduler.core.packing.layout import (
    ALLOWED,
    INFEASIBLE,
    P_CPU,
    P_FRAGMENT,
    P_GPUS,
    P_MILLI,
    P_POLICY,
    P_PRICE,
    P_RATIO,
    P_REFERENCE,
    P_SPARE,
    P_STRANDED,
    P_TIGHT,
    PARAMETERS,
    PRICE,
    ROW_LAYERS,
    Array,
    Row,
)
from penstock_scheduler.core.packing.policies import Policy
from penstock_scheduler.core.packing.shapes import RowKey
from penstock_scheduler.core.packing.workload import Workload, may_use

BYTES_MAX = 256 * 2**20
"""All rows together, whatever the size of the fleet; at least `ROWS_MIN`."""
ROWS_MIN = 16
ROWS_MAX = 1024


class KeptRow:
    """A row and the version of the fleet that it is true for; -1 = none."""

    __slots__ = ("arrays", "version")

    def __init__(self, arrays: Row) -> None:
        self.arrays = arrays
        self.version = -1


class Rows:
    """The rows in the order in which they were asked for last."""

    def __init__(self, policy: Policy, workload: Workload) -> None:
        self._policy = policy
        self._workload = workload
        self._rows: dict[RowKey, KeptRow] = {}

    def clear(self) -> None:
        self._rows.clear()

    def row(self, key: RowKey, fleet: Fleet) -> KeptRow:
        """The row of a shape, which may have to be computed."""
        row = self._rows.pop(key, None)
        if row is None:
            scores = np.full((ROW_LAYERS, fleet.nodes.shape[1]), INFEASIBLE, np.int64)
            row = KeptRow(Row(self._params(key), self._kinds(key, fleet), scores))
            most = max(ROWS_MIN, min(ROWS_MAX, BYTES_MAX // scores.nbytes))
            while len(self._rows) >= most:
                del self._rows[next(iter(self._rows))]
        self._rows[key] = row
        return row

    def _params(self, key: RowKey) -> Array:
        params = np.zeros(PARAMETERS, np.int64)
        params[P_CPU], params[P_GPUS], params[P_MILLI] = key.cpu_milli, key.gpus, key.gpu_milli
        policy = self._policy
        params[P_POLICY] = policy.number
        params[P_RATIO] = policy.ratio(self._workload.cpu_milli_per_gpu)
        params[P_FRAGMENT] = policy.fragment
        params[P_TIGHT] = policy.tight
        params[P_STRANDED] = policy.stranded
        params[P_SPARE] = policy.spare if key.gpus else policy.spare_cpu_only
        params[P_PRICE] = policy.price
        params[P_REFERENCE] = policy.loss_reference
        return params

    def _kinds(self, key: RowKey, fleet: Fleet) -> Array:
        prices = dict(self._workload.prices)
        kinds = np.zeros((2, max(1, len(fleet.kinds))), np.int64)
        for index, kind in enumerate(fleet.kinds):
            kinds[ALLOWED, index] = may_use(key, kind)
            kinds[PRICE, index] = prices.get(kind[0], 0)
        return kinds
