package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"waypost/internal/ical"
	"waypost/internal/itip"
	wb "waypost/services/eas/wbxml"
)

// mode is what goes wrong with what people ask for.
type mode int

const (
	smooth   mode = iota
	repeated      // every request comes twice
	killed        // the program is killed after every commit, and asked again
)

// plan is a meeting as its organizer sees it.
type plan struct {
	uid, title string
	start      time.Time
	weekly     bool
	guests     []string
	moved      map[time.Time]time.Time // instances at another time
	gone       []time.Time
	seq        int // of programs that count themselves
}

// life is one run of a scene.
type life struct {
	*stage
	mode  mode
	door  string // of who acts: CalDAV, or the phone's version
	began string
	p     plan
	id    string // of the event on the organizer's phone
	path  string
	seen  map[string]*collection
	tries int
}

func (l *life) at(day, hour int) time.Time {
	return l.p.start.AddDate(0, 0, day).Add(time.Duration(hour) * time.Hour)
}

// phoneTells: before 16.0 phones send the messages themselves.
func (l *life) phoneTells() bool { return l.door == "2.5" || l.door == "14.1" }

// again does something as the mode wants it; it tells whether it is done.
func (l *life) again(do func() bool) {
	l.Helper()
	l.now = l.now.Add(time.Minute)
	if l.mode == killed {
		l.store.armed.Store(true)
	}
	for n := range 6 {
		if do() && (l.mode != repeated || n > 0) {
			break
		}
		if n == 5 {
			l.Fatal("it is never done")
		}
	}
	l.store.armed.Store(false)
}

func address(name string) string {
	if strings.Contains(name, "@") {
		return name
	}
	return name + "@" + domain
}

// write brings the plan into the organizer's calendar. what names the part that
// changed: the instance at that time, or everything.
func (l *life) write(what time.Time) {
	l.Helper()
	if l.door == "CalDAV" {
		l.writeDAV()
		return
	}
	l.writePhone(what)
}

func (l *life) home(user string) string { return "/dav/calendars/" + address(user) + "/" }

func (l *life) writeDAV() {
	l.Helper()
	if l.path == "" {
		_, body := l.stage.dav("alice", "PROPFIND", l.home("alice"), "", "Depth", "1")
		for _, part := range strings.Split(body, "response>") {
			if m := calendarHref.FindStringSubmatch(part); m != nil && strings.Contains(part, "VEVENT") {
				l.path = m[1] + l.p.uid + ".ics"
			}
		}
	}
	text := "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:" + l.p.uid + "\r\nDTSTAMP:20261124T080000Z\r\nORGANIZER:mailto:" + address("alice") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	code, have, tag := l.davTag("alice", http.MethodGet, l.path, "")
	condition := []string{"If-None-Match", "*"}
	if code == http.StatusOK {
		text, condition = have, []string{"If-Match", tag}
	}
	root, _, err := ical.Parse([]byte(text), ical.Object)
	if err != nil {
		l.Fatal(err)
	}
	cal := root.Parts("VCALENDAR")[0]
	var master *ical.Component
	parts := map[string]*ical.Component{}
	for _, e := range cal.Parts("VEVENT") {
		if p := e.Prop("RECURRENCE-ID"); p != nil {
			parts[clockOf(p)] = e
		} else {
			master = e
		}
	}
	l.fill(master, l.p.start)
	if l.p.weekly {
		master.SetValue("RRULE", "FREQ=WEEKLY;COUNT=4")
	}
	for _, at := range l.p.gone {
		if !strings.Contains(describe(master, ""), "-"+at.Format("0102T1504")) {
			master.Properties = append(master.Properties, &ical.Property{Name: "EXDATE", Value: at.Format(compactTime)})
		}
		cal.Children = slices.DeleteFunc(cal.Children, func(c *ical.Component) bool { return c == parts[at.Format("0102T1504")] })
	}
	for at, start := range l.p.moved {
		e := parts[at.Format("0102T1504")]
		if e == nil {
			e = master.Clone()
			for _, name := range []string{"RRULE", "EXDATE"} {
				e.Remove(name)
			}
			e.SetTime("RECURRENCE-ID", ical.UTCTime(at))
			cal.Children = append(cal.Children, e)
		}
		l.fill(e, start)
	}
	body := string(root.Append(nil))
	l.again(func() bool {
		code, answer := l.stage.dav("alice", http.MethodPut, l.path, body, condition...)
		switch code {
		case http.StatusCreated, http.StatusNoContent:
			return true
		case http.StatusPreconditionFailed: // it was done before
			return l.mode != smooth
		case http.StatusServiceUnavailable:
			return false
		}
		l.Fatalf("PUT: %d %s", code, answer)
		return false
	})
}

