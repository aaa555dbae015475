"""The worker against a real Tink server of the older generation (see real_server.py).

It keeps states and times, and no messages: why an action failed is read in the worker's log. There is no auto
enrolment in it.
"""

import time

from real_server import (FILES_URL, check_idle, check_restarted_worker, command_in, disk, image_to, older_case, older_server, process_runs,
    read_file, wait_for, write_file_to)

__all__ = ["disk", "older_case", "older_server"]  # the fixtures


def test_workflow_succeeds(disk, older_case):
    case = older_case
    case.create_machine()
    case.create_workflow([
        image_to(disk),
        write_file_to(disk),
        command_in(disk, "cat /etc/hostname /etc/motd > /etc/proof && sleep 2"),
    ])
    worker = case.start_worker()
    worker.wait_for_state(case.name, "SUCCESS")
    assert case.states() == ["SUCCESS"] * 3
    assert 2 <= case.server.actions(case.name)[2]["seconds"] < 10
    assert read_file(disk, "/etc/proof") == "imaged\nwritten by the workflow\n"
    assert "older generation" in worker.log.read_text()


def test_failure_is_told_in_the_log(disk, older_case):
    case = older_case
    case.create_machine()
    case.create_workflow([image_to(disk, name="no-such-image.raw.zst"), write_file_to(disk)])
    worker = case.start_worker()
    worker.wait_for_state(case.name, "FAILED")
    assert case.states() == ["FAILED", "PENDING"]
    wait_for("the reason in the log", lambda: "state=FAILED" in worker.log.read_text(), 10)
    line = next(line for line in worker.log.read_text().splitlines() if "state=FAILED" in line)
    print(line)
    assert f"{FILES_URL}/no-such-image.raw.zst" in line and "404" in line
    assert not case.server.actions(case.name)[0].get("message"), "this server has learnt to keep messages"


def test_timeout(disk, older_case):
    case = older_case
    case.create_machine()
    case.create_workflow([image_to(disk), command_in(disk, "sleep 62", timeout=3)])
    worker = case.start_worker()
    worker.wait_for_state(case.name, "TIMEOUT")
    assert case.states() == ["SUCCESS", "TIMEOUT"]
    assert 3 <= case.server.actions(case.name)[1]["seconds"] < 10
    print(next(line for line in worker.log.read_text().splitlines() if "state=TIMEOUT" in line))
    assert not process_runs("sleep 62"), "the action's process is still there"


def test_worker_restarted_in_an_action(disk, older_case):
    check_restarted_worker(disk, older_case)


def test_server_restarted_in_an_action(disk, older_case):
    """The report that finds no server is sent again until one takes it; nothing is run twice."""
    case = older_case
    case.create_machine()
    case.create_workflow([
        image_to(disk), command_in(disk, "sleep 3; echo once >> /etc/proof"), write_file_to(disk)])
    worker = case.start_worker()
    case.wait_for_action(1, "RUNNING")
    case.server.stop_tink()
    time.sleep(4)  # the action ends and its report fails meanwhile
    down = time.monotonic()
    case.server.start_tink()
    worker.wait_for_state(case.name, "SUCCESS", 90)
    print(f"SUCCESS {time.monotonic() - down:.1f} s after the server's start")
    assert case.states() == ["SUCCESS"] * 3
    assert read_file(disk, "/etc/proof") == "once\n"
    assert read_file(disk, "/etc/motd") == "written by the workflow\n"


def test_workflow_deleted_in_an_action(disk, older_case):
    """The action is stopped when its workflow is not listed any more, and the worker takes the next one."""
    case = older_case
    case.create_machine()
    case.create_workflow([image_to(disk), command_in(disk, "sleep 163", timeout=300)])
    worker = case.start_worker()
    case.wait_for_action(1, "RUNNING")
    wait_for("the action's process", lambda: process_runs("sleep 163"), 10)
    case.server.delete_workflow(case.name)
    deleted = time.monotonic()
    wait_for("the action to be stopped", lambda: not process_runs("sleep 163"), 60, alive=worker.check_alive)
    print(f"the action was stopped {time.monotonic() - deleted:.1f} s after the workflow was deleted")
    case.create_workflow([write_file_to(disk)], name=f"{case.name}-next")
    worker.wait_for_state(f"{case.name}-next", "SUCCESS", 60)
    assert read_file(disk, "/etc/motd") == "written by the workflow\n"


def test_idle(disk, older_case):
    check_idle(older_case, disk, seconds=20, wait_s=15)
