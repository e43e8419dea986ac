#!/usr/bin/python3
"""Expands recurrence rules with python3-dateutil and libical, for tests only.

  oracle.py rules   lines of JSON {"rule", "start", "n"} on standard input
  oracle.py files   names of iCalendar files, one a line
  oracle.py same    two names of files a line, with a tab between; answers where
                    libical reads them otherwise, or nothing

Answers one line of JSON each: {"dateutil": [...], "libical": [...]}, for files
one for each component that recurs. Times are wall time; exit status 3 says that
a library is missing.
"""
import ctypes
import datetime
import itertools
import json
import re
import select
import signal
import subprocess
import sys
import zoneinfo

try:
    from dateutil.rrule import rrulestr
    ical = ctypes.CDLL("libical.so.3")
except (ImportError, OSError) as e:
    print(e, file=sys.stderr)
    sys.exit(3)

ical.icalrecur_expand_recurrence.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.POINTER(ctypes.c_long)]
EPOCH = datetime.datetime(1970, 1, 1)
signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("too slow")))
FROM, TO = datetime.datetime(1990, 1, 1), datetime.datetime(2050, 1, 1)
MOST = 200  # instances of one rule
LIMIT = 0.25  # seconds for one expansion


def parse(text):
    text = text.strip().upper()
    utc = text.endswith("Z")
    text = text.rstrip("Z")
    if "T" not in text:
        return datetime.datetime.strptime(text, "%Y%m%d"), True, False
    return datetime.datetime.strptime(text, "%Y%m%dT%H%M%S"), False, utc


def by_dateutil(rule, start, n, last):
    r = rrulestr(rule, dtstart=start)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)  # what takes longer is no answer
    try:
        return list(itertools.islice(itertools.takewhile(lambda t: t <= last, r), n))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


worker = None


