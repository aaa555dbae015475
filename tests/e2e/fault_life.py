"""What can happen to the worker itself, and what a server may answer for good: killed, stopped, its workflow deleted, its report
refused, its action handed out again. A cell is a function of fault_matrix.Cell; test_faults.py runs them all at the same time.
"""

import re
import signal
import time

from fault_matrix import AGENT, IMAGE2DISK, REBOOT
from worker import eventually, is_alive

SOON_S = 3.0  # to leave, when nothing has to be said any more
GRACE_S = 5.0  # what a last report is given


# --- killed


def _killed(runs, stored=None):
    def cell_function(cell):
        if cell.phase == "start":
            cell.server.proxy.set("refuse")
            cell.submit()
            cell.worker.start()
            cell.worker.wait_log("cannot be asked")
        elif stored:
            cell.submit()
            fault = cell.server.fault("hang", action="image", state="SUCCESS", stored=True)
            cell.worker.start()
            cell.server.wait(lambda: fault.hits and cell.workflow.action("image").state == "SUCCESS", what="the stored report")
        else:
            cell.reach()
        child = cell.worker.action_pid() if cell.phase == "action" else None
        cell.worker.kill()
        if child:
            eventually(lambda: not is_alive(child), 5, "the action's process ending with the worker")
        cell.web.faults = [fault for fault in cell.web.faults if fault.path != cell.path]
        cell.server.proxy.set("pass")
        cell.worker.start()
        if cell.phase == "polling":
            cell.submit()
        cell.finish()
        cell.check(runs)
    return cell_function


# --- stopped


def _leave(cell, within_s, status=0):
    begin_s = time.monotonic()
    assert cell.worker.stop(signal.SIGTERM, timeout_s=30) == status
    took_s = time.monotonic() - begin_s
    assert took_s < within_s, f"left after {took_s:.1f} s"
    cell.worker.assert_nothing_left()
    return took_s


def _next_life(cell, runs):
    cell.web.faults = [fault for fault in cell.web.faults if fault.path != cell.path]
    cell.server.faults.clear()
    cell.server.proxy.set("pass")
    cell.worker.start()
    cell.finish()
    cell.check(runs)


def _stopped_at_start(cell):
    """In the pause before another try."""
    cell.server.proxy.set("refuse")
    cell.submit()
    cell.worker.flags += ["--backoff-max-interval", "60s"]
    cell.worker.start()
    cell.worker.wait_log("cannot be asked")
    time.sleep(1.5)
    _leave(cell, SOON_S)
    _next_life(cell, 1)


def _stopped_polling(cell):
    cell.reach()
    _leave(cell, SOON_S)
    cell.submit()
    _next_life(cell, 1)


def _stopped_running(cell):
    cell.reach()
    _leave(cell, SOON_S)
    assert [report.state for report in cell.server.reports] == ["RUNNING"]
    _next_life(cell, 1)


def _stopped_action(cell):
    cell.submit(slow=True)
    cell.worker.start()
    child = cell.worker.action_pid()
    cell.server.wait_report("RUNNING", "image", count=1 if cell.is_older else 2)
    cell.worker.wait_log("writing: ")
    _leave(cell, SOON_S + GRACE_S)
    assert not is_alive(child)
    last = cell.server.reports[-1]
    # An older server would throw the text away: it has RUNNING, and is told no more.
    assert cell.is_older or last.state == "RUNNING" and last.message.startswith("interrupted, while writing"), last
    assert cell.workflow.state == "RUNNING"
    _next_life(cell, 2)


def _stopped_end(cell):
    """The final report is not answered: it is given its time, and is lost."""
    cell.reach()
    took_s = _leave(cell, SOON_S + GRACE_S)
    assert took_s > GRACE_S - 1.5
    assert "stopped before the report was delivered" in cell.worker.log
    _next_life(cell, 2)


def _stopped_late(cell):
    """The final report is answered late: the worker waits for it, and the action is not done again."""
    cell.submit()
    fault = cell.server.fault("late", action="image", state="SUCCESS", seconds=2)
    cell.worker.start()
    cell.server.wait(lambda: fault.hits, what="the final report")
    _leave(cell, SOON_S + GRACE_S)
    assert [report.state for report in cell.server.reports if report.state != "RUNNING"] == ["SUCCESS"]
    _next_life(cell, 1)


