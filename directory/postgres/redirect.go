package postgres

import (
	"context"

	"waypost/directory"
	"waypost/directory/tree"
)

// maxRedirects bounds how far redirections are followed to see whether they end.
const maxRedirects = 20

// redirect gives where mail for a mailbox goes by its altRecipient: instead, or
// with deliverAndRedirect besides. A redirection that comes back, or leads to what
// has no address, is none: mail then stays in the mailbox rather than being lost.
func (s *Store) redirect(ctx context.Context, id directory.ObjectID) (address string, besides bool) {
	x := s.index.Load()
	to := x.Linked(id, "altRecipient")
	if len(to) == 0 {
		return "", false
	}
	e := s.view.get(to[0])
	switch {
	case e == nil || !s.ends(id):
		return "", false
	case e.mailbox != 0 || isGroup(e.family):
		address = e.address
	case e.forwards:
		address = s.forward(ctx, e.id, e.address)
	}
	if address == "" {
		return "", false
	}
	own, err := x.Get(ctx, id, &tree.Query{Attributes: []string{"deliverAndRedirect"}}, nil)
	if err != nil {
		return "", false
	}
	v := own.Get("deliverAndRedirect")
	return address, len(v) > 0 && v[0] == "TRUE"
}

// ends tells whether redirections from a mailbox on come to an end.
func (s *Store) ends(id directory.ObjectID) bool {
	x := s.index.Load()
	for range maxRedirects {
		e := s.view.get(id)
		to := x.Linked(id, "altRecipient")
		if e == nil || e.mailbox == 0 || len(to) == 0 {
			return true // a contact or a group redirects nothing
		}
		id = to[0]
	}
	return false
}

// redirected completes the resolution of a mailbox's address.
func (s *Store) redirected(ctx context.Context, r directory.Resolution) directory.Resolution {
	address, besides := s.redirect(ctx, r.Target.ID)
	switch {
	case address == "":
		return r
	case besides:
		r.Forward = address
		return r
	}
	return directory.Resolution{Standing: directory.Outside, Target: directory.Target{ID: r.Target.ID}, Forward: address}
}

// redirectAll does the same for the members of a group.
func (s *Store) redirectAll(ctx context.Context, targets []directory.Target) []directory.Target {
	for i := range targets {
		t := &targets[i]
		if t.Mailbox == 0 {
			continue
		}
		var besides bool
		if t.Forward, besides = s.redirect(ctx, t.ID); t.Forward != "" && !besides {
			t.Mailbox, t.HomeMDB, t.Quota = 0, "", 0
		}
	}
	return targets
}
