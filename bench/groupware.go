package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Radicale has no start script: it is a program and a few lines of settings.
const radicaleAddr = "127.0.0.1:15232"

// davers is how many people's calendars are written at a time.
const davers = 4

// groupwareComparisons are those of calendars and address books.
func (b *bench) groupwareComparisons() []comparison {
	dav := func(name, peer string, rounds, count, people int, figures []figure, args ...string) comparison {
		return comparison{
			name: name, peer: peer, rounds: rounds, figures: figures,
			before: func(s side) error {
				if s.peer && peer == "radicale" {
					return makeCalendars(people)
				}
				return nil
			},
			args: func(s side, _ int) []string {
				to := append([]string{
					"dav", "-users", fmt.Sprintf("1-%d", people), "-conns", fmt.Sprint(people),
					"-count", fmt.Sprint(count),
				}, args...)
				switch {
				case !s.peer: // its tokens are numbers of changes, so nothing has to pass
					return append(to, "-addr", s.http, "-path", b.calendar, "-sync-wait", "10ms")
				case peer == "radicale": // it answers with more items than were asked for
					return append(to, "-addr", radicaleAddr, "-path", "/{user}/calendar/", "-strict=false")
				}
				// It may name more items than were asked for; ours may not.
				return append(to, "-strict=false", "-addr", strings.TrimPrefix(strings.TrimSuffix(s.eas, "/Microsoft-Server-ActiveSync"), "http://"))
			},
		}
	}
	figures := func(what string, all bool) []figure {
		list := []figure{
			{name: "CalDAV: PUT of new events, " + what, unit: "/s", pick: at("extra", "put_per_s")},
			{name: "CalDAV: a week's query, " + what, unit: "ms", lower: true, pick: at("by_op", "query", "p50_ms")},
			{name: "CalDAV: sync-collection after three changes, " + what, unit: "ms", lower: true, pick: at("by_op", "sync-changes", "p50_ms")},
		}
		if all {
			list = append(list,
				figure{name: "CalDAV: multiget of 50, " + what, unit: "ms", lower: true, pick: at("by_op", "multiget50", "p50_ms")},
				figure{name: "CalDAV: GET, " + what, unit: "ms", lower: true, pick: at("by_op", "get", "p50_ms")},
				figure{name: "CalDAV: DELETE, " + what, unit: "/s", pick: at("extra", "delete_per_s")})
		}
		return list
	}
	return []comparison{
		dav("dav", "sogo", 3, 2000, davers, figures("4 calendars of 500", true), "-reads", "20"),
		dav("dav-16", "sogo", 3, 4000, 16, figures("16 calendars of 250", false)[:1], "-reads", "1"),
		dav("dav-radicale", "radicale", 3, 400, davers, figures("4 calendars of 100 (peer: Radicale)", false), "-reads", "10"),
		dav("dav-1000", "", 3, 1000, 1, figures("1 connection, calendar of 1,000", false), "-reads", "20"),
		dav("dav-20000", "", 1, 20000, 1, figures("1 connection, calendar of 20,000", false), "-reads", "20"),
	}
}

// makeGroupware makes people, and finds what their calendars are called: the
// same for all, for new mailboxes are alike.
func (b *bench) makeGroupware(ctx context.Context) error {
	if err := b.addUsers(ctx); err != nil {
		return err
	}
	user := "u0001@example.test"
	body, err := davDo(ctx, "PROPFIND", "https://"+b.addr["https"]+"/dav/calendars/"+user+"/", user)
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`<D:href>/dav/calendars/[^/<]+/([^/<]+)/</D:href>`).FindStringSubmatch(body)
	if m == nil {
		return fmt.Errorf("no calendar in %.300s", body)
	}
	b.calendar = "/dav/calendars/{user}/" + m[1] + "/"
	return nil
}

func davDo(ctx context.Context, method, url, user string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	req.Header.Set("Depth", "1")
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // the certificate that it made for itself
	defer c.CloseIdleConnections()
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return "", err
	case res.StatusCode >= 300 && res.StatusCode != http.StatusConflict && res.StatusCode != http.StatusMethodNotAllowed:
		return "", fmt.Errorf("%s %s: %s", method, url, res.Status)
	}
	return string(body), nil
}

func makeCalendars(people int) error {
	for i := 1; i <= people; i++ {
		user := fmt.Sprintf("u%04d@example.test", i)
		if _, err := davDo(context.Background(), "MKCALENDAR", "http://"+radicaleAddr+"/"+user+"/calendar/", user); err != nil {
			return err
		}
	}
	return nil
}

// radicaleUp starts Radicale with its files in the temporary folder; it ends
// with the comparisons.
func (b *bench) radicaleUp(ctx context.Context) error {
	if b.radicale != nil {
		return nil
	}
	path, err := exec.LookPath("radicale")
	if err != nil {
		return errors.New("radicale is not installed (apt-get install radicale)")
	}
	var users strings.Builder
	for i := 1; i <= davers; i++ {
		fmt.Fprintf(&users, "u%04d@example.test:%s\n", i, password)
	}
	known := filepath.Join(b.dir, "radicale.users")
	if err := os.WriteFile(known, []byte(users.String()), 0o600); err != nil {
		return err
	}
	settings := filepath.Join(b.dir, "radicale.conf")
	text := fmt.Sprintf("[server]\nhosts = %s\n[auth]\ntype = htpasswd\nhtpasswd_filename = %s\nhtpasswd_encryption = plain\ndelay = 0\n[storage]\nfilesystem_folder = %s\n[logging]\nlevel = warning\n",
		radicaleAddr, known, filepath.Join(b.dir, "radicale"))
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		return err
	}
	b.radicale = exec.CommandContext(ctx, path, "--config", settings)
	if err := b.radicale.Start(); err != nil {
		return err
	}
	for range 100 {
		if _, err = davDo(ctx, "PROPFIND", "http://"+radicaleAddr+"/u0001@example.test/", "u0001@example.test"); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("starting radicale: %w", err)
}
