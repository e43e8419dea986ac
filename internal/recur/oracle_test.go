package recur

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// randomRule makes a rule of any shape, and only such as RFC 5545 allows.
func randomRule(r *rand.Rand) string {
	freq := Freq(r.IntN(6)) // seconds are tried by hand: both oracles crawl
	var b strings.Builder
	b.WriteString("FREQ=" + freq.String())
	pick := func(name string, chance float64, least, most, count int, negative bool) {
		if r.Float64() > chance {
			return
		}
		var values []string
		for range 1 + r.IntN(count) {
			v := least + r.IntN(most-least+1)
			if negative && r.IntN(3) == 0 {
				v = -v
			}
			values = append(values, fmt.Sprint(v))
		}
		b.WriteString(";" + name + "=" + strings.Join(values, ","))
	}
	if r.IntN(3) == 0 {
		fmt.Fprintf(&b, ";INTERVAL=%d", 1+r.IntN(5))
	}
	pick("BYMONTH", 0.35, 1, 12, 3, false)
	if freq == Yearly {
		pick("BYYEARDAY", 0.15, 1, 366, 4, true)
	}
	if freq != Weekly {
		pick("BYMONTHDAY", 0.3, 1, 31, 4, true)
	}
	if r.IntN(5) < 2 {
		var days []string
		// Some with a number beside some without dateutil takes for both at once.
		numbered := freq <= Monthly && r.IntN(2) == 0
		for range 1 + r.IntN(4) {
			d := Day{Weekday: time.Weekday(r.IntN(7))}
			if numbered {
				d.N = 1 + r.IntN(5)
				if r.IntN(3) == 0 {
					d.N = -d.N
				}
			}
			days = append(days, d.String())
		}
		b.WriteString(";BYDAY=" + strings.Join(days, ","))
	}
	pick("BYHOUR", 0.2, 0, 23, 3, false)
	pick("BYMINUTE", 0.15, 0, 59, 3, false)
	pick("BYSECOND", 0.05, 0, 59, 2, false)
	if strings.Contains(b.String(), ";BY") && freq <= Daily {
		pick("BYSETPOS", 0.2, 1, 4, 2, true)
	}
	if r.IntN(3) == 0 {
		b.WriteString(";WKST=" + weekdays[r.IntN(7)])
	}
	return b.String()
}

// Random rules expand as in python3-dateutil; libical 3.0, which knows nothing of
// it, is asked too, but passes over BYSETPOS except in months, gives times within
// a day in the order of the rule, and takes BYMINUTE and BYHOUR for an expansion
// where INTERVAL never comes by: so it confirms, and does not judge.
func TestRandomRules(t *testing.T) {
	type question struct {
		Rule  string `json:"rule"`
		Start string `json:"start"`
		N     int    `json:"n"`
	}
	random := rand.New(rand.NewPCG(5545, 2026)) //nolint:gosec // the same rules each time
	var questions []question
	var in bytes.Buffer
	for range 150 {
		rule := randomRule(random)
		start := fmt.Sprintf("%04d%02d%02dT%02d%02d00", 1995+random.IntN(30), 1+random.IntN(12), 1+random.IntN(28), random.IntN(24), random.IntN(60))
		// What never or seldom happens keeps the oracles busy.
		until := fmt.Sprintf(";UNTIL=%04d0101T000000Z", 2030+random.IntN(20))
		switch {
		case strings.HasPrefix(rule, "FREQ=HOURLY"):
			until = ";UNTIL=" + at(t, start).AddDate(1, 0, 0).Format("20060102T150405Z")
		case strings.HasPrefix(rule, "FREQ=MINUTELY"):
			until = ";UNTIL=" + at(t, start).AddDate(0, 0, 10).Format("20060102T150405Z")
		}
		questions = append(questions, question{rule + until, start, 40})
		line, _ := json.Marshal(questions[len(questions)-1])
		in.Write(append(line, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/oracle.py", "rules")
	cmd.Stdin = &in
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() != 3 {
		t.Fatalf("oracle: %v\n%s", err, exit.Stderr)
	} else if err != nil {
		t.Skipf("python3-dateutil or libical3 is missing: %v", err)
	}
	answers := bufio.NewScanner(bytes.NewReader(out))
	answers.Buffer(nil, 1<<20)
	agreed, neither := map[string]int{}, 0
	for _, q := range questions {
		if !answers.Scan() {
			t.Fatal("the oracle ended early")
		}
		var answer map[string]any
		if err := json.Unmarshal(answers.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		r, err := Parse(q.Rule)
		if err != nil {
			t.Fatalf("%s: %v", q.Rule, err)
		}
		steps := 5_000_000
		it := r.Walk(Walk{Start: at(t, q.Start), Until: r.Until.Wall, Steps: &steps})
		var got []string
		for len(got) < q.N {
			v, ok := it.Next()
			if !ok {
				break
			}
			got = append(got, v.Format("20060102T150405"))
		}
		same := func(name string) (same, answered bool) {
			list, ok := answer[name].([]any)
			if message, _ := answer[name+"Error"].(string); strings.Contains(message, "empty set") {
				list, ok = []any{}, true
			}
			return fmt.Sprint(list) == fmt.Sprint(got), ok
		}
		asDateutil, answered := same("dateutil")
		asLibical, _ := same("libical")
		switch {
		case asDateutil:
			agreed["dateutil"]++
		case answered:
			t.Errorf("%s from %s:\nours     %v\ndateutil %v\nlibical  %v", q.Rule, q.Start, got, answer["dateutil"], answer["libical"])
		case !asLibical:
			neither++
		}
		if asLibical {
			agreed["libical"]++
		}
	}
	t.Logf("%d rules: as dateutil %d, as libical %d; dateutil was too slow and libical differs for %d", len(questions), agreed["dateutil"], agreed["libical"], neither)
	if agreed["dateutil"] < len(questions)/2 || agreed["libical"] < len(questions)/2 {
		t.Error("too few rules were compared")
	}
}
