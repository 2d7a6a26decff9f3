"""Groups that stay in one split, and copies with two labels."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.data.catalog import Catalog
from astroclf.data.split.groups import group_rows, resolve_label_conflicts
from astroclf.data.split.links import Links, Pairs


def pair(first: int, second: int) -> Pairs:
    return Pairs(np.array([[first, second]]), np.ones(1))


def test_links_of_all_kinds_and_own_groups_add_up():
    ids, labels = np.array([f"row-{row}" for row in range(8)]), np.zeros(8, np.int64)
    catalog = Catalog(ids, labels, ("galaxy",), group=np.array(["", "", "", "a", "a", "", "", ""]))
    groups, divided = group_rows(catalog, Links(exact=pair(0, 1), near=pair(1, 2), sky=pair(2, 3)))
    assert divided == 0
    assert len(set(groups[:5])) == 1
    assert len(set(groups)) == 4


@pytest.mark.parametrize(
    ("policy", "labels", "usable"),
    [
        ("keep", [0, 1, 0, 0, 1, 2, 2], [1, 1, 1, 1, 1, 1, 1]),
        ("drop", [0, 1, 0, 0, 1, 2, 2], [0, 0, 0, 0, 0, 1, 1]),
        ("majority", [0, 1, 0, 0, 0, 2, 2], [0, 0, 1, 1, 1, 1, 1]),
    ],
)
def test_contradicting_copies(policy, labels, usable):
    copies = np.array([0, 0, 1, 1, 1, 2, 2])  # a tie, two against one, and no contradiction
    resolved, conflicting, used = resolve_label_conflicts(np.array([0, 1, 0, 0, 1, 2, 2]), copies, policy)
    assert resolved.tolist() == labels
    assert used.astype(int).tolist() == usable
    assert conflicting.astype(int).tolist() == [1, 1, 1, 1, 1, 0, 0]