// fill writes the plan into an event.
func (l *life) fill(e *ical.Component, start time.Time) {
	e.SetValue("SUMMARY", l.p.title)
	e.SetTime("DTSTART", ical.UTCTime(start))
	e.SetTime("DTEND", ical.UTCTime(start.Add(time.Hour)))
	var have []string
	for _, a := range e.Attendees() {
		have = append(have, a.Address)
		if !slices.ContainsFunc(l.p.guests, func(g string) bool { return address(g) == a.Address }) {
			e.RemoveAttendee(a.Address)
		}
	}
	for _, g := range l.p.guests {
		if !slices.Contains(have, address(g)) {
			kind := ""
			if strings.HasPrefix(g, "room") {
				kind = "ROOM"
			}
			e.SetAttendee(ical.Person{Address: address(g), Status: "NEEDS-ACTION", RSVP: true, Type: kind})
		}
	}
}

// phone is somebody's phone of a version with one of its folders, up to date.
func (l *life) phone(user, version, kind string) *collection {
	l.Helper()
	key := user + version + kind
	c := l.seen[key]
	if c == nil {
		p := newPhone(l.srv.URL, address(user), password, "p"+strings.ReplaceAll(key, ".", ""), version)
		if err := p.provision(l.Context()); err != nil {
			l.Fatal(err)
		}
		if err := p.folderSync(l.Context()); err != nil {
			l.Fatal(err)
		}
		c = p.collection(p.folderOf(kind))
		if kind == "8" {
			c.class = "Calendar"
		}
		l.seen[key] = c
	}
	if err := c.drain(l.Context()); err != nil {
		l.Fatal(err)
	}
	return c
}

// command sends a Sync with commands as the mode wants it.
func (l *life) command(c *collection, commands ...*wb.Node) *wb.Node {
	l.Helper()
	req := c.request(commands...)
	var last *wb.Node
	l.again(func() bool {
		out, err := c.p.do(l.Context(), "Sync", req)
		col := out.Child(wb.AirSyncCollections, wb.AirSyncCollection)
		if err != nil || col.Get(wb.AirSyncStatus) != "1" {
			return false
		}
		for _, r := range nodes(col.Child(wb.AirSyncResponses)) {
			if st := r.Get(wb.AirSyncStatus); st != "1" && (r.Tag != wb.AirSyncDelete || st != "8" || l.mode != killed) { // it is gone already
				l.Fatalf("%s is refused: %s", req, out)
			}
		}
		last = out
		return true
	})
	made := last.Child(wb.AirSyncCollections, wb.AirSyncCollection, wb.AirSyncResponses)
	for r := range made.All(wb.AirSyncAdd) {
		c.items[r.Get(wb.AirSyncServerId)] = wb.New(wb.AirSyncApplicationData) // the server completes it
	}
	if _, err := c.apply(last); err != nil {
		l.Fatal(err)
	}
	return made
}

