package webcal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waypost/internal/fault"
)

// Limits of one reading.
const (
	maxBody      = 20 << 20 // bytes, when unpacked
	maxHead      = 64 << 10 // bytes of headers
	maxRedirects = 5
	fetchTime    = time.Minute
)

// fetcher reads calendars from the network.
type fetcher struct {
	client *http.Client
	within time.Duration
	body   int64
}

func newFetcher(n Network) *fetcher {
	transport := &http.Transport{
		Proxy:       nil, // the environment's would be the way around
		DialContext: n.dialer(), TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		MaxResponseHeaderBytes: maxHead, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}
	return &fetcher{within: fetchTime, body: maxBody, client: &http.Client{Transport: transport, CheckRedirect: follow}}
}

// follow decides about a redirect. Where it leads to is decided by the dialer.
func follow(to *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case len(via) > maxRedirects:
		return fault.New(fault.Invalid, "the address leads on to others too often")
	case to.URL.Scheme != "https" && to.URL.Scheme != "http":
		return errForbidden()
	case to.URL.Scheme == "http" && last.URL.Scheme == "https":
		return fault.New(fault.Invalid, "the address leads from https to http")
	}
	to.URL.User = nil // credentials are for where the owner said
	to.Header.Del("Referer")
	return nil
}

// Address reads what somebody gives as a calendar's address, and gives the
// addresses to try in turn: webcal: says nothing of encryption.
func Address(text string) ([]string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, fault.New(fault.Invalid, "a calendar's address is like https://example.org/calendar.ics")
	}
	u.Fragment = ""
	with := func(scheme string) string {
		c := *u
		c.Scheme = scheme
		return c.String()
	}
	switch u.Scheme {
	case "http", "https":
		return []string{u.String()}, nil
	case "webcals":
		return []string{with("https")}, nil
	case "webcal":
		if u.Port() != "" && u.Port() != "443" {
			return []string{with("http")}, nil
		}
		return []string{with("https"), with("http")}, nil
	}
	return nil, fault.New(fault.Invalid, "calendars are fetched by http, https and webcal only")
}

// fetched is what came. A nil body: what there was is still so.
type fetched struct {
	body           []byte
	etag, modified string
}

// fetch reads an address.
func (f *fetcher) fetch(ctx context.Context, address, etag, modified string) (*fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, f.within)
	defer cancel()
	list, err := Address(address)
	if err != nil {
		return nil, err
	}
	for i, a := range list {
		got, err := f.get(ctx, a, etag, modified)
		var none *net.OpError
		if err == nil || i == len(list)-1 || fault.Of(err) != fault.Unavailable || !errors.As(err, &none) || ctx.Err() != nil {
			return got, err
		}
	}
	return nil, errForbidden() // never: the list is not empty
}

func (f *fetcher) get(ctx context.Context, address, etag, modified string) (*fetched, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fault.From(fault.Invalid, err, "not an address")
	}
	req.Header.Set("User-Agent", "Waypost")
	req.Header.Set("Accept", "text/calendar, */*;q=0.1")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	if modified != "" {
		req.Header.Set("If-Modified-Since", modified)
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, failure(err)
	}
	defer res.Body.Close() //nolint:errcheck // read only
	switch {
	case res.StatusCode == http.StatusNotModified && (etag != "" || modified != ""):
		return &fetched{etag: etag, modified: modified}, nil
	case res.StatusCode != http.StatusOK:
		return nil, fault.New(fault.Unavailable, "the server answers %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	}
	if err := calendarType(res.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, f.body+1))
	switch {
	case err != nil:
		return nil, failure(err)
	case int64(len(body)) > f.body:
		return nil, fault.New(fault.TooLarge, "the calendar is larger than %d MiB", f.body>>20)
	case !bytes.Contains(bytes.ToUpper(body[:min(len(body), 1024)]), []byte("BEGIN:VCALENDAR")):
		return nil, fault.New(fault.Invalid, "what is there is no calendar")
	}
	return &fetched{body, header(res, "ETag"), header(res, "Last-Modified")}, nil
}

// header is one that is sent back some day; a long one is left out.
func header(res *http.Response, name string) string {
	if v := res.Header.Get(name); len(v) <= 500 && strings.ToValidUTF8(v, "") == v {
		return v
	}
	return ""
}

// calendarType refuses what says that it is something else, such as the page of a
// sign-in. Many servers do not know the type of a calendar.
func calendarType(value string) error {
	t, _, err := mime.ParseMediaType(value)
	switch {
	case value == "", err != nil:
		return nil
	case strings.Contains(t, "calendar"), t == "text/plain", t == "application/octet-stream", t == "binary/octet-stream", t == "application/ics":
		return nil
	}
	return fault.New(fault.Invalid, "what is there is no calendar but %s", strings.ToValidUTF8(t[:min(len(t), 60)], ""))
}

// failure says why nothing came, without anything of where it was tried.
func failure(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return &fault.Error{Kind: known.Kind, Say: known.Say, Err: err}
	}
	why := "the server cannot be reached"
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		why = "there is no server of that name"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		why = "the server takes too long"
	case strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		why = "the server has no certificate that can be trusted"
	}
	return fault.From(fault.Unavailable, err, "%s", why)
}
