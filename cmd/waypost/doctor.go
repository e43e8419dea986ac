package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sort"
	"strings"
	"time"

	"waypost/cmd/internal/roles"
	"waypost/internal/serve"
)

type doctorCmd struct {
	Local bool `help:"Look only at this machine: no DNS."`
}

// finding is one thing that doctor looked at.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // "ok", "warning", "fault"
	Found  string `json:"found"`
	Mend   string `json:"mend,omitempty"`
}

type examination struct {
	Database map[string]string `json:"database"`
	Findings []finding         `json:"findings"`
}

func (e *examination) add(check, result, found, mend string) {
	e.Findings = append(e.Findings, finding{check, result, oneLine(found), mend})
}

// doctor looks for what is wrong and says how to mend it. It exits 1 when there
// is a fault; warnings are for the operator to weigh.
func (a *app) doctor(ctx context.Context, c *cli) error {
	e := &examination{Database: map[string]string{}}
	doors := a.examineDoors(ctx, e)
	if err := a.examineDatabase(ctx, e); err != nil {
		e.add("database", "fault", err.Error(), "start it, or correct database.*_url")
	}
	defer a.more.close()
	a.examineCertificate(ctx, e, doors)
	if !c.Doctor.Local && a.dir != nil {
		a.examineDNS(ctx, e)
	}
	err := a.out.show(e, func(w io.Writer) {
		for _, f := range e.Findings {
			mark := map[string]string{"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}[f.Result]
			fmt.Fprintf(w, "%s  %-24s %s\n", mark, f.Check, f.Found)
			if f.Mend != "" {
				fmt.Fprintf(w, "         %-24s to mend: %s\n", "", f.Mend)
			}
		}
	})
	if err != nil {
		return err
	}
	faults := 0
	for _, f := range e.Findings {
		if f.Result == "fault" {
			faults++
		}
	}
	if faults > 0 {
		return fmt.Errorf("%s found", count(faults, "fault"))
	}
	return nil
}

func (a *app) examineDoors(ctx context.Context, e *examination) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !strings.Contains(a.cfg.Hostname, ".") {
		e.add("hostname", "warning", a.cfg.Hostname+" is no name that the world finds", "set hostname to a name like mail.example.org")
	}
	if _, err := serve.Published(a.cfg.Data); err != nil && !a.cfg.Database.Private() {
		a.examineLinks(ctx, e)
		return nil
	}
	doors, err := serve.AwaitReady(ctx, a.cfg.Data)
	if err != nil {
		e.add("doors", "warning", err.Error(), "start it: waypost serve --data "+a.cfg.Data)
		return nil
	}
	var names []string
	for n := range doors {
		names = append(names, n)
	}
	sort.Strings(names)
	e.add("doors", "ok", fmt.Sprintf("%d answer: %s", len(doors), strings.Join(names, " ")), "")
	return doors
}

// examineLinks asks the doors by which the separate programs reach each other:
// where each of them runs is known to the configuration only.
func (a *app) examineLinks(ctx context.Context, e *examination) {
	look := func(key, addr, program string) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			e.add(key, "fault", err.Error(), "start "+program+", or correct "+key)
			return
		}
		_ = conn.Close()
		e.add(key, "ok", addr+" answers", "")
	}
	for _, u := range strings.Fields(a.cfg.Links.Directory) {
		_, host, _ := strings.Cut(u, "://")
		look("links.directory", strings.TrimSuffix(host, "/"), "waypost-directory")
	}
	for _, addr := range a.cfg.Links.LMTP {
		look("links.lmtp", addr, "waypost-store")
	}
	for _, addr := range strings.Fields(a.cfg.Links.Relay) {
		look("links.relay", addr, "waypost-smtp")
	}
}