def _stopped_while_it_restarts(cell):
    """The server comes back within the time that a last report is given."""
    cell.reach()
    cell.server.proxy.set("refuse")
    cell.worker.wait_log("could not be delivered")
    cell.worker.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    cell.server.proxy.set("pass")
    assert cell.worker.process.wait(SOON_S + GRACE_S) == 0
    assert cell.workflow.action("image").state == "SUCCESS"
    _next_life(cell, 1)


def _stopped_twice(cell):
    """The second signal ends the waiting."""
    cell.reach()
    cell.worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert cell.worker.process.poll() is None
    _leave(cell, SOON_S)
    _next_life(cell, 2)


def _stopped_twice_action(cell):
    """The report of the interruption is not answered, nor is the one of progress before it."""
    cell.submit(slow=True)
    fault = cell.server.fault("hang", action="image", state="RUNNING", skip=1, times=-1)
    cell.worker.start()
    cell.server.wait(lambda: fault.hits, what="a report of progress")
    cell.worker.process.send_signal(signal.SIGTERM)
    cell.server.wait(lambda: fault.hits == 2, what="the report of the interruption")
    _leave(cell, SOON_S)
    _next_life(cell, 2)


# --- refused for good


def _another(cell):
    """The worker is back to polling: the next workflow is done."""
    cell.workflow = cell.server.add_actions(AGENT, [{"name": "after", "image": REBOOT}], name="next")
    cell.finish()
    assert cell.worker.process.poll() is None
    cell.check_modesty()
    cell.worker.assert_nothing_left()
    assert cell.worker.stop() == 0
    assert not cell.server.violations, cell.server.violations


def _deleted_running(cell):
    cell.submit()
    cell.server.fault("delete", action="image", state="RUNNING")
    cell.worker.start()
    cell.worker.wait_log("the server refuses the report for good")
    _another(cell)
    assert not cell.web.requests_for(cell.path)


def _deleted_action(cell):
    cell.submit(slow=True)
    if cell.is_older:
        cell.older_action("delete")
    else:
        cell.server.fault("delete", action="image", state="RUNNING", skip=1)
        cell.worker.start()
    child = cell.worker.action_pid()
    cell.worker.wait_log("the workflow is gone, its action is ended", timeout_s=20)
    eventually(lambda: not is_alive(child), 5, "the action's end")
    _another(cell)
    assert {report.state for report in cell.server.reports if report.action_name == "image"} == {"RUNNING"}


def _deleted_silent(cell):
    """An action that has nothing to tell: it waits for a disk that does not come. It is told of all the same."""
    cell.workflow = cell.server.add_actions(AGENT, [{"name": "image", "image": IMAGE2DISK, "timeout": 120, "environment": {
        "IMG_URL": cell.web.add(cell.path, b"x"), "DEST_DISK": "/dev/disk/by-id/that-does-not-come"}}])
    cell.server.fault("delete", action="image", state="RUNNING", skip=1)
    cell.worker.start()
    cell.worker.wait_log("the workflow is gone, its action is ended", timeout_s=20)
    assert re.search(r"\d+s after the start", cell.server.reports[1].message), cell.server.reports[1]
    _another(cell)


def _deleted_end(cell):
    cell.submit()
    cell.server.fault("delete", action="image", state="SUCCESS")
    cell.worker.start()
    cell.worker.wait_log("the server refuses the report for good")
    _another(cell)


def _refused(runs):
    """NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION, one after another; the server goes on handing the action out."""
    def cell_function(cell):
        phase, server = cell.phase, cell.server
        for number, code in enumerate(("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION"), 1):
            # The first RUNNING of each run goes by when it is progress that is refused.
            server.fault("status", code=code, message="never", action="image", state="SUCCESS" if phase == "end" else "RUNNING",
                         skip=number if phase == "action" else 0)
        cell.submit(slow=phase == "action")
        cell.worker.start()
        server.wait(lambda: all(fault.hits for fault in server.faults.faults), timeout_s=60, what="three refusals")
        cell.web.faults = [fault for fault in cell.web.faults if fault.path != cell.path]
        cell.finish()
        log = cell.worker.log
        assert len(re.findall("NOT_FOUND: never|INVALID_ARGUMENT: never|FAILED_PRECONDITION: never", log)) == 3, log
        cell.check(runs)
    return cell_function


