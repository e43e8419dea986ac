package publish

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// limiter counts within each minute.
type limiter struct {
	most   int
	mu     sync.Mutex
	minute int64
	counts map[string]int
}

// maxCounted bounds its memory: with more clients in a minute it begins anew.
const maxCounted = 100_000

func newLimiter(most int) *limiter { return &limiter{most: most, counts: map[string]int{}} }

// keyOf is a client: an address, or a site's network of IPv6.
func keyOf(a netip.Addr, more []string) string {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p.String() + " " + strings.Join(more, " ")
}

func (l *limiter) at(now time.Time) map[string]int {
	if m := now.Unix() / 60; m != l.minute || len(l.counts) >= maxCounted {
		l.minute = m
		clear(l.counts)
	}
	return l.counts
}

// full tells whether a client has had what it may have.
func (l *limiter) full(a netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at(now)[keyOf(a, nil)] >= l.most
}

// count counts one more, and tells whether it is one too many.
func (l *limiter) count(a netip.Addr, now time.Time, more ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts, key := l.at(now), keyOf(a, more)
	counts[key]++
	return counts[key] > l.most
}