func (l *life) writePhone(what time.Time) {
	l.Helper()
	c := l.phone("alice", l.door, "8")
	data := wb.New(wb.AirSyncApplicationData)
	guests := wb.New(wb.CalendarAttendees)
	for _, g := range l.p.guests {
		a := wb.New(wb.CalendarAttendee, wb.NewText(wb.CalendarEmail, address(g)), wb.NewText(wb.CalendarName, g))
		if l.door != "2.5" {
			a.Add(wb.NewText(wb.CalendarAttendeeType, map[bool]string{true: "3", false: "1"}[strings.HasPrefix(g, "room")]))
		}
		guests.Add(a)
	}
	put := func(n *wb.Node, start time.Time) {
		n.Add(wb.NewText(wb.CalendarSubject, l.p.title), wb.NewText(wb.CalendarStartTime, start.Format(compactTime)),
			wb.NewText(wb.CalendarEndTime, start.Add(time.Hour).Format(compactTime)))
	}
	server := wb.NewText(wb.AirSyncServerId, l.id)
	var cmd *wb.Node
	instance := l.door == "16.1" && !what.IsZero()
	gone := slices.ContainsFunc(l.p.gone, what.Equal)
	switch {
	case instance && gone:
		cmd = wb.New(wb.AirSyncDelete, server, wb.NewText(wb.AirSyncBaseInstanceId, what.Format(compactTime)))
	case instance:
		at := l.p.moved[what]
		data.Add(wb.NewText(wb.CalendarStartTime, at.Format(compactTime)), wb.NewText(wb.CalendarEndTime, at.Add(time.Hour).Format(compactTime)))
		cmd = wb.New(wb.AirSyncChange, server, wb.NewText(wb.AirSyncBaseInstanceId, what.Format(compactTime)), data)
	default:
		put(data, l.p.start)
		data.Add(guests, wb.NewText(wb.CalendarAllDayEvent, "0"), wb.NewText(wb.CalendarBusyStatus, "2"))
		if l.door != "16.1" {
			data.Add(wb.NewText(wb.CalendarMeetingStatus, "1"), wb.NewText(wb.CalendarUID, l.p.uid))
		}
		if l.p.weekly {
			data.Add(wb.New(wb.CalendarRecurrence, wb.NewText(wb.CalendarType, "1"), wb.NewText(wb.CalendarInterval, "1"),
				wb.NewText(wb.CalendarDayOfWeek, fmt.Sprint(1<<l.p.start.Weekday())), wb.NewText(wb.CalendarOccurrences, "4")))
			if l.door != "16.1" && len(l.p.gone)+len(l.p.moved) > 0 {
				list := wb.New(wb.CalendarExceptions)
				for _, at := range l.p.gone {
					list.Add(wb.New(wb.CalendarException, wb.NewText(wb.CalendarDeleted, "1"), wb.NewText(wb.CalendarExceptionStartTime, at.Format(compactTime))))
				}
				for at, start := range l.p.moved {
					x := wb.New(wb.CalendarException, wb.NewText(wb.CalendarExceptionStartTime, at.Format(compactTime)))
					put(x, start)
					list.Add(x)
				}
				data.Add(list)
			}
		}
		cmd = wb.New(wb.AirSyncChange, server, data)
		if l.id == "" {
			if l.door == "16.1" {
				data.Add(wb.NewText(wb.CalendarClientUid, l.p.uid))
			}
			cmd = wb.New(wb.AirSyncAdd, wb.NewText(wb.AirSyncClientId, "c"+l.p.uid), data)
		}
	}
	res := l.command(c, cmd)
	if l.id == "" {
		l.id = res.Get(wb.AirSyncAdd, wb.AirSyncServerId)
	}
	if l.phoneTells() {
		l.tell(what, gone)
	}
}

// remove takes the whole meeting back.
func (l *life) remove() {
	l.Helper()
	if l.door == "CalDAV" {
		l.again(func() bool {
			code, _ := l.stage.dav("alice", http.MethodDelete, l.path, "")
			return code == http.StatusNoContent || code == http.StatusNotFound
		})
		return
	}
	l.command(l.phone("alice", l.door, "8"), wb.New(wb.AirSyncDelete, wb.NewText(wb.AirSyncServerId, l.id)))
	if l.phoneTells() {
		l.p.seq++
		l.mail("alice", "CANCEL", l.p.guests, l.component(time.Time{}, "STATUS:CANCELLED\n"))
	}
}

