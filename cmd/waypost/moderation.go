package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"waypost/services/relay"
)

type moderationCmd struct {
	List struct {
		All   bool   `help:"Those that were decided in the last 90 days, too."`
		Group string `help:"Only messages to this group." placeholder:"ADDRESS"`
		Limit int    `help:"At most this many, newest first." default:"100"`
	} `cmd:"" help:"List messages that wait for a moderator."`
	Show struct {
		ID int64 `arg:""`
	} `cmd:"" help:"Show one message: who was asked, and who decided what."`
	Approve struct {
		ID int64 `arg:""`
	} `cmd:"" help:"Approve a message in place of its moderators: it goes to the group."`
	Reject struct {
		ID      int64  `arg:""`
		Comment string `help:"Why, for the sender."`
	} `cmd:"" help:"Reject a message in place of its moderators: its sender is told."`
}

func (a *app) moderationList(ctx context.Context, c *cli) error {
	in := c.Moderation.List
	list, err := a.more.queue.Moderations(ctx, operator(), relay.ModerationFilter{Waiting: !in.All, Group: in.Group, Limit: in.Limit})
	if err != nil {
		return err
	}
	rows := make([][]any, len(list))
	for i, m := range list {
		rows[i] = []any{m.ID, m.Group, m.From, shorten(m.Subject, 40), bytesText(m.Size), when(m.Created), when(m.Expires), standing(m)}
	}
	return a.out.list(list, []any{"ID", "Group", "From", "Subject", "Size", "Since", "Expires", "Decision"}, rows)
}

// standing says what was decided, and by whom.
func standing(m relay.Moderation) string {
	switch {
	case m.Verdict == relay.Undecided:
		return "waits"
	case m.By == "":
		return string(m.Verdict)
	}
	return string(m.Verdict) + " by " + m.By
}

func (a *app) moderationShow(ctx context.Context, c *cli) error {
	m, err := a.more.queue.Moderation(ctx, operator(), c.Moderation.Show.ID)
	if err != nil {
		return err
	}
	return a.out.show(m, func(w io.Writer) {
		fmt.Fprintf(w, "%d  %s\ngroup       %s\nfrom        %s\nsubject     %s\nsize        %s\nsince       %s\nexpires     %s\nmoderators  %s\ndecision    %s\n",
			m.ID, m.Key, m.Group, m.From, m.Subject, bytesText(m.Size), when(m.Created), when(m.Expires), strings.Join(m.Moderators, ", "), standing(m))
		if !m.Decided.IsZero() {
			fmt.Fprintf(w, "decided     %s\n", when(m.Decided))
		}
		if m.Comment != "" {
			fmt.Fprintf(w, "comment     %s\n", m.Comment)
		}
	})
}

func (a *app) moderationApprove(ctx context.Context, c *cli) error {
	return a.moderate(ctx, relay.Decision{ID: c.Moderation.Approve.ID, Verdict: relay.Approved})
}

func (a *app) moderationReject(ctx context.Context, c *cli) error {
	in := c.Moderation.Reject
	return a.moderate(ctx, relay.Decision{ID: in.ID, Verdict: relay.Rejected, Comment: in.Comment})
}

func (a *app) moderate(ctx context.Context, d relay.Decision) error {
	m, err := a.more.queue.Moderate(ctx, operator(), d, time.Now())
	if err != nil {
		return err
	}
	return a.out.done(m, "%s%s: the message from %s to %s.", strings.ToUpper(string(m.Verdict[:1])), m.Verdict[1:], m.From, m.Group)
}
