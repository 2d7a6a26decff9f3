"""What can be set: one dataclass for each config group, with the type and the range of every key.

The yaml files in ``conf/`` hold the values, and the only defaults; `astroclf.config` makes settings of them.
"""
