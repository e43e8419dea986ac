package calendar

import (
	"strings"
	"testing"
	"time"
)

// TestTaskDone: MS-OXOTASK 3.1.4.6, 3.1.4.6.2.
func TestTaskDone(t *testing.T) {
	at := time.Date(2026, 12, 31, 9, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, lines string
		done, rest  string // parts that must be there, by lines
	}{
		{
			"weekly, the due date keeps its distance", "DTSTART;TZID=Europe/Berlin:20261026T090000\nDUE;TZID=Europe/Berlin:20261027T180000\nRRULE:FREQ=WEEKLY;COUNT=3",
			"UID:copy\nDTSTART;TZID=Europe/Berlin:20261026T090000\nDUE;TZID=Europe/Berlin:20261027T180000\nSTATUS:COMPLETED\nCOMPLETED:20261231T090000Z\n-RRULE",
			"UID:t\nDTSTART;TZID=Europe/Berlin:20261102T090000\nDUE;TZID=Europe/Berlin:20261103T180000\nRRULE:FREQ=WEEKLY;COUNT=2\nSTATUS:NEEDS-ACTION",
		},
		{"only a due date", "DUE;VALUE=DATE:20260131\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1", "DUE;VALUE=DATE:20260131", "DUE;VALUE=DATE:20260228\n-DTSTART"},
		{"what is taken out is passed", "DTSTART;VALUE=DATE:20260105\nEXDATE;VALUE=DATE:20260106\nRRULE:FREQ=DAILY;COUNT=4", "-EXDATE", "DTSTART;VALUE=DATE:20260107\nRRULE:FREQ=DAILY;COUNT=2\n-EXDATE"},
		{"the last one", "DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY;COUNT=1", "", ""},
		{"past its end", "DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=WEEKLY;UNTIL=20260110", "", ""},
		{
			"regenerates by the day it was done", "DTSTART;VALUE=DATE:20260105\nDUE;VALUE=DATE:20260107\nX-WAYPOST-REGENERATE:TRUE\nRRULE:FREQ=MONTHLY;INTERVAL=2;COUNT=5",
			"-X-WAYPOST-REGENERATE\nDTSTART;VALUE=DATE:20260105", "DTSTART;VALUE=DATE:20270228\nDUE;VALUE=DATE:20270302\nRRULE:FREQ=MONTHLY;COUNT=4;INTERVAL=2\nX-WAYPOST-REGENERATE:TRUE",
		},
		{"regenerates no more", "DTSTART;VALUE=DATE:20260105\nX-WAYPOST-REGENERATE:TRUE\nRRULE:FREQ=DAILY;UNTIL=20261231", "", ""},
		{
			"an alarm at a moment keeps its hour, one before it moves along",
			"DTSTART;TZID=Europe/Berlin:20261024T090000\nRRULE:FREQ=DAILY\nBEGIN:VALARM\nACTION:DISPLAY\nTRIGGER;VALUE=DATE-TIME:20261024T060000Z\nEND:VALARM",
			"-VALARM", "DTSTART;TZID=Europe/Berlin:20261025T090000\nTRIGGER;VALUE=DATE-TIME:20261025T070000Z",
		},
	} {
		parts, zones := parse(t, "BEGIN:VTODO\nUID:t\nSUMMARY:x\n"+tt.lines+"\nEND:VTODO\n")
		done, rest := side(zones, "ann@ex.test").Done(parts, at, "copy")
		for what, want := range map[string]string{text(done): tt.done, text(rest): tt.rest} {
			if want == "" {
				if what != "" {
					t.Errorf("%s: got\n%s", tt.name, what)
				}
				continue
			}
			for w := range strings.SplitSeq(want, "\n") {
				if not, ok := strings.CutPrefix(w, "-"); ok && strings.Contains(what, not) || !ok && !strings.Contains(what, w+"\n") {
					t.Errorf("%s: want %q in\n%s", tt.name, w, what)
				}
			}
		}
	}
}

// What other programs said of instances that are done stays with what is done.
func TestTaskDoneWithOverrides(t *testing.T) {
	one := func(day, lines string) string {
		return "BEGIN:VTODO\nUID:t\nRECURRENCE-ID;VALUE=DATE:" + day + "\nDTSTART;VALUE=DATE:" + day + "\n" + lines + "\nEND:VTODO\n"
	}
	parts, zones := parse(t, "BEGIN:VTODO\nUID:t\nDTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY\nEND:VTODO\n"+
		one("20260106", "STATUS:COMPLETED")+one("20260108", "SUMMARY:other"))
	done, rest := side(zones, "ann@ex.test").Done(parts, time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), "copy")
	if len(done) != 2 || len(rest) != 2 {
		t.Fatalf("%d and %d parts", len(done), len(rest))
	}
	if got := text(rest); !strings.Contains(got, "DTSTART;VALUE=DATE:20260107\n") || !strings.Contains(got, "SUMMARY:other") {
		t.Error(got)
	}
	if got := text(done); !strings.Contains(got, "UNTIL=20260106") || strings.Contains(got, "UID:t\n") {
		t.Error(got)
	}
}
