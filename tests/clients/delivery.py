"""Debian's Alertmanager beside the built binary: who is told what, and when, while alerts come and go. Groups, repeats,
inhibition, silences, time intervals."""

import json
import pathlib

from alerting import Debian, Ours, amtool, moment
from programs import until

# What may lie between the same message of the two: an alert can come just before one's turn and just after the other's,
# which is one group_interval, and a busy machine may hold up either by as much again.
TOLERANCE_S = 4.0

ROUTES = {
    "copy": "continue: true",
    "second": "",
    "shut": "mute_time_intervals: [always]",
    "closed": "active_time_intervals: [never]",
    "open": "active_time_intervals: [always], mute_time_intervals: [never]",
    "each": "group_by: ['...']",
    "quiet": "",
    "again": "repeat_interval: 3s",
    "inhibit": "",
    "silenced": "",
}


def configuration(recorder, _):
    routes, receivers = "", "- name: root\n"
    for name, more in ROUTES.items():
        case = "copy" if name == "second" else name
        routes += f"  - {{matchers: ['case=\"{case}\"'], receiver: {name}, {more}}}\n"
        hook = f"url: 'http://127.0.0.1:{recorder.port}/{name}', send_resolved: {str(name != 'quiet').lower()}"
        receivers += f"- name: {name}\n  webhook_configs: [{{{hook}}}]\n"
    return f"""
route:
  receiver: root
  group_by: [alertname]
  group_wait: 2s
  group_interval: 2s
  repeat_interval: 1h
  routes:
{routes}
receivers:
{receivers}
time_intervals:
- name: always
  time_intervals: [{{times: [{{start_time: '00:00', end_time: '24:00'}}], location: Europe/Berlin}}]
- name: never
  time_intervals: [{{years: ['1999:2001'], months: ['february'], days_of_month: ['-1']}}]
inhibit_rules:
- source_matchers: [severity="critical"]
  target_matchers: [severity="warning"]
  equal: [cluster]
"""


def alert(case, name, start, end=None, **labels):
    one = {"labels": {"alertname": name, "case": case, **labels}, "annotations": {"summary": case}, "startsAt": start}
    return one | ({"endsAt": end} if end else {})


class Told:
    """What one side said so far: by receiver and group, states in order and when each came first."""

    def __init__(self, side):
        self.states = {}
        for path, all in side.recorder.seen.items():
            for (_, body), when in zip(list(all), side.recorder.when[path]):
                body = json.loads(body)
                state = sorted((one["labels"].get("instance", ""), one["status"]) for one in body["alerts"])
                entries = self.states.setdefault((path, body["groupKey"]), [])
                if not entries or entries[-1][0] != state:
                    entries.append((state, [when]))
                else:
                    entries[-1][1].append(when)

    def last(self, path, name):
        """The last state of a group, by the name of its alerts."""
        found = [entries for (known, key), entries in self.states.items() if known == path and f'"{name}"' in key]
        return found[0][-1][0] if found else None


def both_say(what, sides, expected):
    """Waits until the last states of groups are these on both sides."""
    says = lambda side: all(Told(side).last(f"/{path}", name) == state for (path, name), state in expected.items())
    until(what, lambda: all(says(side) for side in sides), 60)


