// Package serve runs the parts of a program together: signals, graceful end,
// doors and their addresses, health, figures and the log.
//
// Its law: every part runs until its context ends or it fails; when one fails,
// all end. A part that does not end in time is named and left behind, for the
// process is about to exit. run/addresses.json exists only while every door is
// open.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Grace is how long the parts have for their end; the private database needs
// the rest of the ten seconds after SIGTERM.
const Grace = 6 * time.Second

// Signals gives a context that ends with SIGTERM or SIGINT. A second signal
// ends the process at once, as the system does by itself.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Part is something that runs until its context ends: a door, a mover, a
// listener. Run returns when its last goroutine has ended.
type Part struct {
	Name string
	Run  func(ctx context.Context) error
}

// ErrStuck: a part did not end in time.
var ErrStuck = errors.New("did not end in time")

// Run runs all parts until ctx ends or one fails, and gives the first failure.
// A part that returns nil is done and lets the others run on. After the end
// they have Grace; who is still there then is in an ErrStuck.
func Run(ctx context.Context, log *slog.Logger, parts ...Part) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		i   int
		err error
	}
	ends := make(chan end, len(parts))
	for i, p := range parts {
		go func() { ends <- end{i, p.guarded(ctx)} }()
	}
	running := make([]bool, len(parts))
	for i := range running {
		running[i] = true
	}
	var first error
	note := func(e end) {
		running[e.i] = false
		name := parts[e.i].Name
		if e.err == nil || ctx.Err() != nil && errors.Is(e.err, context.Canceled) {
			log.Debug("part ended", slog.String("part", name))
			return
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", name, e.err)
		} else {
			log.Error("part failed too", slog.String("part", name), slog.Any("fault", e.err))
		}
		cancel()
	}
	left := len(parts)
	for done := ctx.Done(); left > 0 && done != nil; {
		select {
		case e := <-ends:
			left--
			note(e)
		case <-done:
			done = nil
		}
	}
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	for left > 0 {
		select {
		case e := <-ends:
			left--
			note(e)
		case <-grace.C:
			var names []string
			for i, p := range parts {
				if running[i] {
					names = append(names, p.Name)
				}
			}
			return errors.Join(first, fmt.Errorf("%w: %s", ErrStuck, strings.Join(slices.Compact(names), ", ")))
		}
	}
	return first
}

// guarded turns a panic of the part itself into its failure: the others end
// properly, and the stack is not lost.
func (p Part) guarded(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return p.Run(ctx)
}

// Notify tells systemd about the program's state, when it was started by it.
func Notify(log *slog.Logger, ready bool) {
	state := daemon.SdNotifyReady
	if !ready {
		state = daemon.SdNotifyStopping
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", slog.Any("fault", err))
	}
}