def _refused_for_ever(cell):
    """A server that hands an action out and refuses to hear of it: asked with longer and longer pauses."""
    fault = cell.server.fault("status", code="NOT_FOUND", message="never", action="image", state="RUNNING", times=-1)
    cell.submit()
    cell.worker.start()
    cell.server.wait(lambda: fault.hits >= 2, what="refusals")
    count, begin_s = fault.hits, time.monotonic()
    time.sleep(1.5)
    assert fault.hits - count <= (time.monotonic() - begin_s) / 0.1 + 1
    cell.server.faults.clear()
    cell.finish()
    assert cell.processor_s() < 2
    assert cell.worker.stop() == 0 and not cell.server.violations


# --- handed out again


def _hand_out_again(cell, times):
    """The server's cursor goes back to an action whose SUCCESS it has acknowledged."""
    workflow, left = cell.workflow, [times]
    usual = workflow.next_action

    def next_action(agent):
        action = workflow.action("image")
        if action.state == "SUCCESS" and workflow.action("reboot").state == "PENDING" and left[0] > 0:
            left[0] -= 1
            action.state = workflow.state = "RUNNING"
            workflow.current = (action.id, "RUNNING")
        return usual(agent)
    workflow.next_action = next_action


def _again(cell):
    """Without a reason of ours: it is done again, three times, with pauses."""
    cell.submit()
    _hand_out_again(cell, 3)
    begin_s = time.monotonic()
    cell.worker.start()
    cell.finish()
    assert time.monotonic() - begin_s > 0.3
    assert cell.worker.log.count("whose end it has acknowledged") == 1
    cell.check(4)


def _again_after_doubt(cell):
    """A report of progress got no answer, and reached the server after the final one: the action is not done again."""
    cell.submit(slow=True)
    cell.server.fault("hang", action="image", state="RUNNING", skip=1, times=1)
    _hand_out_again(cell, 1)
    cell.worker.start()
    cell.finish()
    assert "it is told again" in cell.worker.log
    assert [report.state for report in cell.server.reports if report.action_name == "image"][-3:] == ["SUCCESS", "RUNNING", "SUCCESS"]
    cell.check(1)


def _stalled_progress(cell):
    """A report of progress that is not answered does not hold up the final one, and is over when that is sent."""
    cell.submit(slow=True)
    fault = cell.server.fault("hang", action="image", state="RUNNING", skip=2, times=-1)
    cell.worker.start()
    cell.server.wait(lambda: fault.hits, what="a report of progress")
    cell.finish()
    end, = re.findall(r"^(\S+) info +action ended .* action=image ", cell.worker.log, re.M)
    begin, = re.findall(r"^(\S+) info +action received .* action=reboot ", cell.worker.log, re.M)
    assert _seconds(begin) - _seconds(end) < 1.5, (end, begin)
    cell.check(1)


def _clock_set(cell):
    """From 1970 to now, while the action runs: its end is now, and its start is as long before as it took."""
    cell.lost_clock.touch()
    cell.submit(slow=True)
    cell.worker.start()
    cell.server.wait_report("RUNNING", "image", count=2)
    assert cell.server.reports[0].execution_start_s < 40 * 86400 * 365
    cell.lost_clock.unlink()
    report = cell.server.wait_report("SUCCESS", "image")
    assert abs(report.execution_stop_s - time.time()) < 5
    assert 3 < report.execution_stop_s - report.execution_start_s < 30
    cell.finish()
    cell.check(1)


def _idle_at_once(cell):
    """A server that does not hold the question: asked every 100 to 200 ms here (2.5 to 5 s by default)."""
    cell.server.long_poll_s = 0
    cell.worker.start()
    cell.worker.wait_log("nothing to do")
    count, begin_s = len(cell.server.calls), time.monotonic()
    time.sleep(1.5)
    assert 2 <= len(cell.server.calls) - count <= (time.monotonic() - begin_s) / 0.1 + 1
    assert cell.worker.log.count("nothing to do") == 1
    cell.submit()
    cell.finish()
    cell.check(1)


