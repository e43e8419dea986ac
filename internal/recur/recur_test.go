package recur

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	layout := "20060102T150405"
	v, err := time.Parse(layout[:len(text)], text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// expand gives the first instances of a rule as text.
func expand(t testing.TB, rule, start string, most int) (string, error) {
	t.Helper()
	r, err := Parse(rule)
	if err != nil {
		t.Fatalf("%s: %v", rule, err)
	}
	steps := 1_000_000
	w := Walk{Start: at(t, start), Steps: &steps, Until: r.Until.Wall}
	it := r.Walk(w)
	var b strings.Builder
	day := ""
	for range most {
		v, ok := it.Next()
		if !ok {
			return strings.TrimSpace(b.String() + " ."), it.Err()
		}
		if d := v.Format("20060102"); d != day {
			day = d
			b.WriteString(" " + d)
		}
		if v.Format("150405") != at(t, start).Format("150405") {
			b.WriteString("T" + v.Format("1504"))
		}
	}
	return strings.TrimSpace(b.String()), it.Err()
}

// The examples of RFC 5545 section 3.8.5.3; a dot is the end of the rule.
func TestStandardsExamples(t *testing.T) {
	for _, row := range []struct{ start, rule, want string }{
		{"19970902T090000", "FREQ=DAILY;COUNT=10", "19970902 19970903 19970904 19970905 19970906 19970907 19970908 19970909 19970910 19970911 ."},
		{"19970902T090000", "FREQ=DAILY;INTERVAL=10;COUNT=5", "19970902 19970912 19970922 19971002 19971012 ."},
		{"19980101T090000", "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA", "19980101 19980102 19980103"},
		{"19970902T090000", "FREQ=WEEKLY;UNTIL=19970930T000000Z", "19970902 19970909 19970916 19970923 ."},
		{"19970902T090000", "FREQ=WEEKLY;INTERVAL=2;WKST=SU", "19970902 19970916 19970930 19971014"},
		{"19970902T090000", "FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", "19970902 19970904 19970909 19970911 19970916 19970918 19970923 19970925 19970930 19971002 ."},
		{"19970901T090000", "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR", "19970901 19970903 19970905 19970915 19970917 19970919 19970929"},
		{"19970905T090000", "FREQ=MONTHLY;COUNT=10;BYDAY=1FR", "19970905 19971003 19971107 19971205 19980102 19980206 19980306 19980403 19980501 19980605 ."},
		{"19970907T090000", "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU", "19970907 19970928 19971102 19971130 19980104 19980125 19980301 19980329 19980503 19980531 ."},
		{"19970922T090000", "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "19970922 19971020 19971117 19971222 19980119 19980216 ."},
		{"19970928T090000", "FREQ=MONTHLY;BYMONTHDAY=-3", "19970928 19971029 19971128 19971229 19980129 19980226"},
		{"19970930T090000", "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", "19970930 19971001 19971031 19971101 19971130 19971201 19971231 19980101 19980131 19980201 ."},
		{"19970910T090000", "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15", "19970910 19970911 19970912 19970913 19970914 19970915 19990310 19990311 19990312 19990313 ."},
		{"19970902T090000", "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU", "19970902 19970909 19970916 19970923 19970930 19971104"},
		{"19970610T090000", "FREQ=YEARLY;COUNT=10;BYMONTH=6,7", "19970610 19970710 19980610 19980710 19990610 19990710 20000610 20000710 20010610 20010710 ."},
		{"19970310T090000", "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3", "19970310 19990110 19990210 19990310 20010110 20010210 20010310 20030110 20030210 20030310 ."},
		{"19970101T090000", "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200", "19970101 19970410 19970719 20000101 20000409 20000718 20030101 20030410 20030719 20060101 ."},
		{"19970519T090000", "FREQ=YEARLY;BYDAY=20MO", "19970519 19980518 19990517"},
		{"19970512T090000", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "19970512 19980511 19990517"},
		{"19970313T090000", "FREQ=YEARLY;BYMONTH=3;BYDAY=TH", "19970313 19970320 19970327 19980305"},
		{"19970605T090000", "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8", "19970605 19970612 19970619 19970626 19970703"},
		{"19970902T090000", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "19980213 19980313 19981113 19990813 20001013"},
		{"19970913T090000", "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", "19970913 19971011 19971108 19971213 19980110"},
		{"19961105T090000", "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", "19961105 20001107 20041102"},
		{"19970904T090000", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "19970904 19971007 19971106 ."},
		{"19970929T090000", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", "19970929 19971030 19971127 19971230 19980129"},
		{"19970902T090000", "FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T170000Z", "19970902T1200T1500 ."},
		{"19970902T090000", "FREQ=MINUTELY;INTERVAL=15;COUNT=6", "19970902T0915T0930T0945T1000T1015 ."},
		{"19970902T090000", "FREQ=MINUTELY;INTERVAL=90;COUNT=4", "19970902T1030T1200T1330 ."},
		{"19970902T090000", "FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40", "19970902T0920T0940T1000T1020T1040"},
		{"19970902T090000", "FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10,11,12,13,14,15,16", "19970902T0920T0940T1000T1020T1040"},
		{"19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "19970805 19970810 19970819 19970824 ."},
		{"19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "19970805 19970817 19970819 19970831 ."},
		{"20070115T090000", "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "20070115 20070130 20070215 20070315 20070330 ."},
	} {
		want := row.want
		most := len(strings.Fields(strings.ReplaceAll(want, "T", " ")))
		if got, err := expand(t, row.rule, row.start, most); got != want || err != nil {
			t.Errorf("%s from %s:\ngot  %s %v\nwant %s", row.rule, row.start, got, err, want)
		}
	}
}

func TestHardRules(t *testing.T) {
	for _, row := range []struct{ start, rule, want string }{
		{"20240229", "FREQ=YEARLY", "20240229 20280229 20320229"},
		{"20960229", "FREQ=YEARLY", "20960229 21040229"},
		{"20240131", "FREQ=MONTHLY", "20240131 20240331 20240531"},
		{"20241230", "FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO", "20241230 20251229 20270104"},
		{"20200101", "FREQ=YEARLY;BYYEARDAY=-1,366", "20201231 20211231"},
		{"20240101T100000", "FREQ=DAILY;BYHOUR=10,12;BYSETPOS=-1", "20240101T1200 20240102T1200"},
		{"20240101T000000", "FREQ=HOURLY;BYMINUTE=5,10,15;BYSETPOS=2", "20240101T0010T0110T0210"},
		{"20240101T000000", "FREQ=SECONDLY;INTERVAL=3600", "20240101T0100T0200"},
		{"20240101T000000", "FREQ=SECONDLY;BYMONTH=7;BYMONTHDAY=4;BYHOUR=12;BYMINUTE=30;BYSECOND=0", "20240704T1230 20250704T1230"},
		{"20240101", "FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=2", "."},
	} {
		most := len(strings.Fields(strings.ReplaceAll(row.want, "T", " ")))
		if strings.Contains(row.want, "T") && !strings.HasPrefix(row.want, row.start+" ") && !strings.Contains(row.rule, "3600") && !strings.Contains(row.rule, "MINUTE=5") {
			most = strings.Count(row.want, "T")
		}
		if strings.Contains(row.rule, "MINUTE=5") {
			most = 3
		}
		if got, err := expand(t, row.rule, row.start, most); got != row.want || err != nil {
			t.Errorf("%s from %s:\ngot  %s %v\nwant %s", row.rule, row.start, got, err, row.want)
		}
	}
}

// bombs are rules that are made to keep a server busy.
var bombs = []string{
	"FREQ=SECONDLY", "FREQ=SECONDLY;INTERVAL=7", "FREQ=MINUTELY", "FREQ=HOURLY;INTERVAL=5",
	"FREQ=SECONDLY;COUNT=2000000000", "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
	"FREQ=SECONDLY;INTERVAL=61;BYSECOND=1;BYMINUTE=1", "FREQ=SECONDLY;INTERVAL=86399;BYHOUR=0",
	"FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;INTERVAL=1",
	"FREQ=MONTHLY;BYSETPOS=500;BYDAY=MO", "FREQ=WEEKLY;COUNT=2000000000", "FREQ=YEARLY;COUNT=2000000000",
	"FREQ=YEARLY;BYDAY=SU,MO,TU,WE,TH,FR,SA;" + everyClock(), "FREQ=YEARLY;BYDAY=SU,MO,TU,WE,TH,FR,SA;" + everyClock() + ";BYSETPOS=1000000,-1",
	"FREQ=YEARLY;BYDAY=SU,MO,TU,WE,TH,FR,SA;COUNT=2000000000;" + everyClock(),
	"FREQ=MINUTELY;COUNT=2000000000;BYSETPOS=" + many("-1", 700), "FREQ=MONTHLY;COUNT=2000000000;BYDAY=" + many("-5MO", 700),
	"FREQ=DAILY;COUNT=2000000000;BYYEARDAY=" + many("366", 700), "FREQ=YEARLY;COUNT=2000000000;BYYEARDAY=" + many("-366", 700), "FREQ=WEEKLY;COUNT=2000000000;BYMONTHDAY=" + many("31", 700),
	"FREQ=YEARLY;INTERVAL=2147483647", "FREQ=SECONDLY;INTERVAL=2147483647", "FREQ=YEARLY;BYYEARDAY=366;INTERVAL=3;BYMONTH=1",
}

func many(value string, n int) string { return strings.TrimSuffix(strings.Repeat(value+",", n), ",") }

func everyClock() string {
	upTo := func(n int) string {
		var s []string
		for i := range n {
			s = append(s, fmt.Sprint(i))
		}
		return strings.Join(s, ",")
	}
	return "BYHOUR=" + upTo(24) + ";BYMINUTE=" + upTo(60) + ";BYSECOND=" + upTo(60)
}

// A week's question costs little, whatever the rule and however long ago it began.
func TestBombs(t *testing.T) {
	for _, rule := range bombs {
		r, err := Parse(rule)
		if err != nil {
			t.Fatal(err)
		}
		steps := 1_000_000
		began := time.Now()
		it := r.Walk(Walk{
			Start: at(t, "19700101T000000"), WithStart: true, Steps: &steps,
			From: at(t, "20260302T000000"), Until: at(t, "20260309T000000"),
		})
		n := 0
		for {
			v, ok := it.Next()
			if !ok {
				break
			}
			if v.Before(it.w.From) || v.After(it.w.Until) {
				t.Fatalf("%.60s: %v is not in the week", rule, v)
			}
			n++
		}
		took := time.Since(began)
		t.Logf("%.60s: %d instances, %d steps, %v %v", rule, n, 1_000_000-steps, took, it.Err())
		if err := it.Err(); err != nil && !errors.Is(err, ErrSteps) {
			t.Errorf("%.60s: %v", rule, err)
		}
		if took > 2*time.Second { // generous: it takes tens of milliseconds
			t.Errorf("%.60s took %v", rule, took)
		}
	}
}

// Beginning near the time asked for gives what walking from DTSTART does.
func TestFromIsASeekOnly(t *testing.T) {
	for i, rule := range append([]string{
		"FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,FR;WKST=SU", "FREQ=MONTHLY;INTERVAL=5;BYDAY=-1FR;COUNT=90", "FREQ=YEARLY;BYWEEKNO=1,53;BYDAY=SU,MO",
		"FREQ=HOURLY;INTERVAL=7;BYDAY=TU", "FREQ=DAILY;INTERVAL=9;BYHOUR=1,13;BYSETPOS=-1", "FREQ=MINUTELY;INTERVAL=1441", "FREQ=DAILY;COUNT=2000;BYHOUR=1,2,3",
	}, bombs...) {
		r, err := Parse(rule)
		if err != nil {
			t.Fatal(err)
		}
		start, from, until := at(t, "20200107T131415"), at(t, "20210301T000000"), at(t, "20210303T000000")
		if i >= 7 { // the bombs: walked from not so far
			start = at(t, "20210227T131415")
		}
		collect := func(from time.Time) (all []time.Time, err error) {
			steps := 6_000_000
			it := r.Walk(Walk{Start: start, WithStart: true, From: from, Until: until, Steps: &steps})
			for {
				v, ok := it.Next()
				if !ok {
					return all, it.Err()
				}
				if !v.Before(at(t, "20210301T000000")) {
					all = append(all, v)
				}
			}
		}
		near, err1 := collect(from)
		far, err2 := collect(time.Time{})
		if err1 != nil || err2 != nil {
			t.Errorf("%.60s: %v, %v", rule, err1, err2)
		}
		if len(near) != len(far) {
			t.Errorf("%.60s: %d instances instead of %d", rule, len(near), len(far))
			continue
		}
		for i := range near {
			if !near[i].Equal(far[i]) {
				t.Errorf("%.60s: %v instead of %v", rule, near[i], far[i])
				break
			}
		}
	}
}

func TestStartCountsOnce(t *testing.T) {
	r, _ := Parse("FREQ=WEEKLY;BYDAY=TU;COUNT=3")
	for start, want := range map[string]string{
		"20240102": "20240102 20240109 20240116", // on the rule
		"20240101": "20240101 20240102 20240109", // off it, but always the first
	} {
		steps := 1000
		it := r.Walk(Walk{Start: at(t, start), WithStart: true, Steps: &steps})
		var got []string
		for v, ok := it.Next(); ok; v, ok = it.Next() {
			got = append(got, v.Format("20060102"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("from %s: %v, want %s", start, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, row := range []struct{ in, out string }{
		{"FREQ=WEEKLY;BYDAY=MO", "FREQ=WEEKLY;BYDAY=MO"},
		{" freq=monthly ; byday= +1mo, -1 fr ;", "FREQ=MONTHLY;BYDAY=1MO,-1FR"},
		{"BYMONTH=3;FREQ=YEARLY;INTERVAL=1;WKST=MO", "FREQ=YEARLY;BYMONTH=3"},
		{"FREQ=DAILY;INTERVAL=0", "FREQ=DAILY"},
		{`FREQ=DAILY\;INTERVAL=2\;`, "FREQ=DAILY;INTERVAL=2"},
		{"FREQ=DAILY;UNTIL=2024-01-31", "FREQ=DAILY;UNTIL=20240131"},
		{"FREQ=DAILY;UNTIL=20240131T235959Z;X-A=b", "FREQ=DAILY;UNTIL=20240131T235959Z;X-A=b"},
		{"RSCALE=HEBREW;FREQ=YEARLY;SKIP=FORWARD", "FREQ=YEARLY;RSCALE=HEBREW;SKIP=FORWARD"},
	} {
		r, err := Parse(row.in)
		if err != nil {
			t.Errorf("%q: %v", row.in, err)
			continue
		}
		if got := r.String(); got != row.out {
			t.Errorf("%q became %q, want %q", row.in, got, row.out)
		}
	}
	for _, bad := range []string{
		"", "BYDAY=MO", "FREQ=FORTNIGHTLY", "FREQ=DAILY;BYHOUR=24", "FREQ=DAILY;BYMONTHDAY=0", "FREQ=DAILY;BYDAY=XX", "FREQ=DAILY;COUNT=-1",
		"FREQ=DAILY;UNTIL=soon", "FREQ=DAILY;BYDAY=", "FREQ", "FREQ=DAILY;COUNT=99999999999999999999",
	} {
		if r, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %s", bad, r)
		}
	}
	r, _ := Parse("RSCALE=CHINESE;FREQ=YEARLY")
	steps := 10
	if it := r.Walk(Walk{Start: at(t, "20240101"), Steps: &steps}); !errors.Is(it.Err(), ErrUnsupported) {
		t.Errorf("another calendar: %v", it.Err())
	}
}

func TestDates(t *testing.T) {
	for day := -719162; day < 2932896; day += 13 {
		v := time.Unix(int64(day)*secondsPerDay, 0).UTC()
		y, m, d := date(day)
		if y != v.Year() || m != int(v.Month()) || d != v.Day() || weekday(day) != v.Weekday() || day-yearBegin(y)+1 != v.YearDay() {
			t.Fatalf("day %d: %d-%d-%d, want %v", day, y, m, d, v)
		}
	}
}

func FuzzRule(f *testing.F) {
	for _, rule := range bombs {
		f.Add(rule, int64(0), false)
	}
	f.Add("FREQ=MONTHLY;BYDAY=-1FR;BYSETPOS=1;WKST=SU;COUNT=3", int64(1700000000), true)
	f.Fuzz(func(t *testing.T, text string, start int64, isDate bool) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q became %q, then %v %v", text, r, again, err)
		}
		from := time.Unix(start%(1<<34), 0).UTC()
		if isDate {
			from = from.Truncate(24 * time.Hour)
		}
		steps := 20_000
		it := r.Walk(Walk{Start: from, Date: isDate, WithStart: true, From: from, Until: from.AddDate(300, 0, 0), Steps: &steps})
		last := time.Time{}
		for {
			v, ok := it.Next()
			if !ok {
				break
			}
			if !v.After(last) || v.Before(from) {
				t.Fatalf("%s from %v: %v after %v", r, from, v, last)
			}
			last = v
		}
	})
}