def by_libical(rule, start, n, last):
    """Asks a process of its own, for it cannot be interrupted otherwise."""
    global worker
    if worker is None:
        worker = subprocess.Popen([sys.executable, __file__, "libical"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    worker.stdin.write(json.dumps([rule, text([start])[0], n, text([last])[0]]).encode() + b"\n")
    worker.stdin.flush()
    if not select.select([worker.stdout], [], [], LIMIT)[0]:
        worker.kill()
        worker.wait()
        worker = None
        raise ValueError("too slow")
    answer = json.loads(worker.stdout.readline())
    if isinstance(answer, str):
        raise ValueError(answer)
    return [parse(t)[0] for t in answer]


def libical():
    for line in sys.stdin:
        rule, start, n, last = json.loads(line)
        try:
            answer = text(call_libical(rule, parse(start)[0], n, parse(last)[0]))
        except Exception as e:
            answer = str(e)
        print(json.dumps(answer), flush=True)


def call_libical(rule, start, n, last):
    array = (ctypes.c_long * (n + 1))()
    seconds = int((start - EPOCH).total_seconds())
    if not ical.icalrecur_expand_recurrence(rule.encode(), seconds, n, array):
        raise ValueError("libical refuses the rule")
    times = []
    for t in array[:n]:
        if t == 0 and (times or start != EPOCH):
            break
        times.append(EPOCH + datetime.timedelta(seconds=t))
    return [t for t in times if t <= last]


ENGINES = {"dateutil": by_dateutil, "libical": by_libical}


def text(times):
    return [t.strftime("%Y%m%dT%H%M%S") for t in times]


def rules():
    for line in sys.stdin:
        q = json.loads(line)
        start = parse(q["start"])[0]
        answer = {}
        for name, engine in ENGINES.items():
            try:
                # dateutil wants an UNTIL without a zone for a start without one.
                rule = re.sub(r"(UNTIL=\w+)Z", r"\1", q["rule"]) if name == "dateutil" else q["rule"]
                answer[name] = text(engine(rule, start, q["n"], datetime.datetime(2090, 1, 1)))
            except Exception as e:
                answer[name + "Error"] = str(e)
        print(json.dumps(answer), flush=True)


def zone(tzid):
    tzid = tzid.strip('"').replace("US-", "US/")
    for name in (tzid, "/".join(tzid.split("/")[-2:])):
        try:
            return zoneinfo.ZoneInfo(name.replace(" ", "_"))
        except Exception:
            continue
    return None


class Unclear(Exception):
    pass


class Event:
    def __init__(self, lines):
        self.props = []
        for line in lines:
            m = re.match(r'([A-Za-z0-9-]+)((?:;[^=:;]+=(?:"[^"]*"|[^":;])*)*):(.*)$', line, re.S)
            if m:
                params = dict(p.split("=", 1) for p in re.findall(r';([^=:;]+=(?:"[^"]*"|[^":;])*)', m.group(2)))
                self.props.append((m.group(1).upper(), {k.upper(): v for k, v in params.items()}, m.group(3)))

    def all(self, *names):
        return [p for p in self.props if p[0] in names]

    def prepare(self):
        start = (self.all("DTSTART") or self.all("DUE"))[0]
        self.start, self.date, self.utc = parse(start[2])
        self.tzid = start[1].get("TZID", "")
        self.zone = zone(self.tzid) if self.tzid and not self.utc else None

    def local(self, value, params):
        t, date, utc = parse(value)
        if self.date:
            return t.replace(hour=0, minute=0, second=0), date
        if utc and not self.utc and self.tzid:
            if self.zone is None:
                raise Unclear("a time in UTC beside the zone " + self.tzid)
            return t.replace(tzinfo=datetime.timezone.utc).astimezone(self.zone).replace(tzinfo=None), date
        other = params.get("TZID", "")
        if not utc and not date and other and other != self.tzid:
            mine, theirs = self.zone, zone(other)
            if self.utc:
                mine = datetime.timezone.utc
            if mine is None or theirs is None:
                raise Unclear("two zones: %s, %s" % (self.tzid, other))
            return t.replace(tzinfo=theirs).astimezone(mine).replace(tzinfo=None), date
        return t, date

    def expand(self, engine):
        def walk(name):
            for _, _, rule in self.all(name):
                rule = rule.upper().rstrip("; ")
                m = re.search(r"UNTIL=([0-9TZ]+)", rule)
                last = TO
                if m:
                    until, date = self.local(m.group(1), {})
                    if date and not self.date:  # the whole day
                        until += datetime.timedelta(hours=23, minutes=59, seconds=59)
                    rule = re.sub(r";?UNTIL=[0-9TZ]+", "", rule).lstrip(";")
                    last = min(last, until)
                if self.date:
                    rule = re.sub(r";?BY(HOUR|MINUTE|SECOND)=[0-9,]+", "", rule)
                times = engine(rule, self.start, MOST, last)
                if len(times) == MOST:
                    self.end = min(self.end, times[-1])
                # DTSTART is always the first and counts (RFC 5545 3.8.5.3).
                if "COUNT=" in rule and times and times[0] != self.start and name == "RRULE":
                    times = times[: int(re.search(r"COUNT=(\d+)", rule).group(1)) - 1]
                yield from times

        self.end = TO
        times = {self.start} | set(walk("RRULE"))
        for _, params, value in self.all("RDATE"):
            for one in filter(str.strip, value.split(",")):
                t, date = self.local(one.split("/")[0], params)
                if date and not self.date and "/" not in one:
                    t = datetime.datetime.combine(t.date(), self.start.time())
                times.add(t)
        times -= set(walk("EXRULE"))
        for _, params, value in self.all("EXDATE"):
            for one in filter(str.strip, value.split(",")):
                try:
                    t, date = self.local(one, params)
                except ValueError:
                    continue
                if date and not self.date:
                    times = {u for u in times if u.date() != t.date()}
                times.discard(t)
        return sorted(t for t in times if FROM <= t < TO and t <= self.end), self.end


def events(data):
    data = re.sub(r"(\r\r\n|\r\n|\r|\n)[ \t]", "", data)
    stack, found = [], []
    for line in re.split(r"\r\n|\n|\r", data):
        line = line.strip("\ufeff")
        word = line.strip().upper()
        if word.startswith("BEGIN:"):
            stack.append((word[6:], []))
        elif word.startswith("END:") and stack:
            name, lines = stack.pop()
            if name in ("VEVENT", "VTODO", "VJOURNAL"):
                found.append(Event(lines))
        elif stack:
            stack[-1][1].append(line)
    return found


def files():
    for path in sys.stdin:
        with open(path.rstrip("\n"), "rb") as f:
            data = f.read()
        try:
            data = data.decode()
        except UnicodeDecodeError:
            data = data.decode("latin-1")
        if "VERSION:1.0" in data:
            continue
        for e in events(data):
            if not e.all("RRULE", "RDATE") or e.all("RECURRENCE-ID"):
                continue
            uid = e.all("UID")
            answer = {"file": path.strip(), "uid": uid[0][2].strip() if uid else ""}
            for name, engine in ENGINES.items():
                try:
                    e.prepare()
                    times, end = e.expand(engine)
                    answer[name], answer[name + "End"] = text(times), text([end])[0]
                except Exception as err:
                    answer[name + "Error"] = "%s: %s" % (type(err).__name__, err)
            print(json.dumps(answer), flush=True)


def shown(path):
    """What libical writes of what it reads; lines that are none left out."""
    with open(path, "rb") as f:
        data = f.read()
    component = ical.icalparser_parse_string(data) if b"\0" not in data else None
    if not component:
        return []
    lines = ical.icalcomponent_as_ical_string(component).split(b"\r\n")
    ical.icalcomponent_free(component)
    return lines


def same():
    ical.icalparser_parse_string.restype = ctypes.c_void_p
    ical.icalparser_parse_string.argtypes = [ctypes.c_char_p]
    ical.icalcomponent_as_ical_string.restype = ctypes.c_char_p
    ical.icalcomponent_as_ical_string.argtypes = [ctypes.c_void_p]
    ical.icalcomponent_free.argtypes = [ctypes.c_void_p]
    for line in sys.stdin:
        one, other = map(shown, line.rstrip("\n").split("\t"))
        different = [] if one == other else [[repr(a), repr(b)] for a, b in itertools.zip_longest(one, other) if a != b]
        print(json.dumps((different or [None])[0] if one else None), flush=True)


{"rules": rules, "same": same, "files": files, "libical": libical}[sys.argv[1]]()
