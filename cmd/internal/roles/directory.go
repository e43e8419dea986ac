package roles

import (
	"context"
	"strings"

	"waypost/directory/remote"
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
