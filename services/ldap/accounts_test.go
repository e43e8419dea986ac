package ldap

import (
	"context"
	"strings"
	"sync"

	"waypost/directory"
	"waypost/internal/fault"
)

// memAccounts lets people in.
type memAccounts struct {
	mu     sync.Mutex
	people []*memAccount
	calls  int
}

type memAccount struct {
	name, password string
	who            directory.Principal
	watches        map[*context.CancelCauseFunc]bool
}

func (a *memAccounts) add(name, password string, who directory.Principal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.people = append(a.people, &memAccount{name, password, who, map[*context.CancelCauseFunc]bool{}})
}

func (a *memAccounts) change(id directory.ObjectID, old *string, fresh string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.people {
		if p.who.ID != id {
			continue
		}
		if old != nil && *old != p.password {
			return fault.New(fault.Unauthenticated, "wrong")
		}
		p.password = fresh
		p.who.Epoch++
		for w := range p.watches {
			(*w)(fault.New(fault.Unauthenticated, "changed"))
		}
		return nil
	}
	return fault.New(fault.NotFound, "no account")
}

func (a *memAccounts) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	for _, p := range a.people {
		if p.password != c.Password || c.Password == "" {
			continue
		}
		for _, name := range []string{p.name, p.who.Address, `EXAMPLE\` + p.name} {
			if strings.EqualFold(name, c.Login) {
				return p.who, nil
			}
		}
	}
	for _, p := range directory.Problems() {
		if c.Login == p.String() {
			return directory.Principal{}, &directory.SignInProblem{Why: p, Who: a.people[1].who}
		}
	}
	if strings.HasPrefix(c.Login, "slow") {
		return directory.Principal{}, fault.New(fault.Limit, "slow down")
	}
	if strings.HasPrefix(c.Login, "down") {
		return directory.Principal{}, fault.New(fault.Unavailable, "down")
	}
	return directory.Principal{}, fault.New(fault.Unauthenticated, "wrong")
}

func (a *memAccounts) Context(ctx context.Context, who directory.Principal) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.people {
		if p.who.ID == who.ID {
			p.watches[&end] = true
			if p.who.Epoch != who.Epoch {
				end(fault.New(fault.Unauthenticated, "changed"))
			}
			return ctx, func() {
				end(context.Canceled)
				a.mu.Lock()
				defer a.mu.Unlock()
				delete(p.watches, &end)
			}
		}
	}
	return ctx, func() { end(context.Canceled) }
}
