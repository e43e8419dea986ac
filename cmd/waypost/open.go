package main

import (
	"context"
	"io"
	"log/slog"

	"waypost/cmd/internal/roles"
	dirpg "waypost/directory/postgres"
	relaypg "waypost/services/relay/postgres"
)

// opened is what a command opened and must close.
type opened struct {
	closers []func()
	queue   *relaypg.Queue
	bulk    *dirpg.Store
}

func (o *opened) close() {
	for i := len(o.closers) - 1; i >= 0; i-- {
		o.closers[i]()
	}
	o.closers = nil
}

// open reaches the databases: those configured or, without any, the private
// cluster, which is started for the command when waypost serve is not running.
func (a *app) open(ctx context.Context, n need) (err error) {
	defer func() {
		if err != nil {
			a.more.close()
		}
	}()
	quiet := quietLog()
	slog.SetDefault(quiet)
	if err := a.join(ctx, quiet); err != nil {
		return err
	}
	tool, err := roles.OpenTool(ctx, a.cfg, quiet, roles.Need{
		Directory: n != needQueue, Tree: n == needTree, Mail: n == needMail, Queue: n == needQueue,
	})
	if err != nil {
		return err
	}
	a.more.closers = append(a.more.closers, tool.Close)
	a.dir, a.mail, a.more.queue, a.more.bulk = tool.Directory, tool.Mail, tool.Queue, tool.Bulk
	return nil
}

// join finds or starts the private cluster, if it is the one meant.
func (a *app) join(ctx context.Context, log *slog.Logger) error {
	if !a.cfg.Database.Private() {
		return nil
	}
	stop, err := roles.Private(ctx, a.cfg, log, true)
	if err != nil {
		return err
	}
	a.more.closers = append(a.more.closers, stop)
	return nil
}

// quietLog drops what the packages log: a command says its own result.
func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
