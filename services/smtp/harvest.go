package smtp

import (
	"net/netip"
	"sync"
	"time"
)

// Unknown recipients of a connection: so many are answered at once, from so
// many on the connection ends; answers are delayed by at most so many steps.
const (
	freeUnknown = 3
	maxUnknown  = 20
	maxTarpit   = 10

	// An address that asks for so many unknown recipients within the window is
	// refused until the window has passed.
	banAfter  = 60
	banWindow = 10 * time.Minute
	maxKept   = 20_000
)

// harvest remembers who asks for recipients that nobody has.
type harvest struct {
	mu   sync.Mutex
	seen map[netip.Addr]*tally
}

type tally struct {
	n     int
	since time.Time
}

func newHarvest() *harvest { return &harvest{seen: make(map[netip.Addr]*tally)} }

// client is what counts as one client: an IPv4 address or an IPv6 /64.
func client(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// count notes an unknown recipient and tells whether the client is banned.
func (h *harvest) count(a netip.Addr, now time.Time) bool {
	if a.IsLoopback() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.seen[client(a)]
	if t == nil || now.Sub(t.since) > banWindow {
		if len(h.seen) >= maxKept {
			h.forget(now)
		}
		t = &tally{since: now}
		h.seen[client(a)] = t
	}
	t.n++
	return t.n >= banAfter
}

// refuse tells why a client may not connect, or "".
func (h *harvest) refuse(a netip.Addr, now time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.seen[client(a)]; t != nil && t.n >= banAfter && now.Sub(t.since) <= banWindow {
		return "4.7.0 Too many unknown recipients from your address"
	}
	return ""
}

// forget drops what is old, and everything when nothing is. mu is held.
func (h *harvest) forget(now time.Time) {
	for a, t := range h.seen {
		if now.Sub(t.since) > banWindow {
			delete(h.seen, a)
		}
	}
	if len(h.seen) >= maxKept {
		clear(h.seen)
	}
}