def _seconds(stamp):
    hours, minutes, seconds = stamp.partition("T")[2].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


_ALL = ("start", "polling", "running", "action", "end")
# Name, title, {phase: (function, what is seen)}.
_ROWS = [
    ("killed", "is killed, and started again", {phase: (_killed(2 if phase in ("action", "end") else 1),
                                                        "SUCCESS, done " + ("twice" if phase in ("action", "end") else "once")) for phase in _ALL}),
    ("killed-stored", "is killed when its report was stored", {"end": (_killed(1, stored=True), "SUCCESS, done once")}),
    ("stopped", "is stopped (SIGTERM), and started again", {
        "start": (_stopped_at_start, "leaves at once; SUCCESS, done once"), "polling": (_stopped_polling, "leaves at once; SUCCESS, done once"),
        "running": (_stopped_running, "leaves at once; SUCCESS, done once"),
        "action": (_stopped_action, "action ended, RUNNING `interrupted`; SUCCESS, done twice"),
        "end": (_stopped_end, "leaves after 5 s; SUCCESS, done twice")}),
    ("stopped-late", "is stopped, its report answered after 2 s", {"end": (_stopped_late, "waits for it; SUCCESS, done once")}),
    ("stopped-restart", "is stopped, the server back after 1 s", {"end": (_stopped_while_it_restarts, "tells it; SUCCESS, done once")}),
    ("stopped-twice", "is stopped, and again", {"action": (_stopped_twice_action, "leaves at once; SUCCESS, done twice"),
                                                "end": (_stopped_twice, "leaves at once; SUCCESS, done twice")}),
    ("deleted", "works on a workflow that is deleted", {
        "running": (_deleted_running, "never begun; back to polling"), "action": (_deleted_action, "action ended; back to polling"),
        "end": (_deleted_end, "back to polling")}),
    ("deleted-silent", "works on a deleted workflow, and its action is silent", {"action": (_deleted_silent, "action ended; back to polling")}),
    ("refused", "gets a permanent answer, three times", {
        "running": (_refused(1), "back to polling; SUCCESS, done once"), "action": (_refused(4), "action ended; SUCCESS at the fourth time"),
        "end": (_refused(4), "back to polling; SUCCESS at the fourth time")}),
    ("refused-for-ever", "gets a permanent answer for ever", {"running": (_refused_for_ever, "pauses; SUCCESS when it ends")}),
    ("again", "is given an action again after its SUCCESS", {"end": (_again, "SUCCESS, done as often as asked, with pauses")}),
    ("again-after-doubt", "is given it again as a late RUNNING arrived", {"end": (_again_after_doubt, "told again; SUCCESS, done once")}),
    ("idle-at-once", "is told at once that there is nothing to do", {"polling": (_idle_at_once, "pauses; SUCCESS, done once")}),
    ("clock-set", "has its clock set, from 1970 to now", {"action": (_clock_set, "right times; SUCCESS, done once")}),
    ("stalled-progress", "gets no answer to progress when the action ends", {"end": (_stalled_progress, "told within 1.5 s; SUCCESS, done once")}),
]
LIFE = {f"{name}-{phase}": (function, {"call_timeout": False, "clock": name == "clock-set"}) for name, _, cells in _ROWS for phase, (function, _) in cells.items()}
LIFE_ROWS = [(name, title, {phase: seen for phase, (_, seen) in cells.items()}) for name, title, cells in _ROWS]
# With a server of the older generation.
_OLDER_ROWS = [(f"older-{name}", f"(older server) {title}", cells) for name, title, cells in _ROWS
               if name in ("killed", "killed-stored", "stopped", "stopped-late", "deleted")]
OLDER_LIFE = {f"{name}-{phase}": (function, {"call_timeout": False, "generation": "older"})
              for name, _, cells in _OLDER_ROWS for phase, (function, _) in cells.items()}
OLDER_LIFE_ROWS = [(name, title, {phase: seen for phase, (_, seen) in cells.items()}) for name, title, cells in _OLDER_ROWS]