// tell is the mail that a phone before 16.0 sends about what it changed.
func (l *life) tell(what time.Time, gone bool) {
	l.Helper()
	method, more := "REQUEST", ""
	if gone {
		method, more = "CANCEL", "STATUS:CANCELLED\n"
	}
	events := l.component(what, more)
	if what.IsZero() {
		for at := range l.p.moved {
			events += l.component(at, "")
		}
	}
	l.mail("alice", method, l.p.guests, events)
}

// component is the event, or one instance, as a phone writes it.
func (l *life) component(what time.Time, more string) string {
	start := l.p.start
	text := fmt.Sprintf("BEGIN:VEVENT\nUID:%s\nSEQUENCE:%d\nDTSTAMP:%s\nSUMMARY:%s\nORGANIZER:mailto:%s\n", l.p.uid, l.p.seq, l.now.Format(compactTime), l.p.title, address("alice"))
	if !what.IsZero() {
		text += "RECURRENCE-ID:" + what.Format(compactTime) + "\n"
		if start = what; !l.p.moved[what].IsZero() {
			start = l.p.moved[what]
		}
	} else if l.p.weekly {
		text += "RRULE:FREQ=WEEKLY;COUNT=4\n"
		for _, at := range l.p.gone {
			text += "EXDATE:" + at.Format(compactTime) + "\n"
		}
	}
	text += "DTSTART:" + start.Format(compactTime) + "\nDTEND:" + start.Add(time.Hour).Format(compactTime) + "\n"
	for _, g := range l.p.guests {
		text += "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:" + address(g) + "\n"
	}
	return text + more + "END:VEVENT\n"
}

func itipText(method, product, events string) string {
	return "BEGIN:VCALENDAR\nMETHOD:" + method + "\nPRODID:" + product + "\nVERSION:2.0\n" + events + "END:VCALENDAR\n"
}

