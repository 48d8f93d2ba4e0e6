"""The first `up`, and what a second one finds to do: plans compared as text."""

from __future__ import annotations

from textwrap import dedent

import pytest
from fakes.projects import (
    CHECK,
    COMPLETED,
    HEALTHY,
    IMAGE_ID,
    all_running,
    container,
    empty,
    engine_volume,
    network,
    present,
    service,
    volume,
    wanted,
)

from stackrun.api import labels
from stackrun.compose import model
from stackrun.errors import InvalidArgument, NotFound
from stackrun.stack.desired import Desired
from stackrun.stack.images import decide_images, decide_pull
from stackrun.stack.observed import Observed
from stackrun.stack.plan import CreateContainer, Plan
from stackrun.stack.reconcile import decide
from stackrun.stack.verdict import PLAIN, Policy

DATA = model.VolumeMount("volume", "/data", "data")


def check(plan: Plan, text: str) -> None:
    assert str(plan) == dedent(text).strip()


def shop(**api: object) -> Desired:
    return wanted(
        service("db", healthcheck=CHECK, volumes=(DATA,)),
        service("migrate", depends_on={"db": HEALTHY}),
        service("api", depends_on={"db": HEALTHY, "migrate": COMPLETED}, scale=2, **api),
        service("web", "api"),
        volumes=[volume("data")],
    )


