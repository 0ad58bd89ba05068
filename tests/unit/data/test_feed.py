from __future__ import annotations

import threading
import time

import pytest
import torch

from morphem.data import DataError
from morphem.data.feed import feed


def feeders() -> int:
    return sum(thread.name.startswith("morphem-feed") for thread in threading.enumerate())


def test_batches_come_in_the_order_given(make_stack):
    batches = torch.randperm(12).split(5)
    fed = [batch.index for batch in feed(make_stack(), batches)]
    assert [rows.tolist() for rows in fed] == [rows.tolist() for rows in batches]


def test_leaving_early_ends_the_thread(make_stack):
    batches = feed(make_stack(), torch.arange(12).split(1))
    next(batches)
    assert feeders() == 1
    batches.close()
    assert feeders() == 0


def test_an_error_of_the_reader_reaches_the_loop(make_stack):
    stack = make_stack()
    stack.images.images[7, 0, 0] = torch.nan
    seen = []
    with pytest.raises(DataError, match="row 8"):
        seen.extend(row for batch in feed(stack, torch.arange(12).split(3)) for row in batch.index.tolist())
    assert seen == [0, 1, 2, 3, 4, 5]
    assert feeders() == 0


def test_the_next_batch_is_read_while_this_one_is_used(make_stack, monkeypatch):
    stack, reads = make_stack(), []
    read = stack.images.read
    monkeypatch.setattr(stack.images, "read", lambda rows: (reads.append(rows.tolist()), read(rows))[1])
    batches = feed(stack, torch.arange(12).split(4))
    next(batches)
    deadline = time.monotonic() + 5
    while len(reads) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(reads) == 3
    batches.close()
