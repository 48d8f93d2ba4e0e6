"""What a change, an interruption or a stranger's hand asks of `up`: plans compared as text."""

from __future__ import annotations

from textwrap import dedent

from fakes.projects import (
    CHECK,
    COMPLETED,
    HEALTHY,
    IMAGE_ID,
    RESTARTED,
    all_running,
    anonymous,
    container,
    digest,
    network,
    present,
    service,
    wanted,
)

from stackrun.api.types import MountPoint, MountType
from stackrun.compose import model
from stackrun.stack.desired import Desired
from stackrun.stack.observed import Observed
from stackrun.stack.plan import CreateContainer, Plan, RemoveContainer
from stackrun.stack.reconcile import decide
from stackrun.stack.verdict import Policy

A, B, C = "a" * 64, "b" * 64, "c" * 64
NEW = {"environment": {"VERSION": "2"}}


def check(plan: Plan, text: str) -> None:
    assert str(plan) == dedent(text).strip()


def pair(**web: object) -> Desired:
    return wanted(service("db", healthcheck=CHECK), service("web", depends_on={"db": HEALTHY}, **web))


def test_a_changed_service_alone_is_replaced() -> None:
    found = present(pair(), container(pair(), "db", 1, "healthy"), container(pair(), "web", id=A))
    check(decide(pair(**NEW), found), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: stop (configuration changed)
        3 [2] Container shop-web-1: remove (configuration changed)
        4 [3] Container shop-web-1: rename
        5 [4] Container shop-web-1: start
    """)  # fmt: skip


def test_what_is_no_part_of_the_container_changes_nothing() -> None:
    one = wanted(service("db"), service("web"))
    other = wanted(
        service("db"),
        service("web", "db", profiles=("x",), pull_policy="always", build=model.Build("."), deploy=model.Deploy(labels={"a": "b"})),
    )
    check(decide(other, present(one, *all_running(one))), "")


def test_a_new_image_replaces_the_container() -> None:
    target = pair()
    found = present(target, container(target, "db", 1, "healthy"), container(target, "web", id=A, image_id="sha256:" + "2" * 64))
    check(decide(target, found), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (image changed)
        2 [1] Container shop-web-1: stop (image changed)
        3 [2] Container shop-web-1: remove (image changed)
        4 [3] Container shop-web-1: rename
        5 [4] Container shop-web-1: start
    """)  # fmt: skip


def test_an_image_that_is_gone_replaces_nothing() -> None:
    target = pair()
    check(decide(target, present(target, *all_running(target), images={})), "")