def test_one_service() -> None:
    target = wanted(service("web"))
    check(decide(target, empty(target)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-web-1: create (missing)
        3 [2] Container shop-web-1: start
    """)  # fmt: skip


def test_containers_are_made_at_once_and_started_when_their_conditions_are_met() -> None:
    check(decide(shop(), empty(shop())), """
        1 [] Network shop_default: create (missing)
        2 [] Volume shop_data: create (missing)
        3 [1 2] Container shop-db-1: create (missing)
        4 [3] Container shop-db-1: start
        5 [1] Container shop-migrate-1: create (missing)
        6 [4] Service db: wait until healthy
        7 [5 6] Container shop-migrate-1: start
        8 [1] Container shop-api-1: create (missing)
        9 [7] Service migrate: wait until completed
        10 [6 8 9] Container shop-api-1: start
        11 [1] Container shop-api-2: create (missing)
        12 [6 9 11] Container shop-api-2: start
        13 [1] Container shop-web-1: create (missing)
        14 [10 12 13] Container shop-web-1: start
    """)  # fmt: skip


def test_nothing_to_do_and_a_finished_job_is_not_run_again() -> None:
    plan = decide(shop(), present(shop(), *all_running(shop())))
    check(plan, "")
    assert {one.name: one.text for one in plan.settled} == {
        **dict.fromkeys(("shop-db-1", "shop-api-1", "shop-api-2", "shop-web-1"), "Running"), "shop-migrate-1": "Exited",
    }  # fmt: skip


def test_the_same_input_gives_the_same_plan_whatever_its_order() -> None:
    one = wanted(service("b"), service("a"), service("c", "a", "b"))
    other = wanted(service("c", "b", "a"), service("a"), service("b"))
    assert str(decide(one, empty(one))) == str(decide(other, empty(other)))


def test_independent_services_wait_for_nothing_but_their_network() -> None:
    target = wanted(service("a"), service("b"))
    check(decide(target, empty(target)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-a-1: create (missing)
        3 [2] Container shop-a-1: start
        4 [1] Container shop-b-1: create (missing)
        5 [4] Container shop-b-1: start
    """)  # fmt: skip


def test_unused_networks_and_volumes_are_not_made() -> None:
    networks = [model.Network("default", "shop_default"), model.Network("idle", "shop_idle")]
    target = wanted(service("web"), networks=networks, volumes=[volume("data")])
    assert "idle" not in str(decide(target, empty(target)))
    assert "Volume" not in str(decide(target, empty(target)))


def test_host_network_needs_no_network() -> None:
    target = wanted(service("web", network_mode="host"))
    check(decide(target, empty(target)), """
        1 [] Container shop-web-1: create (missing)
        2 [1] Container shop-web-1: start
    """)  # fmt: skip


def test_two_networks_and_a_shared_volume() -> None:
    networks = [model.Network("back", "shop_back"), model.Network("front", "shop_front")]
    both = {"back": model.NetworkAttachment(), "front": model.NetworkAttachment()}
    target = wanted(
        service("a", networks=both, volumes=(DATA,)),
        service("b", networks={"back": model.NetworkAttachment()}, volumes=(DATA,)),
        networks=networks,
        volumes=[volume("data")],
    )
    check(decide(target, empty(target)), """
        1 [] Network shop_back: create (missing)
        2 [] Network shop_front: create (missing)
        3 [] Volume shop_data: create (missing)
        4 [1 2 3] Container shop-a-1: create (missing)
        5 [4] Container shop-a-1: start
        6 [1 3] Container shop-b-1: create (missing)
        7 [6] Container shop-b-1: start
    """)  # fmt: skip


def test_an_optional_dependency_only_gives_the_order() -> None:
    optional = model.Dependency("service_healthy", required=False)
    target = wanted(service("cache", healthcheck=CHECK), service("web", depends_on={"cache": optional}))
    check(decide(target, empty(target)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-cache-1: create (missing)
        3 [2] Container shop-cache-1: start
        4 [1] Container shop-web-1: create (missing)
        5 [3] Service cache: wait until healthy if possible
        6 [4 ~5] Container shop-web-1: start
    """)  # fmt: skip


def test_a_dependency_that_no_profile_enables_is_left_out() -> None:
    target = wanted(service("web", depends_on={"debug": model.Dependency(required=False)}), disabled_services=[service("debug")])
    check(decide(target, empty(target)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-web-1: create (missing)
        3 [2] Container shop-web-1: start
    """)  # fmt: skip


def test_a_dependency_of_no_replicas_keeps_nobody_waiting() -> None:
    target = wanted(service("db", healthcheck=CHECK, scale=0), service("web", depends_on={"db": HEALTHY}))
    check(decide(target, empty(target)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-web-1: create (missing)
        3 [2] Container shop-web-1: start
    """)  # fmt: skip


def test_a_shared_namespace_needs_the_other_container_to_exist() -> None:
    target = wanted(service("app"), service("side", network_mode="service:app", depends_on={"app": model.Dependency()}))
    check(decide(target, empty(target)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-app-1: create (missing)
        3 [2] Container shop-app-1: start
        4 [2] Container shop-side-1: create (missing)
        5 [3 4] Container shop-side-1: start
    """)  # fmt: skip


def test_a_private_file_is_written_before_its_container() -> None:
    target = wanted(service("web", secrets=(model.FileReference("token"),)), secrets=[model.Secret("token", "shop_token", content="hush")])
    check(decide(target, empty(target)), """
        1 [] Network shop_default: create (missing)
        2 [] Secret token: write (missing)
        3 [1 2] Container shop-web-1: create (missing)
        4 [3] Container shop-web-1: start
    """)  # fmt: skip


def test_two_users_of_one_private_file_write_it_once() -> None:
    token = (model.FileReference("token"),)
    target = wanted(service("a", secrets=token), service("b", secrets=token), secrets=[model.Secret("token", "shop_token", content="hush")])
    assert str(decide(target, empty(target))).count("Secret token: write") == 1


def test_no_start_makes_containers_and_waits_for_nothing() -> None:
    target = wanted(service("db", healthcheck=CHECK), service("web", depends_on={"db": HEALTHY}))
    check(decide(target, empty(target), Policy(no_start=True)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-db-1: create (missing)
        3 [1] Container shop-web-1: create (missing)
    """)  # fmt: skip


def test_a_named_service_brings_its_dependencies_along() -> None:
    target = wanted(service("db"), service("api", "db"), service("other"), service("web", "api"))
    plan = str(decide(target, empty(target), Policy(services=("api",))))
    assert "shop-db-1" in plan and "shop-api-1" in plan
    assert "shop-web-1" not in plan and "shop-other-1" not in plan


def test_no_deps_leaves_the_dependencies_out() -> None:
    target = wanted(service("db", healthcheck=CHECK), service("api", depends_on={"db": HEALTHY}))
    check(decide(target, empty(target), Policy(services=("api",), no_deps=True)), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-api-1: create (missing)
        3 [2] Container shop-api-1: start
    """)  # fmt: skip


def test_an_unknown_service_is_refused_with_those_there_are() -> None:
    target = wanted(service("web"), disabled_services=[service("debug")])
    with pytest.raises(InvalidArgument, match="no such service: wbe") as caught:
        decide(target, empty(target), Policy(services=("wbe",)))
    assert caught.value.hint == "the services are web"
    with pytest.raises(InvalidArgument) as caught:
        decide(target, empty(target), Policy(services=("debug",)))
    assert "profile" in caught.value.hint


def test_wait_ends_with_everything_ready() -> None:
    check(decide(shop(), empty(shop()), Policy(wait=True, wait_timeout_s=60.0, services=("migrate",))), """
        1 [] Network shop_default: create (missing)
        2 [] Volume shop_data: create (missing)
        3 [1 2] Container shop-db-1: create (missing)
        4 [3] Container shop-db-1: start
        5 [1] Container shop-migrate-1: create (missing)
        6 [4] Service db: wait until healthy within 1m0s
        7 [5 6] Container shop-migrate-1: start
        8 [7] Service migrate: wait until completed within 1m0s (--wait)
    """)  # fmt: skip


def test_wait_on_a_stack_that_is_ready_is_an_empty_plan() -> None:
    check(decide(shop(), present(shop(), *all_running(shop())), Policy(wait=True)), "")


def test_wait_on_a_service_still_starting() -> None:
    target = wanted(service("db", healthcheck=CHECK))
    check(decide(target, present(target, container(target, "db", 1, "starting")), Policy(wait=True)), """
        1 [] Service db: wait until ready (--wait)
    """)  # fmt: skip


def test_a_running_dependency_that_is_not_healthy_yet_is_waited_for() -> None:
    target = wanted(service("db", healthcheck=CHECK), service("web", depends_on={"db": HEALTHY}))
    check(decide(target, present(target, container(target, "db", 1, "starting"))), """
        1 [] Container shop-web-1: create (missing)
        2 [] Service db: wait until healthy
        3 [1 2] Container shop-web-1: start
    """)  # fmt: skip


def test_a_healthy_dependency_is_not_waited_for_again() -> None:
    target = wanted(service("db", healthcheck=CHECK), service("web", depends_on={"db": HEALTHY}))
    check(decide(target, present(target, container(target, "db", 1, "healthy"))), """
        1 [] Container shop-web-1: create (missing)
        2 [1] Container shop-web-1: start
    """)  # fmt: skip


def test_stopped_containers_are_started_and_say_how_they_ended() -> None:
    target = wanted(service("db"), service("web", "db"))
    found = present(target, container(target, "db", 1, "exited 137"), container(target, "web", 1, "created"))
    check(decide(target, found), """
        1 [] Container shop-db-1: start (exited (137))
        2 [1] Container shop-web-1: start (is created)
    """)  # fmt: skip


def test_paused_and_restarting_containers_are_left_alone() -> None:
    target = wanted(service("a"), service("b"))
    check(decide(target, present(target, container(target, "a", 1, "paused"), container(target, "b", 1, "restarting"))), "")


def test_a_failed_job_runs_again() -> None:
    target = wanted(service("migrate"), service("web", depends_on={"migrate": COMPLETED}))
    check(decide(target, present(target, container(target, "migrate", 1, "exited 1"), container(target, "web", 1, "created"))), """
        1 [] Container shop-migrate-1: start (exited (1))
        2 [1] Service migrate: wait until completed
        3 [2] Container shop-web-1: start (is created)
    """)  # fmt: skip


def test_a_one_shot_that_nobody_waits_for_runs_again_as_in_compose() -> None:
    target = wanted(service("once"))
    check(decide(target, present(target, container(target, "once", 1, "exited 0"))), """
        1 [] Container shop-once-1: start (exited (0))
    """)  # fmt: skip


def test_a_dead_container_is_replaced() -> None:
    target = wanted(service("web"))
    check(decide(target, present(target, container(target, "web", 1, "dead", id="d" * 64))), """
        1 [] Container shop-web-1: create as dddddddddddd_shop-web-1 (dead)
        2 [1] Container shop-web-1: remove (dead)
        3 [2] Container shop-web-1: rename
        4 [3] Container shop-web-1: start
    """)  # fmt: skip


# --- externals and strangers


def external(**keys: object) -> Desired:
    return wanted(
        service("web", volumes=(DATA,)),
        networks=[model.Network("default", "lan", external=True)],
        volumes=[model.Volume("data", "pool", external=True)],
        **keys,
    )


def test_external_resources_are_used_and_never_made() -> None:
    target = external()
    found = present(target, networks=[network(target, "lan", PROJECT="")], volumes=[engine_volume(target, "pool", PROJECT="")])
    check(decide(target, found), """
        1 [] Container shop-web-1: create (missing)
        2 [1] Container shop-web-1: start
    """)  # fmt: skip


def test_missing_externals_are_all_named() -> None:
    with pytest.raises(NotFound, match="declared as external but not found: network lan, volume pool"):
        decide(external(), empty(external()))


def test_a_stranger_of_the_same_name_is_used_as_it_is_and_named() -> None:
    target = wanted(service("web", volumes=(DATA,)), volumes=[volume("data")])
    found = present(
        target,
        networks=[network(target, "shop_default", PROJECT="", CONFIG_HASH="")],
        volumes=[engine_volume(target, "shop_data", PROJECT="other", CONFIG_HASH="x")],
    )
    check(decide(target, found), """
        ! Network shop_default: it exists already, made by something else: it is used as it is
        ! Volume shop_data: it exists already, made by project other: it is used as it is
        1 [] Container shop-web-1: create (missing)
        2 [1] Container shop-web-1: start
    """)  # fmt: skip


def test_a_changed_volume_is_kept_with_its_data_and_named() -> None:
    target = wanted(service("web", volumes=(DATA,)), volumes=[volume("data", driver_opts={"type": "tmpfs"})])
    found = present(target, container(target, "web"), volumes=[engine_volume(target, "shop_data", CONFIG_HASH="old")])
    check(decide(target, found), """
        ! Volume shop_data: its definition has changed: it is kept as it is
    """)  # fmt: skip


def test_resources_of_another_tool_without_a_hash_are_taken_as_they_are() -> None:
    target = wanted(service("web"))
    check(decide(target, present(target, container(target, "web"), networks=[network(target, "shop_default", CONFIG_HASH="")])), "")


# --- images


def pulls(target: Desired, *there: str, policy: Policy = PLAIN) -> Plan:
    observed = Observed(target.project, images=dict.fromkeys(there, IMAGE_ID))
    return decide_images(target, observed, policy)


def test_missing_images_are_pulled_once_each() -> None:
    target = wanted(service("a"), service("b"), service("c", image="redis:7", platform="linux/arm64"))
    check(pulls(target), """
        1 [] Image busybox:1: pull (missing)
        2 [] Image redis:7: pull (missing)
    """)  # fmt: skip
    check(pulls(target, "busybox:1", "redis:7"), "")


def test_pull_policies() -> None:
    target = wanted(service("a", image="a", pull_policy="always"), service("b", image="b", pull_policy="never"))
    check(pulls(target, "a", "b"), "1 [] Image a: pull (pull policy always)")
    with pytest.raises(NotFound, match=r"No such image: b \(service b\)"):
        pulls(target, "a")
    check(pulls(target, "a", "b", policy=Policy(pull="missing")), "")


def test_the_options_pull_wins_over_the_services() -> None:
    target = wanted(service("a", pull_policy="never"))
    check(pulls(target, policy=Policy(pull="always")), "1 [] Image busybox:1: pull (pull policy always)")


def test_an_image_to_build_is_used_when_it_is_there_and_refused_when_not() -> None:
    target = wanted(service("app", image="", build=model.Build("/srv/shop")))
    check(pulls(target, "shop-app"), "")
    with pytest.raises(NotFound, match="No such image: shop-app"):
        pulls(target)


def test_the_command_pull_pulls_all_but_what_is_never_to_be_pulled() -> None:
    target = wanted(
        service("a", image="a"), service("b", image="b", pull_policy="never"), service("c", image="c", pull_policy="missing"),
        service("d", image="", build=model.Build(".")), service("e", image="e", pull_policy="missing"),
    )  # fmt: skip
    check(decide_pull(target, Observed("shop", images={"a": IMAGE_ID, "c": IMAGE_ID})), """
        1 [] Image a: pull (asked for)
        2 [] Image e: pull (missing)
    """)  # fmt: skip
    check(decide_pull(target, Observed("shop"), ("a",)), "1 [] Image a: pull (asked for)")


def test_containers_remember_the_image_they_were_made_from() -> None:
    target = wanted(service("web"))
    create = next(node.action for node in decide(target, empty(target)).nodes if isinstance(node.action, CreateContainer))
    assert create.spec.labels[labels.IMAGE] == IMAGE_ID