// mail sends a message of iMIP from somebody's phone.
func (l *life) mail(from, method string, to []string, events string) {
	l.Helper()
	var list []string
	for _, g := range to {
		list = append(list, address(g))
	}
	l.tries++
	text := "From: " + address(from) + "\nTo: " + strings.Join(list, ", ") + "\nSubject: " + l.p.title + "\nMessage-ID: <" + fmt.Sprint(l.p.uid, l.tries) + "@phone>\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\nSee there.\n--b\nContent-Type: text/calendar; charset=utf-8; method=" + method + "\n\n" +
		itipText(method, "-//phone//EN", events) + "--b--\n"
	p := l.phone(from, l.door, typeInbox).p
	id := fmt.Sprint("m", l.p.uid, l.tries)
	sent := func() bool {
		err := p.send(l.Context(), id, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
		return err == nil || strings.Contains(err.Error(), "status 118")
	}
	if l.door == "2.5" { // knows no ClientId: what it sends twice is sent twice
		if !sent() {
			l.Fatal("not sent")
		}
		return
	}
	l.again(sent)
}

// answer is somebody's of ours, by the door of the scene.
func (l *life) answer(who, status string, instance time.Time) {
	l.Helper()
	if l.door == "CalDAV" {
		l.answerDAV(who, status, instance)
		return
	}
	choice := map[string]string{itip.Accepted: "1", itip.Tentative: "2", itip.Declined: "3"}[status]
	events := l.phone(who, l.door, "8")
	id := l.find(events)
	if id == "" {
		l.Fatalf("%s has nothing to answer", who)
	}
	from := l.object(who, l.p.uid)
	req := wb.New(wb.MeetingResponseRequest, wb.NewText(wb.MeetingResponseUserResponse, choice),
		wb.NewText(wb.MeetingResponseCollectionId, events.id), wb.NewText(wb.MeetingResponseRequestId, id))
	if !instance.IsZero() {
		req.Add(wb.NewText(wb.MeetingResponseInstanceId, instance.Format("2006-01-02T15:04:05.000Z")))
	}
	if l.door == "16.1" {
		req.Add(wb.New(wb.MeetingResponseSendResponse))
	}
	l.respond(who, l.door, req)
	if l.phoneTells() {
		rid := ""
		if !instance.IsZero() {
			rid = "RECURRENCE-ID:" + instance.Format(compactTime) + "\n"
		}
		root, _, _ := ical.Parse(from.Text, ical.Object)
		organizer, _ := root.Parts("VCALENDAR")[0].Parts("VEVENT")[0].Organizer()
		l.mail(who, "REPLY", []string{organizer.Address}, "BEGIN:VEVENT\nUID:"+l.p.uid+"\n"+rid+"SEQUENCE:"+root.Parts("VCALENDAR")[0].Parts("VEVENT")[0].Text("SEQUENCE")+
			"\nDTSTAMP:"+l.now.Format(compactTime)+"\nORGANIZER:mailto:"+organizer.Address+"\nATTENDEE;PARTSTAT="+status+":mailto:"+address(who)+"\nEND:VEVENT\n")
	}
}

func (l *life) find(c *collection) string {
	for id, n := range c.items {
		if n.Get(wb.CalendarUID) == l.p.uid {
			return id
		}
	}
	return ""
}

func (l *life) respond(who, version string, req *wb.Node) {
	l.Helper()
	p := l.phone(who, version, "8").p
	done := false
	l.again(func() bool {
		out, err := p.do(l.Context(), "MeetingResponse", wb.New(wb.MeetingResponseMeetingResponse, req))
		st := out.Get(wb.MeetingResponseResult, wb.MeetingResponseStatus)
		if err == nil && st == "1" {
			done = true
		}
		return done || err == nil && st == "2" // declined before: it is not there any more
	})
}

func (l *life) answerDAV(who, status string, instance time.Time) {
	l.Helper()
	o := l.object(who, l.p.uid)
	if o == nil {
		l.Fatalf("%s has nothing to answer", who)
	}
	path := l.home(who) + o.Folder.String() + "/" + o.Name
	code, text := l.stage.dav(who, http.MethodGet, path, "")
	root, _, err := ical.Parse([]byte(text), ical.Object)
	if code != http.StatusOK || err != nil {
		l.Fatal(path, code, err)
	}
	cal := root.Parts("VCALENDAR")[0]
	var part *ical.Component
	for _, e := range cal.Parts("VEVENT") {
		if p := e.Prop("RECURRENCE-ID"); p == nil && instance.IsZero() || p != nil && !instance.IsZero() && clockOf(p) == instance.Format("0102T1504") {
			part = e
		}
	}
	if part == nil {
		part = cal.Parts("VEVENT")[0].Clone()
		part.Remove("RRULE")
		part.SetTime("RECURRENCE-ID", ical.UTCTime(instance))
		part.SetTime("DTSTART", ical.UTCTime(instance))
		part.SetTime("DTEND", ical.UTCTime(instance.Add(time.Hour)))
		cal.Children = append(cal.Children, part)
	}
	part.Attendee(address(who)).SetParam("PARTSTAT", status)
	if status == itip.Declined && instance.IsZero() { // programs delete what they decline
		l.again(func() bool {
			code, _ := l.stage.dav(who, http.MethodDelete, path, "")
			return code == http.StatusNoContent || code == http.StatusNotFound
		})
		return
	}
	body := string(root.Append(nil))
	l.again(func() bool {
		code, answer := l.stage.dav(who, http.MethodPut, path, body)
		if code >= 400 && code != http.StatusServiceUnavailable {
			l.Fatalf("PUT: %d %s", code, answer)
		}
		return code < 300
	})
}

// form is how other systems write iMIP: what the text of an event, its zone and
// its mail look like.
type form struct {
	name, product string
	time          func(name string, at time.Time) string
	wrap          func(head, method, calendar string) string
	zones, extra  string
}

const berlinRules = "BEGIN:VTIMEZONE\nTZID:W. Europe Standard Time\nBEGIN:STANDARD\nDTSTART:16010101T030000\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nRRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10\nEND:STANDARD\n" +
	"BEGIN:DAYLIGHT\nDTSTART:16010101T020000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nRRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3\nEND:DAYLIGHT\nEND:VTIMEZONE\n"

func zoned(id string) func(string, time.Time) string {
	berlin, _ := time.LoadLocation("Europe/Berlin")
	return func(name string, at time.Time) string {
		return name + ";TZID=" + id + ":" + at.In(berlin).Format("20060102T150405") + "\n"
	}
}

var forms = []form{
	{
		name: "Outlook", product: "Microsoft Exchange Server 2010", time: zoned("W. Europe Standard Time"), zones: berlinRules,
		extra: "CLASS:PUBLIC\nPRIORITY:5\nTRANSP:OPAQUE\nX-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE\nX-MICROSOFT-CDO-INTENDEDSTATUS:BUSY\nX-MICROSOFT-DISALLOW-COUNTER:FALSE\n",
		wrap: func(head, method, calendar string) string {
			return head + "Content-Type: multipart/alternative;\n boundary=\"_000_X_\"\n\n--_000_X_\nContent-Type: text/plain; charset=\"us-ascii\"\n\n\n--_000_X_\nContent-Type: text/calendar; charset=\"utf-8\"; method=" + method +
				"\nContent-Transfer-Encoding: base64\n\n" + chopped(calendar) + "--_000_X_--\n"
		},
	},
	{
		name: "Google", product: "-//Google Inc//Google Calendar 70.9054//EN",
		time:  func(name string, at time.Time) string { return name + ":" + at.Format(compactTime) + "\n" },
		extra: "STATUS:CONFIRMED\nTRANSP:OPAQUE\nX-GOOGLE-CONFERENCE:https://meet.example/x\n",
		wrap: func(head, method, calendar string) string {
			return head + "Content-Type: multipart/mixed; boundary=\"00g\"\n\n--00g\nContent-Type: multipart/alternative; boundary=\"01g\"\n\n--01g\nContent-Type: text/plain; charset=\"UTF-8\"\n\nx\n--01g\nContent-Type: text/calendar; charset=\"UTF-8\"; method=" + method +
				"\nContent-Transfer-Encoding: 7bit\n\n" + calendar + "\n--01g--\n--00g\nContent-Type: application/ics; name=\"invite.ics\"\nContent-Disposition: attachment; filename=\"invite.ics\"\nContent-Transfer-Encoding: base64\n\n" + chopped(calendar) + "--00g--\n"
		},
	},
	{
		name: "Apple", product: "-//Apple Inc.//macOS 14.5//EN", time: zoned("Europe/Berlin"),
		extra: "X-APPLE-CREATOR-IDENTITY:com.apple.calendar\n",
		wrap: func(head, method, calendar string) string {
			return head + "Content-Type: multipart/alternative; boundary=\"Apple-1\"\n\n--Apple-1\nContent-Type: text/plain; charset=us-ascii\n\nx\n--Apple-1\nContent-Type: text/calendar; charset=utf-8; method=" + strings.ToLower(method) +
				"\nContent-Disposition: attachment; filename=iCal.ics\n\n" + calendar + "--Apple-1--\n"
		},
	},
}

// zoe's message, who uses another system, about an event; only what is given.
func (l *life) zoe(f form, id, method string, to []string, subject string, events ...string) {
	l.Helper()
	var list []string
	for _, n := range to {
		list = append(list, address(n))
	}
	head := "From: Zoe <zoe@other.example>\nTo: " + strings.Join(list, ", ") + "\nSubject: " + subject + "\nMessage-ID: <" + id + l.p.uid + "@other.example>\nMIME-Version: 1.0\n"
	l.outside(id+l.p.uid, "zoe@other.example", to, f.wrap(head, method, itipText(method, f.product, f.zones+strings.Join(events, ""))))
}

// event is one of zoe's, or an answer of hers.
func (f form) event(uid string, seq int, stamp time.Time, lines ...string) string {
	return fmt.Sprintf("BEGIN:VEVENT\nUID:%s\nSEQUENCE:%d\nDTSTAMP:%s\n%s%sEND:VEVENT\n", uid, seq, stamp.Format(compactTime), f.extra, strings.Join(lines, ""))
}

func chopped(text string) string {
	var b strings.Builder
	for s := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(text, "\n", "\r\n"))); s != ""; {
		n := min(76, len(s))
		b.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	return b.String()
}

func noMailOf(all []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "mail ") })
}
