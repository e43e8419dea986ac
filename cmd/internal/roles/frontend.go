package roles

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"golang.org/x/net/netutil"

	"waypost/internal/config"
	"waypost/internal/httpdoor"
	"waypost/internal/serve"
	"waypost/services/autodiscover"
	"waypost/services/dav"
	"waypost/services/eas"
	"waypost/services/jmap"
	"waypost/services/publish"
	"waypost/services/signin"
)

// Frontend serves phones, calendar programs and web mail over HTTP: ActiveSync,
// CalDAV, CardDAV, JMAP and Autodiscover.
func (p *Program) Frontend(ctx context.Context) error {
	seal, err := p.sealer()
	if err != nil {
		return err
	}
	rules := policy(p.Config.EAS)
	if rules != nil {
		if err := rules.Validate(); err != nil {
			return fmt.Errorf("configuration, section eas: %w", err)
		}
	}
	phones := eas.New(p.mail, p.dir, p.gate, eas.Options{
		Policy: rules, Log: p.Log, Seal: seal, ClientAddr: clientAddr, Meetings: p.meetings(),
		MinHeartbeat: p.Config.EAS.HeartbeatMin.D(), MaxHeartbeat: p.Config.EAS.HeartbeatMax.D(),
	})
	finder := autodiscover.New(p.dir, p.gate, autodiscover.Options{
		Site: p.site(), Protocols: p.announced(), Log: p.Log, ClientAddr: clientAddr, Secure: secure,
	})
	calendars := dav.New(p.mail, p.dir, p.gate, dav.Options{
		Log: p.Log, ClientAddr: clientAddr, Scheduler: p.meetings(),
	})
	feeds := publish.New(p.mail, p.dir, publish.Options{Log: p.Log, ClientAddr: clientAddr})
	encrypted, err := p.listen(ctx, "https", p.Config.Listen.HTTPS)
	if err != nil {
		return err
	}
	pages, err := p.signIn(encrypted)
	if err != nil {
		return err
	}
	programs := jmap.New(p.mail, p.dir, p.gate, jmap.Options{
		Site: p.site(), Log: p.Log, ClientAddr: clientAddr, Secure: secure, Who: pages.Who,
	})
	routes := p.routes(phones, finder, calendars, feeds, programs, pages)

	plain, err := p.listen(ctx, "http", p.Config.Listen.HTTP)
	if err != nil {
		return err
	}
	if plain != nil {
		p.part("http", func(ctx context.Context) error {
			return serve.HTTP(ctx, netutil.LimitListener(plain, p.Config.Limits.Connections), onlyFromProxy(routes), p.Log)
		})
	}
	if encrypted != nil {
		conf, err := p.tls()
		if err != nil {
			return err
		}
		conf = conf.Clone()
		// A phone holds one request for most of an hour; HTTP/2 would share its
		// connection with the others, which old phones and proxies do badly.
		conf.NextProtos = []string{"http/1.1"}
		p.part("https", func(ctx context.Context) error {
			return serve.HTTP(ctx, tls.NewListener(netutil.LimitListener(encrypted, p.Config.Limits.Connections), conf), routes, p.Log)
		})
	}
	p.part("phones", func(ctx context.Context) error {
		<-ctx.Done()
		phones.Stop()
		programs.Stop()
		return nil
	})
	return nil
}

