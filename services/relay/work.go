package relay

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/smtpguard"
)

// job hands some messages of one domain on, over one connection if it goes
// outside. Each is settled before the next is begun.
func (r *Relay) job(ctx context.Context, list []Work) {
	defer r.holding(ctx, list)()
	var c *client
	defer func() {
		if c != nil {
			c.stop()
			c.CommandTimeout = 5 * time.Second // nothing depends on the answer
			if c.Quit() != nil {
				c.Client.Close()
			}
		}
	}()
	for _, w := range list {
		if ctx.Err() != nil {
			return
		}
		r.unit(ctx, w, &c)
	}
}

// result is what one attempt did for one recipient.
type result struct {
	rcpt  Recipient
	local bool
	err   error // nil: handed on
	host  string

	listed  bool     // a group's members were told: it may not come again
	asked   *Asked   // it waits for moderators
	silent  bool     // nobody hears of the error
	notices []Notice // about it
}

// unit hands one message on and settles what became of it. A panic costs this
// attempt only.
func (r *Relay) unit(ctx context.Context, w Work, c **client) {
	begun := time.Now()
	var results []result
	func() {
		defer func() {
			if p := recover(); p != nil {
				r.o.Log.Error("panic", "proto", "relay", "id", w.ID, "panic", p, "stack", string(debug.Stack()))
				results = nil
				for _, rc := range w.To {
					results = append(results, result{rcpt: rc, err: fault.New(fault.Internal, "internal error")})
				}
			}
		}()
		results = r.attempt(ctx, w, c)
	}()
	r.settle(ctx, w, results, time.Since(begun))
}

// attempt sorts the recipients and sends to each kind.
func (r *Relay) attempt(ctx context.Context, w Work, c **client) (results []result) {
	body := r.queue.Content(ctx, w)
	var (
		outside []Recipient
		inside  []Recipient
		targets []directory.Target
	)
	for _, rc := range w.To {
		if envelope.IsUndeliverable(rc.Address) {
			results = append(results, result{rcpt: rc, err: errAddress})
			continue
		}
		if rc.Verdict == Rejected || rc.Verdict == Expired {
			results = append(results, r.decline(w, rc, body))
			continue
		}
		res, err := r.dir.Resolve(ctx, rc.Address)
		kind, token, decides := ballot(rc.Address)
		switch {
		case err != nil:
			results = append(results, result{rcpt: rc, local: true, err: err})
		case res.Standing == directory.Foreign:
			outside = append(outside, rc)
		case res.Standing == directory.Person:
			if res.Forward != "" { // a copy; the queue takes each address once
				if err := r.forward(ctx, w, res.Forward); err != nil {
					results = append(results, result{rcpt: rc, local: true, err: err})
					continue
				}
			}
			inside, targets = append(inside, rc), append(targets, res.Target)
		case res.Standing == directory.List:
			results = append(results, r.list(ctx, w, rc, res.Group, body))
		case res.Standing == directory.Outside:
			results = append(results, result{rcpt: rc, local: true, err: r.forward(ctx, w, res.Forward)})
		case decides:
			results = append(results, r.decide(ctx, w, rc, kind, token, body))
		default:
			results = append(results, result{rcpt: rc, local: true, err: fault.New(fault.NotFound, "No such user here")})
		}
	}
	if len(targets) > 0 {
		for i, err := range r.deliver.Deliver(ctx, w.Envelope, targets, body) {
			results = append(results, result{rcpt: inside[i], local: true, err: err})
		}
	}
	for len(outside) > 0 {
		n := min(len(outside), maxRecipients)
		results = append(results, r.outside(ctx, w, outside[:n], body, c)...)
		outside = outside[n:]
	}
	return results
}

var errAddress = smtpguard.Errorf(553, [3]int{5, 1, 3}, "Malformed address")

// forward makes the address that mail goes on to a recipient of its own.
func (r *Relay) forward(ctx context.Context, w Work, address string) error {
	return r.queue.Add(ctx, w.Message, []Address{{address, envelope.Domain(address)}}, r.o.Now())
}

