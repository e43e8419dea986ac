package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"waypost/services/relay"
)

type queueCmd struct {
	List struct {
		State  string `help:"Only recipients in this state." enum:",queued,held,dead,moderated" default:""`
		Domain string `help:"Only mail to this domain."`
		From   string `help:"Only mail from this sender."`
		Limit  int    `help:"At most this many." default:"100"`
	} `cmd:"" help:"List messages that wait, oldest first."`
	Show struct {
		ID int64 `arg:""`
	} `cmd:"" help:"Show one message and what its recipients' servers said."`
	Retry struct {
		ID string `arg:"" help:"A message's number, or all."`
	} `cmd:"" help:"Try again now."`
	Hold struct {
		ID string `arg:"" help:"A message's number, or all."`
	} `cmd:"" help:"Keep from being sent until it is released."`
	Release struct {
		ID string `arg:"" help:"A message's number, or all."`
	} `cmd:"" help:"Let held messages go on."`
	Delete struct {
		ID int64 `arg:""`
	} `cmd:"" help:"Remove a message; nobody is told."`
}

func (a *app) queueList(ctx context.Context, c *cli) error {
	in := c.Queue.List
	list, err := a.more.queue.List(ctx, operator(), relay.Filter{State: relay.State(in.State), Domain: in.Domain, From: in.From, Limit: in.Limit})
	if err != nil {
		return err
	}
	rows := make([][]any, len(list))
	for i, e := range list {
		var to []string
		next, last := time.Time{}, ""
		for _, r := range e.To {
			to = append(to, r.Address)
			if next.IsZero() || r.Next.Before(next) {
				next = r.Next
			}
			if s := r.Last.String(); s != "" {
				last = s
			}
		}
		if len(to) > 3 {
			to = append(to[:3], fmt.Sprintf("and %d more", len(e.To)-3))
		}
		rows[i] = []any{e.ID, e.From, strings.Join(to, ", "), e.To[0].State, bytesText(e.Size), when(e.Created), when(next), shorten(last, 60)}
	}
	return a.out.list(list, []any{"ID", "From", "To", "State", "Size", "Since", "Next try", "Last answer"}, rows)
}

func (a *app) queueShow(ctx context.Context, c *cli) error {
	e, err := a.more.queue.Show(ctx, operator(), c.Queue.Show.ID)
	if err != nil {
		return err
	}
	return a.out.show(e, func(w io.Writer) {
		fmt.Fprintf(w, "%d  %s\nfrom     %s\nsize     %s\nsince    %s\nexpires  %s\n", e.ID, e.Key, e.From, bytesText(e.Size), when(e.Created), when(e.Expires))
		for _, r := range e.To {
			fmt.Fprintf(w, "to       %s: %s, %s, next %s\n", r.Address, r.State, count(r.Attempts, "attempt"), when(r.Next))
			if s := r.Last.String(); s != "" {
				fmt.Fprintf(w, "         %s %s\n", when(r.Last.At), s)
			}
		}
	})
}

// queueChange runs a change on one message or, by "all", on every one.
func (a *app) queueChange(id, say string, fn func(id int64) (int64, error)) error {
	n := int64(0)
	if id != "all" {
		var err error
		if n, err = strconv.ParseInt(id, 10, 64); err != nil || n <= 0 {
			return fmt.Errorf("%q is not a message's number; see: waypost queue list", id)
		}
	}
	all, err := fn(n)
	if err != nil {
		return err
	}
	return a.out.done(map[string]int64{"recipients": all}, say, count(all, "recipient"))
}

func (a *app) queueRetry(ctx context.Context, c *cli) error {
	return a.queueChange(c.Queue.Retry.ID, "Tried again now: %s.", func(id int64) (int64, error) {
		return a.more.queue.Retry(ctx, operator(), id, time.Now())
	})
}

func (a *app) queueHold(ctx context.Context, c *cli) error {
	return a.queueChange(c.Queue.Hold.ID, "Held: %s.", func(id int64) (int64, error) {
		return a.more.queue.Hold(ctx, operator(), id)
	})
}

func (a *app) queueRelease(ctx context.Context, c *cli) error {
	return a.queueChange(c.Queue.Release.ID, "Go on: %s.", func(id int64) (int64, error) {
		return a.more.queue.Release(ctx, operator(), id)
	})
}

func (a *app) queueDelete(ctx context.Context, c *cli) error {
	n, err := a.more.queue.Delete(ctx, operator(), c.Queue.Delete.ID)
	if err != nil {
		return err
	}
	return a.out.done(map[string]int64{"recipients": n}, "Removed, with %s.", count(n, "recipient"))
}
