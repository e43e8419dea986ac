package imap

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// idle answers IDLE (RFC 9051 section 6.3.13). While the connection's own
// goroutine waits for DONE, a second one follows the store and writes what
// changed; only that one touches view and encoder until it has ended.
func (c *conn) idle(ctx context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.e.Raw("+ Idling\r\n")
	if c.view != nil {
		if err := c.refresh(ctx, true); err != nil {
			return err
		}
	}
	if err := c.e.Flush(); err != nil {
		return &fatalError{err}
	}
	var push chan error
	stop := make(chan struct{})
	c.idling = true
	if c.view != nil {
		push = make(chan error, 1)
		go func() { push <- c.push(ctx, stop) }()
	}
	line, err := c.d.RawLine()
	done := err == nil && strings.EqualFold(string(line), "DONE")
	close(stop)
	if push != nil {
		if perr := <-push; perr != nil && err == nil {
			err = perr
		}
	}
	c.idling = false
	switch {
	case err != nil:
		return &fatalError{err}
	case !done:
		return bad("", "Expected DONE")
	}
	return nil
}

// push writes the folder's changes until stop. What it has begun it finishes.
func (c *conn) push(ctx context.Context, stop <-chan struct{}) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.server.metrics.panics.Inc()
			c.server.cfg.Log.Error("panic", "proto", "imap", "user", c.who.Address, "cmd", "IDLE",
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("panic")
			c.interrupt()
		}
	}()
	for {
		select {
		case <-stop:
			return nil
		case <-c.watcher.C():
		}
		err := c.refresh(ctx, true)
		if err == nil {
			err = c.e.Flush()
		}
		if err != nil || c.bye != "" {
			c.interrupt()
			return err
		}
	}
}
