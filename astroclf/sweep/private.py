"""All that sweeps use of Optuna and of Hydra's Optuna plugin beyond their documented interfaces.

An upgrade may move one of these names: `tests/sweep/test_private.py` then says which, and what is built on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra_plugins.hydra_optuna_sweeper import _impl
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import Trial


def parse_sweep_syntax(lines: Sequence[str]) -> tuple[dict[str, BaseDistribution], dict[str, Any], list[str]]:
    """Translate overrides in Hydra's sweep syntax as Hydra's own Optuna sweeper does.

    Returns
    -------
    tuple
        The keys that are searched with their distributions, the others with their values, and the overrides that take
        a key away.

    Raises
    ------
    ValueError
        A range without values, or a choice that Optuna cannot hold.
    """
    try:
        return _impl.create_params_from_overrides(list(lines))
    except (NotImplementedError, AssertionError) as error:  # it asserts what a choice may hold
        raise ValueError(str(error)) from error


def trial_id(storage: BaseStorage, study_name: str, number: int) -> int:
    """Return the number by which a storage knows the trial of a study; trials themselves are counted study by study."""
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study_name), number)


def reopen_trial(study: Study, storage: BaseStorage, number: int) -> Trial:
    """Return a running trial of a study, as `Study.ask` returned it to the process that began it."""
    return Trial(study, trial_id(storage, study.study_name, number))