// routes is the thin router in front of the doors.
func (p *Program) routes(phones, finder, calendars, feeds, programs, pages http.Handler) http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPFromXFFHeader(echo.TrustLoopback(true), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false))
	e.Pre(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			// Phones write these paths in every mixture of cases.
			u := c.Request().URL
			switch {
			case eas.Matches(u.Path):
				u.Path, u.RawPath = eas.Path, ""
			case autodiscover.Matches(u.Path):
				u.Path, u.RawPath = autodiscover.Prefix+u.Path[len(autodiscover.Prefix):], ""
			}
			return next(c)
		}
	})
	e.Use(middleware.SecureWithConfig(middleware.SecureConfig{
		ContentTypeNosniff: "nosniff", XFrameOptions: "DENY", HSTSMaxAge: 31536000, HSTSExcludeSubdomains: true,
	}))
	e.Any(eas.Path, echo.WrapHandler(phones))
	e.Any(autodiscover.Prefix+"*", echo.WrapHandler(finder))
	// Any names no method that it does not know, and DAV has many.
	e.RouteNotFound(dav.Prefix+"*", echo.WrapHandler(calendars))
	e.RouteNotFound(strings.TrimSuffix(dav.Prefix, "/"), echo.WrapHandler(calendars))
	for _, path := range dav.WellKnown {
		e.RouteNotFound(path, echo.WrapHandler(http.HandlerFunc(dav.Redirect)))
	}
	e.Any(publish.Prefix+"*", echo.WrapHandler(feeds))
	e.RouteNotFound(jmap.Prefix+"*", echo.WrapHandler(programs))
	e.RouteNotFound(jmap.WellKnown, echo.WrapHandler(programs))
	for _, path := range signin.Prefixes() {
		if strings.HasSuffix(path, "/") {
			path += "*"
		}
		e.Any(path, echo.WrapHandler(pages))
	}
	e.GET("/healthz", echo.WrapHandler(p.Health.Handler(false)))
	return e
}

// onlyFromProxy serves what a reverse proxy on this machine passes on from TLS,
// and what this machine itself asks; everybody else is sent to HTTPS, so that
// no password crosses a network in clear.
func onlyFromProxy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto := r.Header.Get("X-Forwarded-Proto")
		if httpdoor.Peer(r).IsLoopback() && (proto == "" || proto == "https") {
			h.ServeHTTP(w, r)
			return
		}
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		w.Header().Set("Location", "https://"+host+r.URL.RequestURI())
		w.WriteHeader(http.StatusPermanentRedirect)
	})
}

// clientAddr is the peer's address, or what a proxy on this machine says it is:
// the last address of X-Forwarded-For, which the proxy itself wrote.
func clientAddr(r *http.Request) netip.Addr {
	from := httpdoor.Peer(r)
	if !from.IsLoopback() {
		return from
	}
	list := r.Header.Values("X-Forwarded-For")
	if len(list) == 0 {
		return from
	}
	last := list[len(list)-1]
	if i := strings.LastIndexByte(last, ','); i >= 0 {
		last = last[i+1:]
	}
	if a, err := netip.ParseAddr(strings.TrimSpace(last)); err == nil {
		return a.Unmap()
	}
	return from
}

// secure tells whether a request came by HTTPS, perhaps to a proxy on this machine.
func secure(r *http.Request) bool {
	return r.TLS != nil || (httpdoor.Peer(r).IsLoopback() && r.Header.Get("X-Forwarded-Proto") == "https")
}

// site is the base URL that Autodiscover gives out. While the HTTPS door is on
// another port than the usual one, as in the demonstration, the name that the
// client used is the only one that surely works.
func (p *Program) site() string {
	if _, port, err := net.SplitHostPort(string(p.Config.Listen.HTTPS)); err == nil && port != "443" && loopback(string(p.Config.Listen.HTTPS)) {
		return ""
	}
	return "https://" + p.Config.Hostname
}

// announced are the doors for mail programs that Autodiscover tells of.
func (p *Program) announced() (list []autodiscover.Protocol) {
	for _, d := range []struct {
		kind string
		addr config.Address
	}{{"IMAP", p.Config.Listen.IMAPS}, {"SMTP", p.Config.Listen.Submissions}} {
		if port := portOf(string(d.addr)); port != 0 {
			list = append(list, autodiscover.Protocol{Type: d.kind, Server: p.Config.Hostname, Port: port, TLS: true})
		}
	}
	return list
}

// policy is the organisation's policy for phones; nil when none is asked for.
func policy(c config.EAS) *eas.Policy {
	if !c.PINRequired && !c.Encryption {
		return nil
	}
	return &eas.Policy{
		Password: c.PINRequired, Alphanumeric: c.PINAlphanumeric, MinLength: c.PINMinLength, MaxAttempts: c.PINMaxFailed,
		LockAfter: c.LockAfter.D(), ExpireAfterDays: int(c.PINExpires.D() / (24 * time.Hour)), History: c.PINHistory,
		ForbidSimple: !c.PINSimpleAllowed, EncryptDevice: c.Encryption,
		AllowLegacy: c.AllowNonProvisioning, AllowPartial: c.AllowNonProvisioning,
	}
}
