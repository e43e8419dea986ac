// Package roles puts the programs together from the role packages: it opens what
// a program may open, decides what is near and what is far, and hands the parts
// to internal/serve. There is no logic of any protocol here.
package roles

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
	"waypost/directory/authn"
	dirpg "waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/serve"
	"waypost/internal/tlsconf"
	"waypost/services/birthdays"
	"waypost/services/smtp"
	"waypost/services/webcal"
	"waypost/store"
	storepg "waypost/store/postgres"
)

// Program is one process with the roles that it was given.
type Program struct {
	Name   string
	Config *config.Config
	Log    *slog.Logger
	Health *serve.Health

	dir     directory.Directory // near or far
	tree    tree.Tree           // nil when the directory is far
	gate    *authn.Gate
	mail    *storepg.Store
	certs   *tlsconf.Certificate
	deliver deliverer
	queue   smtp.Queue
	doors   serve.Doors
	parts   []serve.Part
	close   []func() // in reverse order, after every part has ended
}

// New begins a program.
func New(name string, cfg *config.Config) *Program {
	log := serve.Logger(os.Stderr, cfg.Log.Level, cfg.Log.Format).With("program", name)
	slog.SetDefault(log)
	return &Program{Name: name, Config: cfg, Log: log, Health: serve.NewHealth(cfg.Metrics.Runtime)}
}

// part adds something that runs until the program ends.
func (p *Program) part(name string, run func(ctx context.Context) error) {
	p.parts = append(p.parts, serve.Part{Name: name, Run: run})
}

// OnClose has fn called after every part has ended, the last one first.
func (p *Program) OnClose(fn func()) { p.close = append(p.close, fn) }

// Close releases what the program opened.
func (p *Program) Close() {
	p.doors.Close()
	for _, fn := range slices.Backward(p.close) {
		fn()
	}
	p.close = nil
}

// Run opens the program to the world and runs it until ctx ends. before, if not
// nil, is called while every part runs and before the program says it is ready.
func (p *Program) Run(ctx context.Context, before func(ctx context.Context, addresses map[string]string) error) error {
	defer p.Close()
	if l, err := p.listen(ctx, "metrics", p.Config.Listen.Metrics); err != nil {
		return err
	} else if l != nil {
		handler := p.Health.Handler(p.Config.Metrics.Profile)
		p.part("metrics", func(ctx context.Context) error { return serve.HTTP(ctx, l, handler, p.Log) })
	}
	p.part("announce", func(ctx context.Context) error {
		if before != nil {
			if err := before(ctx, p.doors.Addresses()); err != nil {
				return err
			}
		}
		if err := p.doors.Publish(p.published()); err != nil {
			return err
		}
		defer func() { _ = serve.Withdraw(p.published()) }()
		p.Health.Open(true)
		serve.Notify(p.Log, true)
		p.Log.Info("ready", "doors", p.doors.Addresses())
		<-ctx.Done()
		p.Health.Open(false)
		serve.Notify(p.Log, false)
		return nil
	})
	return serve.Run(ctx, p.Log, p.parts...)
}

// published is the folder below which run/addresses.json is written. Programs
// with a single role may share a data folder, so each has a place of its own.
func (p *Program) published() string {
	if p.role() == "waypost" {
		return p.Config.Data
	}
	return filepath.Join(p.Config.Data, p.role())
}

// BeyondLoopback names the doors that other machines can reach.
func (p *Program) BeyondLoopback() []string { return p.doors.BeyondLoopback() }

// Directory gives the directory, near or far, once a role has opened it.
func (p *Program) Directory() directory.Directory { return p.dir }

// Mail gives the mailbox store, once a role has opened it.
func (p *Program) Mail() *storepg.Store { return p.mail }

func (p *Program) listen(ctx context.Context, name string, a config.Address) (net.Listener, error) {
	return p.doors.Listen(ctx, name, string(a))
}