def test_a_stopped_old_container_needs_no_stop() -> None:
    one, other = wanted(service("web")), wanted(service("web", **NEW))
    check(decide(other, present(one, container(one, "web", 1, "exited 0", id=A))), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: remove (configuration changed)
        3 [2] Container shop-web-1: rename
        4 [3] Container shop-web-1: start
    """)  # fmt: skip


def test_an_old_container_serves_until_what_the_new_one_waits_for_is_ready() -> None:
    found = present(pair(), container(pair(), "db", 1, "exited 1"), container(pair(), "web", id=A))
    check(decide(pair(**NEW), found), """
        1 [] Container shop-db-1: start (exited (1))
        2 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        3 [1] Service db: wait until healthy
        4 [2 3] Container shop-web-1: stop (configuration changed)
        5 [4] Container shop-web-1: remove (configuration changed)
        6 [5] Container shop-web-1: rename
        7 [3 6] Container shop-web-1: start
    """)  # fmt: skip


def test_a_changed_dependency_leaves_its_dependents_running() -> None:
    one = wanted(service("db"), service("web", "db"))
    other = wanted(service("db", **NEW), service("web", "db"))
    check(decide(other, present(one, container(one, "db", id=A), container(one, "web"))), """
        1 [] Container shop-db-1: create as aaaaaaaaaaaa_shop-db-1 (configuration changed)
        2 [1] Container shop-db-1: stop (configuration changed)
        3 [2] Container shop-db-1: remove (configuration changed)
        4 [3] Container shop-db-1: rename
        5 [4] Container shop-db-1: start
    """)  # fmt: skip


def test_a_dependent_with_restart_stops_before_and_starts_after() -> None:
    one = wanted(service("db"), service("web", depends_on={"db": RESTARTED}))
    other = wanted(service("db", **NEW), service("web", depends_on={"db": RESTARTED}))
    check(decide(other, present(one, container(one, "db", id=A), container(one, "web"))), """
        1 [] Container shop-db-1: create as aaaaaaaaaaaa_shop-db-1 (configuration changed)
        2 [1] Container shop-web-1: stop (dependency db replaced)
        3 [1 ~2] Container shop-db-1: stop (configuration changed)
        4 [3] Container shop-db-1: remove (configuration changed)
        5 [4] Container shop-db-1: rename
        6 [5] Container shop-db-1: start
        7 [2 6] Container shop-web-1: start (dependency db replaced)
    """)  # fmt: skip


def test_restart_goes_on_along_the_chain() -> None:
    def chain(**db: object) -> Desired:
        return wanted(service("db", **db), service("api", depends_on={"db": RESTARTED}), service("web", depends_on={"api": RESTARTED}))

    check(decide(chain(**NEW), present(chain(), container(chain(), "db", id=A), *all_running(chain())[1:])), """
        1 [] Container shop-db-1: create as aaaaaaaaaaaa_shop-db-1 (configuration changed)
        2 [1] Container shop-web-1: stop (dependency api restarted)
        3 [1 ~2] Container shop-api-1: stop (dependency db replaced)
        4 [1 ~3] Container shop-db-1: stop (configuration changed)
        5 [4] Container shop-db-1: remove (configuration changed)
        6 [5] Container shop-db-1: rename
        7 [6] Container shop-db-1: start
        8 [3 7] Container shop-api-1: start (dependency db replaced)
        9 [2 8] Container shop-web-1: start (dependency api restarted)
    """)  # fmt: skip


# --- shared namespaces


def sidecar(**app: object) -> Desired:
    return wanted(service("app", **app), service("side", network_mode="service:app", depends_on={"app": model.Dependency()}))


def test_a_sidecar_is_replaced_with_the_container_it_shares_with() -> None:
    check(decide(sidecar(**NEW), present(sidecar(), container(sidecar(), "app", id=A), container(sidecar(), "side", id=B, ))), """
        1 [] Container shop-app-1: create as aaaaaaaaaaaa_shop-app-1 (configuration changed)
        2 [1] Container shop-side-1: stop (shares with app, which is replaced)
        3 [1 ~2] Container shop-app-1: stop (configuration changed)
        4 [3] Container shop-app-1: remove (configuration changed)
        5 [4] Container shop-app-1: rename
        6 [5] Container shop-app-1: start
        7 [1] Container shop-side-1: create as bbbbbbbbbbbb_shop-side-1 (shares with app, which is replaced)
        8 [2 7] Container shop-side-1: remove (shares with app, which is replaced)
        9 [8] Container shop-side-1: rename
        10 [6 9] Container shop-side-1: start
    """)  # fmt: skip


def test_a_sidecar_of_a_container_that_is_gone_is_replaced() -> None:
    found = present(sidecar(), container(sidecar(), "app", id=A), container(sidecar(), "side", id=B))
    check(decide(sidecar(), found), """
        1 [] Container shop-side-1: create as bbbbbbbbbbbb_shop-side-1 (shares with a container of app that is gone)
        2 [1] Container shop-side-1: stop (shares with a container of app that is gone)
        3 [2] Container shop-side-1: remove (shares with a container of app that is gone)
        4 [3] Container shop-side-1: rename
        5 [4] Container shop-side-1: start
    """)  # fmt: skip


def test_a_sidecar_rejoins_when_the_other_starts_again() -> None:
    found = present(sidecar(), container(sidecar(), "app", 1, "exited 1"), container(sidecar(), "side"))
    check(decide(sidecar(), found), """
        1 [] Container shop-app-1: start (exited (1))
        2 [] Container shop-side-1: stop (shares with app, which starts anew)
        3 [1 2] Container shop-side-1: start (shares with app, which starts anew)
    """)  # fmt: skip


# --- options


def test_force_recreate_replaces_everything_and_runs_jobs_again() -> None:
    target = wanted(service("migrate"), service("web", depends_on={"migrate": COMPLETED}))
    found = present(target, container(target, "migrate", 1, "exited 0", id=A), container(target, "web", id=B))
    check(decide(target, found, Policy(force_recreate=True)), """
        1 [] Container shop-migrate-1: create as aaaaaaaaaaaa_shop-migrate-1 (forced)
        2 [1] Container shop-migrate-1: remove (forced)
        3 [2] Container shop-migrate-1: rename
        4 [3] Container shop-migrate-1: start
        5 [] Container shop-web-1: create as bbbbbbbbbbbb_shop-web-1 (forced)
        6 [4] Service migrate: wait until completed
        7 [5 6] Container shop-web-1: stop (forced)
        8 [7] Container shop-web-1: remove (forced)
        9 [8] Container shop-web-1: rename
        10 [6 9] Container shop-web-1: start
    """)  # fmt: skip


def test_a_changed_job_runs_again() -> None:
    def stack(**migrate: object) -> Desired:
        return wanted(service("migrate", **migrate), service("web", depends_on={"migrate": COMPLETED}))

    found = present(stack(), container(stack(), "migrate", 1, "exited 0", id=A), container(stack(), "web"))
    check(decide(stack(**NEW), found), """
        1 [] Container shop-migrate-1: create as aaaaaaaaaaaa_shop-migrate-1 (configuration changed)
        2 [1] Container shop-migrate-1: remove (configuration changed)
        3 [2] Container shop-migrate-1: rename
        4 [3] Container shop-migrate-1: start
    """)  # fmt: skip


def test_no_recreate_keeps_what_is_there() -> None:
    found = present(pair(), *all_running(pair()))
    check(decide(pair(**NEW), found, Policy(no_recreate=True)), "")


def test_a_timeout_is_passed_to_every_stop() -> None:
    one, other = wanted(service("web")), wanted(service("web", **NEW))
    plan = str(decide(other, present(one, container(one, "web")), Policy(timeout_s=3.0)))
    assert "shop-web-1: stop within 3s (configuration changed)" in plan


def test_unselected_services_are_left_alone() -> None:
    one = wanted(service("a"), service("b"))
    other = wanted(service("a", **NEW), service("b", **NEW))
    plan = str(decide(other, present(one, *all_running(one)), Policy(services=("a",))))
    assert "shop-a-1" in plan and "shop-b-1" not in plan


# --- scale


def web(replicas: int) -> Desired:
    return wanted(service("web", scale=replicas))


def test_scale_up_adds_the_missing_numbers() -> None:
    check(decide(web(3), present(web(3), container(web(3), "web", 1), container(web(3), "web", 3))), """
        1 [] Container shop-web-2: create (missing)
        2 [1] Container shop-web-2: start
    """)  # fmt: skip


def test_scale_down_removes_the_highest_numbers() -> None:
    check(decide(web(1), present(web(3), *all_running(web(3)))), """
        1 [] Container shop-web-2: stop (scaled to 1)
        2 [1] Container shop-web-2: remove (scaled to 1)
        3 [] Container shop-web-3: stop (scaled to 1)
        4 [3] Container shop-web-3: remove (scaled to 1)
    """)  # fmt: skip


def test_scale_to_nothing() -> None:
    check(decide(web(0), present(web(1), container(web(1), "web", 1, "exited 0"))), """
        1 [] Container shop-web-1: remove (scaled to 0)
    """)  # fmt: skip


def test_the_option_scale_wins_over_the_file() -> None:
    target = wanted(service("web", scale=1), scale={"web": 2})
    plan = str(decide(target, present(target, container(target, "web"))))
    assert plan.startswith("1 [] Container shop-web-2: create")


def test_replicas_are_replaced_side_by_side() -> None:
    one, other = web(2), wanted(service("web", scale=2, **NEW))
    found = present(one, container(one, "web", 1, id=A), container(one, "web", 2, id=B))
    check(decide(other, found), """
        1 [] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: stop (configuration changed)
        3 [2] Container shop-web-1: remove (configuration changed)
        4 [3] Container shop-web-1: rename
        5 [4] Container shop-web-1: start
        6 [] Container shop-web-2: create as bbbbbbbbbbbb_shop-web-2 (configuration changed)
        7 [6] Container shop-web-2: stop (configuration changed)
        8 [7] Container shop-web-2: remove (configuration changed)
        9 [8] Container shop-web-2: rename
        10 [9] Container shop-web-2: start
    """)  # fmt: skip


# --- orphans and one-offs


def test_orphans_are_named_and_left() -> None:
    one, other = wanted(service("web"), service("old")), wanted(service("web"))
    check(decide(other, present(one, *all_running(one))), """
        ! Project shop: found orphan containers: shop-old-1
    """)  # fmt: skip


def test_orphans_go_when_asked() -> None:
    one, other = wanted(service("web"), service("old")), wanted(service("web"))
    check(decide(other, present(one, *all_running(one)), Policy(remove_orphans=True)), """
        1 [] Container shop-old-1: stop (orphan)
        2 [1] Container shop-old-1: remove (orphan)
    """)  # fmt: skip


def test_services_behind_a_profile_are_no_orphans() -> None:
    one = wanted(service("web"), service("debug"))
    other = wanted(service("web"), disabled_services=[service("debug")])
    check(decide(other, present(one, *all_running(one))), "")


def test_one_offs_are_neither_replicas_nor_orphans() -> None:
    target = wanted(service("web"))
    run = container(target, "web", 1, called="shop-web-run-1234", ONEOFF="True")
    check(decide(target, present(target, container(target, "web"), run)), "")


def test_a_name_is_free_before_a_renamed_service_takes_it() -> None:
    one, other = wanted(service("old", container_name="front")), wanted(service("new", container_name="front"))
    check(decide(other, present(one, container(one, "old")), Policy(remove_orphans=True)), """
        1 [] Container front: stop (orphan)
        2 [1] Container front: remove (orphan)
        3 [2] Container front: create (missing)
        4 [3] Container front: start
    """)  # fmt: skip


# --- networks


def two(**default: object) -> Desired:
    networks = [model.Network("default", "shop_default", **default)]
    return wanted(service("db"), service("web", "db"), networks=networks)


def test_a_changed_network_takes_its_containers_with_it() -> None:
    found = present(two(), container(two(), "db", id=A), container(two(), "web", id=B))
    check(decide(two(internal=True), found), """
        1 [] Container shop-web-1: stop (network shop_default replaced)
        2 [~1] Container shop-db-1: stop (network shop_default replaced)
        3 [1 2] Network shop_default: remove (configuration changed)
        4 [3] Network shop_default: create (configuration changed)
        5 [4] Container shop-db-1: create as aaaaaaaaaaaa_shop-db-1 (network shop_default replaced)
        6 [2 5] Container shop-db-1: remove (network shop_default replaced)
        7 [6] Container shop-db-1: rename
        8 [7] Container shop-db-1: start
        9 [4] Container shop-web-1: create as bbbbbbbbbbbb_shop-web-1 (network shop_default replaced)
        10 [1 9] Container shop-web-1: remove (network shop_default replaced)
        11 [10] Container shop-web-1: rename
        12 [8 11] Container shop-web-1: start
    """)  # fmt: skip


def test_a_changed_network_is_kept_while_services_that_were_not_chosen_use_it() -> None:
    found = present(two(), *all_running(two()))
    check(decide(two(internal=True), found, Policy(services=("db",))), """
        ! Network shop_default: its definition has changed: it is kept as it is
    """)  # fmt: skip


def test_a_network_made_anew_by_somebody_else_replaces_its_containers() -> None:
    found = present(two(), *all_running(two()))
    moved = Observed("shop", found.containers, {"shop_default": _with_id(two())}, images=found.images)
    assert str(decide(two(), moved)).count("(network shop_default replaced)") == 6


def _with_id(target: Desired) -> object:
    from dataclasses import replace

    return replace(network(target, "shop_default"), id="f" * 64)


def test_a_missing_network_is_made_and_its_containers_replaced() -> None:
    found = present(wanted(service("web")), container(wanted(service("web")), "web", id=A), networks=())
    check(decide(wanted(service("web")), found), """
        1 [] Network shop_default: create (missing)
        2 [1] Container shop-web-1: create as aaaaaaaaaaaa_shop-web-1 (network shop_default missing)
        3 [2] Container shop-web-1: stop (network shop_default missing)
        4 [3] Container shop-web-1: remove (network shop_default missing)
        5 [4] Container shop-web-1: rename
        6 [5] Container shop-web-1: start
    """)  # fmt: skip


def test_a_container_taken_off_its_network_is_replaced() -> None:
    target = wanted(service("web"))
    plan = str(decide(target, present(target, container(target, "web", without_networks=True))))
    assert "(not connected to network shop_default)" in plan


# --- after an interrupted run


def test_a_replacement_left_under_its_temporary_name_is_finished() -> None:
    old, new = wanted(service("web")), wanted(service("web", **NEW))
    found = present(new, container(old, "web", id=A), container(new, "web", 1, "created", called="aaaaaaaaaaaa_shop-web-1", id=B))
    check(decide(new, found), """
        1 [] Container shop-web-1: stop (superseded)
        2 [1] Container shop-web-1: remove (superseded)
        3 [2] Container shop-web-1: rename (was aaaaaaaaaaaa_shop-web-1)
        4 [3] Container shop-web-1: start (is created)
    """)  # fmt: skip


def test_a_replacement_that_only_lacks_its_name_gets_it_while_it_runs() -> None:
    target = wanted(service("web"))
    check(decide(target, present(target, container(target, "web", called="aaaaaaaaaaaa_shop-web-1"))), """
        1 [] Container shop-web-1: rename (was aaaaaaaaaaaa_shop-web-1)
    """)  # fmt: skip


def test_a_third_version_clears_two_older_ones_away() -> None:
    old, middle, new = wanted(service("web")), wanted(service("web", **NEW)), wanted(service("web", tty=True))
    found = present(new, container(old, "web", id=A), container(middle, "web", 1, "created", called="aaaaaaaaaaaa_shop-web-1", id=B))
    check(decide(new, found), """
        1 [] Container shop-web-1: create as bbbbbbbbbbbb_shop-web-1 (configuration changed)
        2 [1] Container shop-web-1: stop (configuration changed)
        3 [2] Container shop-web-1: remove (configuration changed)
        4 [1] Container aaaaaaaaaaaa_shop-web-1: remove (configuration changed)
        5 [3 4] Container shop-web-1: rename
        6 [5] Container shop-web-1: start
    """)  # fmt: skip


def test_of_two_good_ones_the_running_one_stays() -> None:
    target = wanted(service("web"))
    found = present(target, container(target, "web", 1, "created", id=A), container(target, "web", called="aaaaaaaaaaaa_shop-web-1", id=B))
    check(decide(target, found), """
        1 [] Container shop-web-1: remove (superseded)
        2 [1] Container shop-web-1: rename (was aaaaaaaaaaaa_shop-web-1)
    """)  # fmt: skip


# --- anonymous volumes


def mounts_of(plan: Plan) -> dict[str, str]:
    create = next(node.action for node in plan.nodes if isinstance(node.action, CreateContainer))
    return {mount.target: mount.source for mount in create.spec.mounts}


def test_anonymous_volumes_are_carried_over() -> None:
    kept = (model.VolumeMount("volume", "/cache"),)
    old, new = wanted(service("web", volumes=kept)), wanted(service("web", volumes=kept, **NEW))
    mounts = (anonymous("/cache", "one"), anonymous("/var/lib/data", "two"))
    plan = decide(new, present(old, container(old, "web", mounts=mounts)))
    assert mounts_of(plan) == {"/cache": digest("one"), "/var/lib/data": digest("two")}


def test_what_is_mounted_elsewise_now_is_not_carried_over() -> None:
    old = wanted(service("web"))
    new = wanted(service("web", volumes=(model.VolumeMount("bind", "/a", "/srv/a"),), tmpfs=("/b",)))
    named = MountPoint(MountType.VOLUME, "/c", name="shop_data")
    plan = decide(new, present(old, container(old, "web", mounts=(anonymous("/a"), anonymous("/b"), named))))
    assert mounts_of(plan) == {"/a": "/srv/a"}


def test_renewed_anonymous_volumes_go_with_the_old_container() -> None:
    old, new = wanted(service("web")), wanted(service("web", **NEW))
    plan = decide(new, present(old, container(old, "web", mounts=(anonymous("/data"),))), Policy(renew_anonymous_volumes=True))
    assert mounts_of(plan) == {}
    assert [node.action.volumes for node in plan.nodes if isinstance(node.action, RemoveContainer)] == [True]


def test_the_image_id_of_the_list_is_what_counts() -> None:
    target = wanted(service("web"))
    found = present(target, container(target, "web", image_id=""), images={"busybox:1": IMAGE_ID})
    check(decide(target, found), "")


def test_a_wide_web_of_restarts_is_planned_at_once() -> None:
    """Thirty layers of two, each depending on both below: every path is looked at once, not two to the power of thirty."""

    def web_of(**keys: object) -> Desired:
        layers = [(f"a{number:02}", f"b{number:02}") for number in range(30)]
        below: dict[str, model.Dependency] = {}
        found = []
        for layer in layers:
            found += [service(name, depends_on=below, **(keys if layer == layers[0] else {})) for name in layer]
            below = dict.fromkeys(layer, RESTARTED)
        return wanted(*found)

    plan = decide(web_of(**NEW), present(web_of(), *all_running(web_of())))
    assert str(plan).count(": stop (dependency ") == 58
