"""Calls in another process that hang, die or fail: each has its answer, and those after it are made."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import psutil

from astroclf.errors import DiskError
from astroclf.util.watched import Call, answers


def _say(text: str) -> str:
    return text


def _refuse() -> str:
    raise DiskError("The disk is full. Make room.")


def _fault() -> str:
    return {}["missing"]


def _hang() -> str:
    time.sleep(600)
    return ""


def _die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def test_each_call_has_its_answer_whatever_the_others_do():
    started = time.monotonic()
    calls = [partial(_say, "one"), _hang, _refuse, _die, _fault, partial(_say, "two")]
    found = list(answers([Call(call, 2.0) for call in calls]))
    assert [answer.works for answer in found] == [True, False, False, False, False, True]
    assert [answer.text for answer in found] == [
        "one", "It gave no answer within 2 s", "The disk is full. Make room.",
        "The process that tried it ended: SIGKILL", "KeyError: 'missing'", "two",
    ]  # fmt: skip
    assert [answer.in_words for answer in found] == [False, False, True, False, False, False]
    assert time.monotonic() - started < 60
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
