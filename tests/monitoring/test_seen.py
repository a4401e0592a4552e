"""Which part of the past is about the model that serves."""

from __future__ import annotations

import pytest

from monitoring import seen
from monitoring.context import Context
from monitoring.pages import Pages
from monitoring.seen import NothingServedError
from tests.data import project

DAY = 86_400.0


def played(*told: tuple[float, str, str]) -> Context:
    """Pages of (day, instance, version), with a counter that rises by one each."""
    pages = Pages(stale=DAY / 8)
    for count, (day, instance, version) in enumerate(told):
        labels = f'model="m",version="{version}",bento="m:{version}",run_id="r",git_commit="c"'
        pages.read(f"model_info{{{labels}}} 1\nmodel_rows_total {count + 1}\n", instance, day * DAY)
    return Context(project.changed(), pages.now, pages, None)


def test_nothing_serves() -> None:
    with pytest.raises(NothingServedError, match="no service says which model it serves"):
        seen.seen(played(), DAY)


def test_one_version_is_seen_since_it_began() -> None:
    found = seen.seen(played(*[(day / 8, "a", "1") for day in range(25)]), 28 * DAY)
    assert found.served.version == "1"
    assert found.instances == {"a"}
    assert found.seconds == pytest.approx(3 * DAY, abs=28 * DAY / 500 + 1)


def test_no_further_back_than_is_looked() -> None:
    found = seen.seen(played(*[(day / 8, "a", "1") for day in range(81)]), DAY)
    assert found.seconds == pytest.approx(DAY)


def test_instance_that_served_another_version_counts_since_the_change() -> None:
    told = [(day / 8, "a", "1" if day < 40 else "2") for day in range(49)]
    found = seen.seen(played(*told), 28 * DAY)
    assert (found.served.version, set(found.instances)) == ("2", {"a"})
    assert found.seconds == pytest.approx(DAY, abs=DAY / 8 + 28 * DAY / 500)


def test_instance_that_served_the_version_before_for_longer_is_left_out() -> None:
    told = [
        (day / 8, instance, "2" if day >= since else "1")
        for day in range(49)
        for instance, since in (("a", 0), ("b", 40), ("c", 0))
    ]
    found = seen.seen(played(*told), 28 * DAY)
    assert (found.served.version, set(found.instances)) == ("2", {"a", "c"})
    assert {one.labels["instance"] for one in found.increase(played(*told), "model_rows_total", DAY)} == {"a", "c"}


def test_a_version_that_came_back_counts_since_then() -> None:
    """At one address, as `make run` and the containers have it."""
    told = [(day / 8, "a", "2" if 16 <= day < 40 else "1") for day in range(49)]
    found = seen.seen(played(*told), 28 * DAY)
    assert (found.served.version, set(found.instances)) == ("1", {"a"})
    assert found.seconds == pytest.approx(9 * DAY / 8, abs=DAY / 8 + 28 * DAY / 500)


def test_candidate_beside_it_is_no_evidence() -> None:
    told = [
        (day / 8, instance, version) for day in range(9) for instance, version in (("a", "1"), ("b", "1"), ("c", "2"))
    ]
    found = seen.seen(played(*told), DAY)
    assert (found.served.version, set(found.instances)) == ("1", {"a", "b"})


def test_candidate_that_is_tried_with_as_many_instances_does_not_serve() -> None:
    tried = played((0, "a", "1"), (0, "b", "2"))
    assert isinstance(tried.metrics, Pages)
    served = tried.served()
    assert served is not None
    assert served.version == "2", "nobody says what users get"
    tried.metrics.read(
        'rollout_weight_ratio{service_version="1"} 0.9\nrollout_weight_ratio{service_version="2"} 0.1\n',
        "exporter",
        0.0,
    )
    served = tried.served()
    assert served is not None
    assert served.version == "1"
    tried.metrics.read('rollout_weight_ratio{service_version="2"} 1\n', "exporter", 0.0)
    served = tried.served()
    assert served is not None
    assert served.version == "2"