def same_story(ours, debian):
    sides = (debian, ours)
    firing, resolved = [("", "firing")], [("", "resolved")]
    for side in sides:
        amtool(side, "silence", "add", "alertname=Hush", "--comment=c", "--author=a", "--duration=1h")
    start = moment()
    first = [
        alert("copy", "Copy", start),
        alert("shut", "Shut", start),
        alert("closed", "Closed", start),
        alert("open", "Open", start, instance="a"),
        alert("each", "Each", start, instance="a"),
        alert("each", "Each", start, instance="b"),
        alert("quiet", "Quiet", start),
        alert("again", "Again", start),
        alert("inhibit", "Source", start, severity="critical", cluster="eu"),
        alert("inhibit", "Target", start, severity="warning", cluster="eu"),
        alert("inhibit", "Free", start, severity="warning", cluster="us"),
        alert("silenced", "Hush", start),
    ]
    for side in sides:
        side.post(first)
    named = {("copy", "Copy"): firing, ("second", "Copy"): firing, ("quiet", "Quiet"): firing}
    named |= {("again", "Again"): firing, ("inhibit", "Source"): firing, ("inhibit", "Free"): firing}
    both_say("firing", sides, named | {("open", "Open"): [("a", "firing")]})
    until("groups of single alerts", lambda: all(len(side.recorder.seen.get("/each", [])) == 2 for side in sides))
    same_answers(ours, debian)

    end = moment()
    second = [
        alert("open", "Open", end, instance="b"),
        alert("quiet", "Quiet", start, end),
        alert("silenced", "Hush", start, end),
        alert("inhibit", "Source", start, end, severity="critical", cluster="eu"),
    ]
    for side in sides:
        side.post(second)
    changed = {("open", "Open"): [("a", "firing"), ("b", "firing")]}
    changed |= {("inhibit", "Source"): resolved, ("inhibit", "Target"): firing}
    both_say("changes", sides, changed)
    until("repeats", lambda: all(len(side.recorder.seen["/again"]) >= 4 for side in sides), 60)

    end = moment()
    third = [{**one, "endsAt": end} for one in [*first, *second] if "endsAt" not in one]
    for side in sides:
        side.post(third)
    over = {("copy", "Copy"): resolved, ("second", "Copy"): resolved, ("again", "Again"): resolved}
    over |= {("inhibit", "Target"): resolved, ("inhibit", "Free"): resolved}
    both_say("ends", sides, over | {("open", "Open"): [("a", "resolved"), ("b", "resolved")]})
    until("ends of single alerts", lambda: all(len(side.recorder.seen["/each"]) == 4 for side in sides), 60)
    compare(Told(ours), Told(debian))


def compare(ours, theirs):
    mine = {key: [state for state, _ in entries] for key, entries in ours.states.items()}
    other = {key: [state for state, _ in entries] for key, entries in theirs.states.items()}
    assert mine == other, f"\nours   {mine}\ntheirs {other}"
    assert not {"/shut", "/closed", "/silenced", "/root"} & {path for path, _ in mine}, mine
    assert [states for (path, _), states in mine.items() if path == "/quiet"] == [[[("", "firing")]]], mine
    for key, entries in ours.states.items():
        for (state, mine), (_, other) in zip(entries, theirs.states[key]):
            assert abs(mine[0] - other[0]) <= TOLERANCE_S, (key, state, mine[0] - other[0])
            if len(mine) > 2 and len(other) > 2:
                gaps = [(all[-1] - all[0]) / (len(all) - 1) for all in (mine, other)]
                assert abs(gaps[0] - gaps[1]) < 2.0, (key, gaps)


def same_answers(ours, debian):
    """amtool sees the same alerts in the same states, and routes them alike."""
    for flags in ([], ["--active"], ["--silenced"], ["--inhibited"], ["--active", "--inhibited", "case=inhibit"]):
        shown = []
        for side in (ours, debian):
            listed = json.loads(amtool(side, "alert", "query", "-o", "json", *flags))
            state = lambda one: (len(one["status"]["silencedBy"]), one["status"]["inhibitedBy"], one["status"]["state"])
            shown.append(sorted((sorted(one["labels"].items()), state(one), one["receivers"]) for one in listed))
        assert shown[0] == shown[1], (flags, shown)
    for case in ROUTES:
        routes = [amtool(side, "config", "routes", "test", f"case={case}") for side in (ours, debian)]
        assert routes[0] == routes[1], (case, routes)
    texts = [amtool(side, "config", "routes", "show") for side in (ours, debian)]
    assert texts[0] == texts[1], texts
    silences = []
    for side in (ours, debian):
        one = json.loads(amtool(side, "silence", "query", "-o", "json", "alertname=Hush"))[0]
        silences.append((one["matchers"], one["comment"], one["createdBy"], one["status"]))
    assert silences[0] == silences[1], silences


def cases(binary, folder, programs):
    folder = pathlib.Path(folder) / "delivery"
    folder.mkdir()
    ours = Ours(binary, folder / "ours", configuration)
    debian = Debian(folder / "debian", configuration)
    programs += [ours.program, debian.program]
    return [("the same messages at the same times as alertmanager", lambda: same_story(ours, debian))]
