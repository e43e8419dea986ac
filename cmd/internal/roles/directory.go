package roles

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"waypost/directory/remote"
	"waypost/internal/config"
)

// serveDirectory opens the directory to the other programs.
func (p *Program) serveDirectory(ctx context.Context) error {
	conf, err := p.linkServer(p.Config.Listen.Directory, "waypost-smtp", "waypost-store", "waypost-frontend")
	if err != nil {
		return err
	}
	l, err := p.listen(ctx, "directory", p.Config.Listen.Directory)
	if err != nil {
		return err
	}
	if l == nil {
		return missing("listen.directory", "a door for the other programs")
	}
	server := remote.NewServer(p.dir, remote.ServerOptions{TLS: conf, Log: p.Log})
	p.part("directory door", func(ctx context.Context) error { return server.Serve(ctx, l) })
	return nil
}

// socketName is the socket, beside run/addresses.json, at which the directory
// serves the command line on this machine. Who can open it is the user that
// runs the program, or root: those who can reach its database too.
const socketName = "directory.sock"

// serveSocket opens the directory to the command line, which then need not read
// the whole directory for one question.
func (p *Program) serveSocket() error {
	dir := filepath.Join(p.published(), "run")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		p.Log.Warn("the data folder's name is too long for a socket: commands will read the whole directory", "path", path)
		return nil
	}
	l, err := privateSocket(path)
	if err != nil {
		return fmt.Errorf("the socket for the command line: %w", err)
	}
	p.OnClose(func() { _, _ = l.Close(), os.Remove(path) })
	server := remote.NewServer(p.dir, remote.ServerOptions{Log: p.Log})
	p.part("directory socket", func(ctx context.Context) error { return server.Serve(ctx, l) })
	return nil
}

// privateSocket listens at path, in place of what a killed process left there.
// Nobody else can connect at any moment: it is made inside a closed folder and
// moved out when its mode is set.
func privateSocket(path string) (net.Listener, error) {
	hidden, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(hidden)
	first := filepath.Join(hidden, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(first, 0o600), os.Rename(first, path)); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// maxSocketPath is what fits the kernel's address (unix(7): 108 bytes with NUL).
const maxSocketPath = 100 // with room for the folder it is made in

// bySocket asks the directory of a program that runs on this machine; nil when
// there is none.
func bySocket(ctx context.Context, cfg *config.Config, log *slog.Logger) *remote.Client {
	for _, role := range []string{"", "directory"} {
		path := filepath.Join(cfg.Data, role, "run", socketName)
		if _, err := os.Stat(path); err != nil || len(path) > maxSocketPath {
			continue
		}
		c, err := remote.New(remote.Options{Socket: path, Log: log})
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err = c.Keys(ctx)
		cancel()
		if err == nil {
			return c
		}
		c.Close()
	}
	return nil
}

// farDirectory asks waypost-directory, and stands a gate in front of it.
func (p *Program) farDirectory(context.Context) error {
	urls := strings.Fields(p.Config.Links.Directory)
	if len(urls) == 0 {
		return missing("links.directory", "the directory")
	}
	var hosts []string
	for _, u := range urls {
		_, host, _ := strings.Cut(u, "://")
		hosts = append(hosts, strings.TrimSuffix(host, "/"))
	}
	conf, err := p.linkClient("waypost-directory", hosts...)
	if err != nil {
		return err
	}
	if conf == nil {
		// Without certificates, which is allowed on this machine only.
		for i := range urls {
			urls[i] = "http://" + hosts[i]
		}
	}
	client, err := remote.New(remote.Options{URLs: urls, TLS: conf, Log: p.Log})
	if err != nil {
		return err
	}
	p.OnClose(client.Close)
	p.part("directory link", client.Run)
	p.dir = client
	p.openGate()
	return nil
}