// list delivers to the members of a list, or asks its moderators.
func (r *Relay) list(ctx context.Context, w Work, rc Recipient, group directory.ObjectID, body envelope.Body) result {
	approvers, err := r.dir.MaySendTo(ctx, directory.Sender{Address: w.From, Known: w.Trusted}, group)
	if err == nil && len(approvers) > 0 && rc.Verdict != Approved {
		asked, err := r.ask(ctx, w, rc, approvers, body)
		return result{rcpt: rc, local: true, err: err, asked: asked}
	}
	if err == nil {
		err = r.expand(ctx, w, group, body)
	}
	return result{rcpt: rc, local: true, err: err, listed: true}
}

// expand delivers to the members of a list, page by page. Members elsewhere and
// those that could not be reached become recipients of their own; delivering a
// page again after a crash doubles nothing.
func (r *Relay) expand(ctx context.Context, w Work, group directory.ObjectID, body envelope.Body) error {
	for page := (directory.Page{Limit: 500}); ; {
		some, err := r.dir.Expand(ctx, group, page)
		if err != nil {
			return err
		}
		var failed, elsewhere []Address
		boxes := make([]directory.Target, 0, len(some))
		for _, t := range some {
			if t.Forward != "" {
				elsewhere = append(elsewhere, Address{t.Forward, envelope.Domain(t.Forward)})
			}
			if t.Mailbox != 0 {
				boxes = append(boxes, t)
			}
		}
		for i, err := range r.deliver.Deliver(ctx, w.Envelope, boxes, body) {
			if err != nil {
				failed = append(failed, Address{boxes[i].Address, envelope.Domain(boxes[i].Address)})
			}
		}
		if len(elsewhere) > 0 {
			if err := r.queue.Add(ctx, w.Message, elsewhere, r.o.Now()); err != nil {
				return err
			}
		}
		if len(failed) > 0 {
			if err := r.queue.Add(ctx, w.Message, failed, r.o.Now().Add(time.Second)); err != nil {
				return err
			}
		}
		if len(some) < page.Limit {
			return nil
		}
		page.After = some[len(some)-1].ID
	}
}

const (
	maxReuse      = 100 // messages that one connection carries
	maxRecipients = 100 // of a transaction: what every server must take
)

// outside sends to another server, on the job's connection if it has one.
func (r *Relay) outside(ctx context.Context, w Work, to []Recipient, body envelope.Body, c **client) []result {
	results := make([]result, len(to))
	same := func(err error, host string) []result {
		for i, rc := range to {
			results[i] = result{rcpt: rc, err: err, host: host}
		}
		return results
	}
	for {
		old := *c != nil
		if old && (*c).sent >= maxReuse {
			(*c).close()
			*c, old = nil, false
		}
		if *c == nil {
			hops, err := r.hops(ctx, w.Domain)
			if err != nil {
				return same(err, "")
			}
			if *c, err = r.connect(ctx, hops); err != nil {
				*c = nil
				return same(err, hops[0].name)
			}
		}
		host := (*c).hop.name
		errs, broken := (*c).send(w.Envelope, addresses(to), body)
		if broken {
			(*c).close()
			*c = nil
			if old && silent(errs) { // it had been closed in the meantime
				continue
			}
		}
		for i, rc := range to {
			results[i] = result{rcpt: rc, err: errs[i], host: host}
		}
		return results
	}
}

// silent tells that no reply came for anybody.
func silent(errs []error) bool {
	for _, err := range errs {
		var reply *gosmtp.SMTPError
		if err == nil || errors.As(err, &reply) {
			return false
		}
	}
	return true
}