func (a *app) examineDatabase(ctx context.Context, e *examination) error {
	quiet := quietLog()
	slog.SetDefault(quiet)
	if err := a.join(ctx, quiet); err != nil {
		return err
	}
	settings, err := roles.DatabaseSettings(ctx, a.cfg)
	if err != nil {
		return err
	}
	e.Database = settings
	for _, k := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if v := settings[k]; v != "on" {
			e.add("database "+k, "fault", k+" is "+v, "set "+k+" = on: without it a power failure loses mail that was acknowledged")
		}
	}
	if settings["data_checksums"] != "on" {
		e.add("database checksums", "warning", "data checksums are off", "pg_checksums --enable, with the server stopped")
	}
	e.add("database", "ok", "PostgreSQL "+settings["server_version"], "")
	tool, err := roles.OpenTool(ctx, a.cfg, quiet, roles.Need{Directory: a.cfg.Database.DirectoryURL != ""})
	if err != nil {
		return err
	}
	a.more.closers = append(a.more.closers, tool.Close)
	a.dir = tool.Directory
	return nil
}

func (a *app) examineCertificate(ctx context.Context, e *examination, doors map[string]string) {
	addr := doors["https"]
	if addr == "" {
		return
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // what it shows is judged below
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		e.add("certificate", "fault", err.Error(), "")
		return
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	left := time.Until(leaf.NotAfter)
	switch {
	case left < 0:
		e.add("certificate", "fault", "expired "+leaf.NotAfter.Format(time.DateOnly), "renew it; it is read again by itself")
	case leaf.Issuer.String() == leaf.Subject.String():
		e.add("certificate", "warning", "self-signed, good until "+leaf.NotAfter.Format(time.DateOnly), "set tls.cert and tls.key to one that phones trust")
	case left < 14*24*time.Hour:
		e.add("certificate", "warning", fmt.Sprintf("expires in %d days", int(left.Hours()/24)), "renew it; it is read again by itself")
	default:
		e.add("certificate", "ok", "good until "+leaf.NotAfter.Format(time.DateOnly), "")
	}
	if err := leaf.VerifyHostname(a.cfg.Hostname); err != nil {
		e.add("certificate name", "warning", err.Error(), "get a certificate for "+a.cfg.Hostname+", or set hostname")
	}
}

// examineDNS looks for what the world needs to find and trust the server.
func (a *app) examineDNS(ctx context.Context, e *examination) {
	domains, err := a.dir.Domains(ctx, operator())
	if err != nil {
		e.add("domains", "fault", err.Error(), "")
		return
	}
	if len(domains) == 0 {
		e.add("domains", "warning", "there is none", "waypost domain add example.org")
	}
	for _, d := range domains {
		if strings.HasSuffix(d.Name, ".test") {
			continue // never in the world's DNS (RFC 6761)
		}
		a.examineDomain(ctx, e, d.Name)
	}
}

func (a *app) examineDomain(ctx context.Context, e *examination, domain string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var r net.Resolver
	host := a.cfg.SMTP.Hostname
	if mx, err := r.LookupMX(ctx, domain); err != nil || len(mx) == 0 {
		e.add("MX of "+domain, "fault", "no MX record", fmt.Sprintf("%s. IN MX 10 %s.", domain, host))
	} else {
		names := make([]string, len(mx))
		ours := false
		for i, m := range mx {
			names[i] = strings.TrimSuffix(m.Host, ".")
			ours = ours || strings.EqualFold(names[i], host)
		}
		if ours {
			e.add("MX of "+domain, "ok", strings.Join(names, ", "), "")
		} else {
			e.add("MX of "+domain, "warning", strings.Join(names, ", ")+": none of them is "+host, "add this server, or set smtp.hostname")
		}
	}
	spf := ""
	if txt, err := r.LookupTXT(ctx, domain); err == nil {
		for _, t := range txt {
			if strings.HasPrefix(strings.ToLower(t), "v=spf1") {
				spf = t
			}
		}
	}
	if spf == "" {
		e.add("SPF of "+domain, "warning", "no SPF record", fmt.Sprintf("%s. IN TXT %q", domain, "v=spf1 mx -all"))
	} else {
		e.add("SPF of "+domain, "ok", spf, "")
	}
	if _, err := r.LookupHost(ctx, "autodiscover."+domain); err != nil {
		e.add("Autodiscover of "+domain, "warning", "autodiscover."+domain+" does not resolve", fmt.Sprintf("autodiscover.%s. IN CNAME %s.", domain, a.cfg.Hostname))
	} else {
		e.add("Autodiscover of "+domain, "ok", "resolves", "")
	}
}
