package relay

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Life is how long a message is tried (RFC 5321 section 4.5.4.1 wants 4 to 5
// days); notices are tried for bounceLife.
const (
	Life       = 5 * 24 * time.Hour
	bounceLife = 48 * time.Hour
)

// The plans: the wait after the n-th failed attempt, whose last value repeats.
var (
	// planRemote is for other servers: quick at first, hourly until the message
	// is some six hours old, then every two hours.
	planRemote = minutes(1, 2, 4, 8, 15, 30, 60, 60, 60, 60, 60, 120)
	// planGrey is for servers that ask for patience (4.7.1, RFC 6647).
	planGrey = minutes(5, 10, 20, 30, 60, 60, 60, 60, 60, 120)
	// planLocal is for our own mailboxes and directory, which are back soon.
	planLocal = append([]time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second}, minutes(1, 2, 4, 8, 15)...)
	// planFull is for full mailboxes.
	planFull = minutes(15, 30, 60, 120)
)

func minutes(n ...int) []time.Duration {
	plan := make([]time.Duration, len(n))
	for i, m := range n {
		plan[i] = time.Duration(m) * time.Minute
	}
	return plan
}

// wait gives the time until the next attempt after failed ones, with a jitter
// of a tenth either way.
func wait(plan []time.Duration, failed int) time.Duration {
	d := plan[min(max(failed, 1), len(plan))-1]
	return d + time.Duration((rand.Float64()-0.5)/5*float64(d))
}

// planFor chooses by what went wrong.
func planFor(local bool, l Last) []time.Duration {
	switch {
	case strings.HasPrefix(l.Status, "4.2.2"):
		return planFull
	case local:
		return planLocal
	case strings.HasPrefix(l.Status, "4.7.1"), l.Code == 451 && strings.Contains(strings.ToLower(l.Text), "greylist"):
		return planGrey
	}
	return planRemote
}

// Delay notices go out when a message is so old (RFC 5321 section 4.5.4.1).
var warnAfter = []time.Duration{4 * time.Hour, 24 * time.Hour}