// settle turns results into outcomes and notices, and commits them. It is
// patient: what was sent outside and is not noted would be sent again.
func (r *Relay) settle(ctx context.Context, w Work, results []result, dur time.Duration) {
	now := r.o.Now()
	outcomes := make([]Outcome, 0, len(results))
	var failed, delayed []report
	for _, res := range results {
		o, rep := r.judge(w, res, now)
		outcomes = append(outcomes, o)
		word := "sent"
		switch {
		case rep != nil && rep.action == "failed":
			failed = append(failed, *rep)
			word = "bounced"
		case rep != nil:
			delayed = append(delayed, *rep)
			word = "deferred"
		case o.State == Dead:
			word = "dead"
		case o.State == Moderated:
			word = "moderated"
		case res.silent:
			word = "dropped"
		case !o.Done:
			word = "deferred"
		}
		r.results.WithLabelValues(word).Inc()
		attrs := []any{
			"proto", "relay", "cmd", "send", "id", w.ID, "from", w.From, "user", envelope.ForLog(res.rcpt.Address)[0], "host", res.host,
			"attempt", res.rcpt.Attempts + 1, "dur", dur, "result", word,
		}
		if res.err != nil {
			attrs = append(attrs, "fault", fault.Of(res.err), "err", res.err, "next", o.Due)
		}
		r.o.Log.Info("message", attrs...)
	}
	var notices []Notice
	for _, res := range results {
		notices = append(notices, res.notices...)
	}
	for _, reports := range [][]report{failed, delayed} {
		if len(reports) == 0 {
			continue
		}
		n, err := r.notice(ctx, w, reports, now)
		if err != nil { // without the header of the original, then
			r.o.Log.Warn("notice", "proto", "relay", "id", w.ID, "err", err)
		}
		notices = append(notices, n)
	}
	err := patiently(context.WithoutCancel(ctx), time.Minute, func() error {
		return r.queue.Settle(context.WithoutCancel(ctx), w, now, outcomes, notices)
	})
	if err != nil {
		r.o.Log.Error("queue", "proto", "relay", "cmd", "settle", "id", w.ID, "fault", fault.Of(err), "err", err)
	}
}

// judge decides what becomes of a recipient, and what its sender hears.
func (r *Relay) judge(w Work, res result, now time.Time) (Outcome, *report) {
	done := Outcome{ID: res.rcpt.ID, Done: true, Listed: res.listed || res.rcpt.Listed}
	switch {
	case res.err != nil && res.silent, res.err == nil && res.asked == nil:
		return done, nil
	case res.err == nil:
		return Outcome{ID: res.rcpt.ID, State: Moderated, Due: now.Add(r.o.Moderation), Warned: res.rcpt.Warned, Asked: res.asked}, nil
	}
	last, final := explain(res, now)
	due := now.Add(wait(planFor(res.local, last), res.rcpt.Attempts+1))
	if !final && due.After(w.Expires) && !now.Before(w.Expires) {
		final = true
		last.Text = "Given up; the last answer was: " + last.String()
		last.Status, last.Code = "4.4.7", 0 // RFC 3463: delivery time expired
	} else if !final && due.After(w.Expires) {
		due = w.Expires // one last time
	}
	tell := w.From != "" && (w.Trusted || w.Tell || res.rcpt.Verdict == Rejected)
	o := Outcome{ID: res.rcpt.ID, State: Queued, Due: due, Warned: res.rcpt.Warned, Last: last}
	rep := &report{rcpt: res.rcpt, last: last}
	switch {
	case final && tell:
		rep.action = "failed"
		return done, rep
	case final:
		o.State = Dead
		return o, nil
	case tell && o.Warned < len(warnAfter) && now.Sub(w.Created) >= warnAfter[o.Warned]:
		for o.Warned < len(warnAfter) && now.Sub(w.Created) >= warnAfter[o.Warned] {
			o.Warned++
		}
		rep.action, rep.until = "delayed", w.Expires
		return o, rep
	}
	return o, nil
}

// explain gives the answer that an attempt got, and whether it is final.
func explain(res result, now time.Time) (last Last, final bool) {
	last = Last{At: now, Host: res.host}
	var reply *gosmtp.SMTPError
	switch {
	case errors.As(res.err, &reply):
	case res.local:
		reply = smtpguard.Reply(res.err)
	default:
		// The connection broke, or waiting took too long.
		reply = &gosmtp.SMTPError{EnhancedCode: gosmtp.EnhancedCode{4, 4, 2}, Message: printable(fmt.Errorf("connection lost: %w", res.err))}
	}
	last.Code, last.Text = reply.Code, reply.Message
	status := reply.EnhancedCode
	if status[0] != 4 && status[0] != 5 { // the server gave none
		status = gosmtp.EnhancedCode{max(4, min(5, reply.Code/100)), 0, 0}
	}
	last.Status = strconv.Itoa(status[0]) + "." + strconv.Itoa(status[1]) + "." + strconv.Itoa(status[2])
	return last, reply.Code/100 == 5
}
