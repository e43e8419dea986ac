package jmap

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

const (
	minPing = 1 * time.Second
	maxPing = 15 * time.Minute
	// keepAlive is how often a comment is sent where no ping is asked for, so that a
	// client that is gone is noticed.
	keepAlive = 2 * time.Minute
)

// pushed are the types whose changes are pushed, with their states.
var pushed = []struct {
	name  string
	state func(context.Context, *call) (string, error)
}{
	{"Mailbox", mailState},
	{"Thread", mailState},
	{"Email", mailState},
	{"EmailSubmission", submissionState},
}

// events pushes changes as they happen (RFC 8620 section 7.3). While nothing does it
// costs one goroutine and no connection of the database.
func (d *door) events(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(q.Get("types"), ",") {
		wanted[name] = true
	}
	once := q.Get("closeafter") == "state"
	seconds, err := strconv.Atoi(q.Get("ping"))
	if err != nil || seconds < 0 || q.Get("types") == "" || !once && q.Get("closeafter") != "no" {
		return &problem{Type: "about:blank", Status: http.StatusBadRequest, Detail: "types, closeafter and ping are needed"}
	}
	if d.who.Mailbox == 0 {
		return fault.New(fault.Denied, "this account has no mailbox")
	}
	done, err := d.begin("maxEventSources", maxEvents)
	if err != nil {
		return &problem{Type: "about:blank", Status: http.StatusTooManyRequests, Detail: "too many event sources are open"}
	}
	defer done()
	ctx, end := d.auth.Context(ctx, d.who)
	defer end()
	watch := d.store.Watch(d.who.Mailbox) // before the states are read, so that nothing is missed
	defer watch.Close()
	s := &source{
		door: d, w: w, control: http.NewResponseController(w),
		c: &call{request: &request{door: d}, account: account(d.who.Mailbox), box: d.who.Mailbox},
	}
	for _, t := range pushed {
		if wanted["*"] || wanted[t.name] {
			s.types = append(s.types, t.name)
		}
	}
	if s.was, err = s.states(ctx); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("X-Accel-Buffering", "no") // nginx passes it on at once
	w.WriteHeader(http.StatusOK)
	// What was missed since the last event that the client saw is told at once.
	if last := r.Header.Get("Last-Event-ID"); last != "" && last != s.id(s.was) {
		if err := s.push(s.was, s.was); err != nil || once {
			return err
		}
	}
	return s.run(ctx, watch, once, pingOf(seconds))
}

// pingOf is how often pings are sent, 0 for never.
func pingOf(seconds int) time.Duration {
	if seconds == 0 {
		return 0
	}
	return min(max(time.Duration(min(seconds, 1e6))*time.Second, minPing), maxPing)
}

// source is an open event source.
type source struct {
	*door
	c       *call
	w       http.ResponseWriter
	control *http.ResponseController
	types   []string
	was     map[string]string // as told last
}

func (s *source) run(ctx context.Context, watch store.Watcher, once bool, ping time.Duration) error {
	if err := s.write(":\n\n"); err != nil {
		return err
	}
	every := ping
	if every == 0 {
		every = keepAlive
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil // the account changed, the client is gone, or the server ends
		case <-s.stopped:
			return nil
		case <-timer.C:
			text := ":\n\n"
			if ping > 0 {
				text = fmt.Sprintf("event: ping\ndata: {\"interval\":%d}\n\n", int(ping/time.Second))
			}
			if err := s.write(text); err != nil {
				return nil
			}
			timer.Reset(every)
		case <-watch.C():
			now, err := s.states(ctx)
			if fault.Of(err) == fault.Unavailable && err != nil && ctx.Err() == nil {
				continue // the next change, or comparison, wakes again
			}
			if err != nil {
				return nil
			}
			changed := map[string]string{}
			for name, state := range now {
				if s.was[name] != state {
					changed[name] = state
				}
			}
			if len(changed) == 0 {
				continue
			}
			s.was = now
			if err := s.push(changed, now); err != nil || once {
				return nil
			}
			timer.Reset(every)
		}
	}
}

func (s *source) states(ctx context.Context) (map[string]string, error) {
	now := map[string]string{}
	mailSeq := ""
	for _, t := range pushed {
		for _, name := range s.types {
			if name != t.name {
				continue
			}
			// Three of them are one number.
			if name != "EmailSubmission" && mailSeq != "" {
				now[name] = mailSeq
				continue
			}
			state, err := t.state(ctx, s.c)
			if err != nil {
				return nil, err
			}
			if now[name] = state; name != "EmailSubmission" {
				mailSeq = state
			}
		}
	}
	return now, nil
}

// id encodes all states.
func (s *source) id(states map[string]string) string {
	var parts []string
	for _, name := range s.types {
		parts = append(parts, states[name])
	}
	return strings.Join(parts, ".")
}

// push sends a StateChange (section 7.1).
func (s *source) push(changed, now map[string]string) error {
	data, err := encodeJSON(object{"@type": "StateChange", "changed": object{s.c.account: changed}})
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("event: state\nid: %s\ndata: %s\n\n", s.id(now), data))
}

func (s *source) write(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	return s.control.Flush()
}

// Stop ends all event sources, so that the server can end.
func (s *Server) Stop() { s.stop() }