// database opens a pool.
func (p *Program) database(ctx context.Context, name, url string) (*pgdb.DB, error) {
	db, err := pgdb.Open(ctx, url, pgdb.Options{
		Name: p.Name + "-" + name, MaxConns: p.Config.Database.PoolSize, StatementTimeout: p.Config.Database.StatementTimeout.D(),
		Wait: p.Config.Database.Wait.D(), Metrics: p.Health.Registry, Log: p.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", name, err)
	}
	p.OnClose(db.Close)
	p.Health.Check("database "+name, db.Ping)
	return db, nil
}

// OpenDirectory opens the directory near: this process has its database.
func (p *Program) OpenDirectory(ctx context.Context) error {
	url := p.Config.Database.DirectoryURL
	if url == "" {
		return missing("database.directory_url", "the directory database")
	}
	db, err := p.database(ctx, "directory", url)
	if err != nil {
		return err
	}
	hasher := authn.NewHasher(authn.Params{})
	objects, err := dirpg.Open(ctx, db, dirpg.Options{Hash: hasher.Hash, Among: hasher.Among, Log: p.Log})
	if err != nil {
		return err
	}
	p.part("directory", objects.Run)
	p.tree = objects.Tree()
	p.dir = authn.Near(objects, authn.New(objects, hasher, authn.Options{Log: p.Log}))
	return nil
}

// openGate stands in front of the directory for the doors of this process.
func (p *Program) openGate() {
	p.gate = authn.NewGate(p.dir, authn.GateOptions{Log: p.Log, Idle: p.Config.Auth.ProofLife.D()})
	p.part("gate", p.gate.Run)
	p.Health.Check("directory feed", func(context.Context) error { return p.gate.Ready() })
}

// OpenMail opens the mailbox databases.
func (p *Program) OpenMail(ctx context.Context) error {
	urls := p.Config.Database.Mail()
	if urls[storepg.DefaultHome] == "" {
		return missing("database.mail_url", "the mailbox database")
	}
	pools := map[string]*pgdb.DB{}
	for name, url := range urls {
		db, err := p.database(ctx, "mail "+name, url)
		if err != nil {
			return err
		}
		pools[name] = db
	}
	mail, err := storepg.New(pools, storeOptions(p.Config, p.Log, p.Directory))
	if err != nil {
		return err
	}
	p.mail = mail
	p.part("store", mail.Run)
	return nil
}

// storeOptions are the same for every program and for the command line. dir is
// asked when it is needed, for it may be opened later.
func storeOptions(cfg *config.Config, log *slog.Logger, dir func() directory.Directory) storepg.Options {
	o := storepg.Options{
		Quota: int64(cfg.Quota.Mailbox), RecoverableQuota: int64(cfg.Quota.Recoverable), Log: log,
		// The doors refuse what is too large; what is imported may be larger.
		MaxMessage: max(256<<20, int64(cfg.SMTP.MaxMessageSize)+1<<20),
		Groups: func(ctx context.Context, id directory.ObjectID) ([]directory.ObjectID, error) {
			d := dir()
			if d == nil {
				return nil, nil
			}
			return d.MemberOf(ctx, directory.System("store"), id)
		},
	}
	if o.RecoverableQuota == 0 {
		o.RecoverableQuota = -1 // without limit, as the configuration says it
	}
	return o
}

// maintain runs the purger, who feeds folders, and who reads what arrives into the
// index of words.
func (p *Program) maintain() {
	r := storepg.Retention{
		// The store takes 0 for "as usual", the configuration for "not at all".
		Recoverable: max(p.Config.Retention.Recoverable.D(), time.Second), Tombstones: p.Config.Retention.Tombstones.D(), Content: p.Config.Retention.Blobs.D(),
	}
	p.part("purger", func(ctx context.Context) error { return p.mail.Maintain(ctx, r) })
	p.part("calendars elsewhere", webcal.New(p.mail, Feeds(p.Config), p.Log).Run)
	p.part("birthdays", birthdays.New(p.mail, p.Log).Run)
	p.Health.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "waypost_words_behind",
		Help: "Messages that are not in the index of words yet, about, as of the last minute.",
	}, func() float64 { return float64(p.mail.WordsBehind()) }))
	p.part("words", p.mail.IndexWords)
}

// Feeds is where calendars may be fetched from; the configuration was checked.
func Feeds(cfg *config.Config) (n webcal.Network) {
	for _, s := range cfg.Feeds.Inside {
		if p, err := netip.ParsePrefix(s); err == nil {
			n.Inside = append(n.Inside, p)
		}
	}
	for _, s := range cfg.Feeds.Ports {
		if port, err := strconv.Atoi(s); err == nil {
			n.Ports = append(n.Ports, port)
		}
	}
	return n
}

func missing(key, what string) error {
	return fault.New(fault.Invalid, "%s is not set: this program needs %s", key, what)
}

var _ store.Store = (*storepg.Store)(nil)
