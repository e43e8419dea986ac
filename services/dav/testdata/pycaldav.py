"""Goes through what python3-caldav can do, at the server that is named."""
import sys
from datetime import date, datetime, timezone
import caldav
from caldav.lib import error

client = caldav.DAVClient(url=sys.argv[1], username="alice@example.test", password="secret")
me = client.principal()
assert "alice@example.test" in str(me.url), me.url
assert client.check_cdav_support() and client.check_dav_support()
calendars = {c.name: c for c in me.calendars()}
assert {"Calendar", "Tasks", "Notes", "Journal"} <= set(calendars), calendars

work = me.make_calendar(name="Python", cal_id="python-cal")
assert work.get_supported_components() == ["VEVENT"], work.get_supported_components()
try:
    me.make_calendar(name="Python", cal_id="python-cal")
    raise SystemExit("the same calendar was made twice")
except (error.MkcalendarError, error.MkcolError, error.DAVError):
    pass

single = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//T//T//EN
BEGIN:VEVENT
UID:single
DTSTAMP:20260101T000000Z
DTSTART:20260714T170000Z
DTEND:20260714T180000Z
SUMMARY:Bastille Day Party
END:VEVENT
END:VCALENDAR
"""
e = work.save_event(single)
assert work.event_by_uid("single").vobject_instance.vevent.summary.value == "Bastille Day Party"
assert len(work.events()) == 1
e.vobject_instance.vevent.summary.value = "Bastille Day"
e.save()
assert "Bastille Day\r\n" in work.event_by_url(e.url).data.replace("\n", "\r\n").replace("\r\r", "\r")

yearly = single.replace("single", "yearly").replace("SUMMARY", "RRULE:FREQ=YEARLY\nSUMMARY").replace("20260714T1", "20200302T1")
work.save_event(yearly)
found = work.date_search(start=datetime(2028, 1, 1, tzinfo=timezone.utc), end=datetime(2029, 1, 1, tzinfo=timezone.utc), expand=True)
assert len(found) == 1 and "20280302T170000Z" in found[0].data and "RRULE" not in found[0].data, [f.data for f in found]
found = work.search(start=datetime(2026, 7, 1, tzinfo=timezone.utc), end=datetime(2026, 8, 1, tzinfo=timezone.utc), event=True)
assert len(found) == 1, found
assert len(work.search(summary="Bastille", event=True)) >= 1

busy = work.freebusy_request(start=datetime(2026, 7, 14, tzinfo=timezone.utc), end=datetime(2026, 7, 15, tzinfo=timezone.utc))
assert "20260714T170000Z/20260714T180000Z" in busy.data, busy.data

token = work.objects_by_sync_token()
assert len(list(token)) == 2
e.delete()
changed = work.objects_by_sync_token(sync_token=token.sync_token)
assert len(list(changed)) == 1, list(changed)
try:
    work.event_by_uid("single")
    raise SystemExit("still there")
except error.NotFoundError:
    pass

tasks = me.make_calendar(name="Python tasks", cal_id="python-tasks", supported_calendar_component_set=["VTODO"])
todo = tasks.save_todo("""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//T//T//EN
BEGIN:VTODO
UID:todo
DTSTAMP:20260101T000000Z
DUE;VALUE=DATE:20260401
SUMMARY:Taxes
END:VTODO
END:VCALENDAR
""")
assert len(tasks.todos()) == 1
todo.complete()
assert len(tasks.todos()) == 0
assert len(tasks.todos(include_completed=True)) == 1

journal = calendars["Journal"]
journal.save_journal("""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//T//T//EN
BEGIN:VJOURNAL
UID:journal
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:20260401
SUMMARY:A day
END:VJOURNAL
END:VCALENDAR
""")
assert len(journal.journals()) == 1

props = work.get_properties([caldav.elements.dav.DisplayName()])
assert props["{DAV:}displayname"] == "Python"
work.set_properties([caldav.elements.dav.DisplayName("Renamed")])
assert work.get_properties([caldav.elements.dav.DisplayName()])["{DAV:}displayname"] == "Renamed"
work.delete()
assert "Renamed" not in [c.name for c in me.calendars()]
print("all passed")
