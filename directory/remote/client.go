package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// Options of a Client.
type Options struct {
	// URLs of directory servers, e.g. https://dc1.example.test:8443. One is
	// used until it is lost, then the next.
	URLs []string
	// Socket is the path of a Unix socket that a directory server on this
	// machine listens on, instead of URLs.
	Socket string
	// TLS has the client's certificate and the roots to check the server with;
	// nil for http:// on loopback.
	TLS *tls.Config
	// Log is slog.Default when nil.
	Log *slog.Logger
	// Resolved is how many answers of Resolve are kept; 100,000 when 0.
	Resolved int
}

const (
	// attempt bounds one call at one server.
	attempt = 10 * time.Second
	// silence is how long the feed may say nothing; the server beats every five
	// seconds.
	silence = 15 * time.Second
	// rounds is how often each server is tried for a read.
	rounds = 2
)

// Client is a directory.Directory that asks another process. Its methods are
// safe for concurrent use. Run makes Resolve fast.
type Client struct {
	urls  []*url.URL
	http  *http.Client
	log   *slog.Logger
	use   atomic.Int64 // index of the server in use
	cache cache
}

var _ directory.Directory = (*Client)(nil)

// New makes a client; it connects when it is first asked.
func New(o Options) (*Client, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Resolved == 0 {
		o.Resolved = 100000
	}
	c := &Client{log: o.Log}
	c.cache.init(o.Resolved)
	var protocols http.Protocols
	dial := (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	if o.Socket != "" {
		o.URLs = []string{"http://localhost"}
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", o.Socket)
		}
	}
	for _, raw := range o.URLs {
		u, err := url.Parse(raw)
		switch {
		case err != nil || u.Host == "" || u.User != nil:
			return nil, fault.New(fault.Invalid, "%q is not a directory server's URL", raw)
		case u.Scheme == "https" && o.TLS != nil:
			protocols.SetHTTP2(true)
		case u.Scheme == "http" && localHost(u.Hostname()):
			protocols.SetUnencryptedHTTP2(true)
		default:
			return nil, fault.New(fault.Invalid, "%q: a directory that is not on loopback needs https and certificates", raw)
		}
		c.urls = append(c.urls, u)
	}
	if len(c.urls) == 0 {
		return nil, fault.New(fault.Invalid, "no directory server is named")
	}
	c.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig:        o.TLS,
		Protocols:              &protocols,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		DialContext:            dial,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
	}}
	return c, nil
}

func localHost(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// Close gives up the connections; a call after it connects again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Run follows the feed until ctx ends, so that answers of Resolve can be kept.
func (c *Client) Run(ctx context.Context) error {
	defer c.cache.lost()
	since := directory.USN(-1)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := c.Follow(ctx, since, func(changes []directory.Change) error {
			pause = 50 * time.Millisecond
			since = changes[len(changes)-1].USN
			c.cache.hear(changes)
			return nil
		})
		c.cache.lost()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fault.Of(err) == fault.Resync {
			since = -1
		}
		c.log.WarnContext(ctx, "the directory's feed is lost", slog.Any("fault", err))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// repeat says when a call may be made a second time.
type repeat int

const (
	// never again once the request may have arrived.
	never repeat = iota
	// always: it changes nothing.
	always
)

// call asks method with in and decodes the result into out.
func (c *Client) call(ctx context.Context, method string, may repeat, in, out any) (usn directory.USN, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, err
	}
	for try := 1; ; try++ {
		at := c.use.Load()
		var arrived bool
		usn, arrived, err = c.once(ctx, c.urls[int(at)%len(c.urls)], method, body, out)
		if err == nil || ctx.Err() != nil || fault.Of(err) != fault.Unavailable {
			return usn, err
		}
		if arrived && may == never || try >= rounds*len(c.urls) {
			return usn, err
		}
		c.use.CompareAndSwap(at, at+1)
		select {
		case <-ctx.Done():
			return usn, err
		case <-time.After(time.Duration(20+rand.IntN(80)) * time.Millisecond):
		}
	}
}

// once asks one server. arrived tells that the request may have been carried out.
func (c *Client) once(ctx context.Context, server *url.URL, method string, body []byte, out any) (usn directory.USN, arrived bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	resp, arrived, err := c.send(ctx, server, method, body)
	if err != nil {
		return 0, arrived, err
	}
	defer resp.Body.Close()
	usn, _ = parseUSN(resp.Header.Get(usnHeader))
	var r reply
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&r); err != nil {
		return 0, true, fault.From(fault.Unavailable, err, "the directory cannot be reached")
	}
	if r.Fault != nil {
		return usn, true, r.Fault.error()
	}
	if err := json.Unmarshal(r.Result, out); err != nil {
		return 0, true, err
	}
	return usn, true, nil
}

func (c *Client) send(ctx context.Context, server *url.URL, method string, body []byte) (resp *http.Response, arrived bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.JoinPath(prefix+method).String(), bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	// The transport repeats by itself what never reached a server; whether to
	// repeat more is decided in call.
	req.Header.Set("Content-Type", "application/json")
	if from := directory.ClientOf(ctx); from != "" && len(from) <= maxClient {
		req.Header.Set(clientHeader, from)
	}
	resp, err = c.http.Do(req)
	if err != nil {
		var op *net.OpError
		dial := errors.As(err, &op) && op.Op == "dial"
		return nil, !dial, fault.From(fault.Unavailable, err, "the directory cannot be reached")
	}
	return resp, true, nil
}

func parseUSN(s string) (directory.USN, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return directory.USN(n), err == nil && n > 0
}

// Follow implements directory.Directory; losing the server is Unavailable.
func (c *Client) Follow(ctx context.Context, since directory.USN, fn func([]directory.Change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := json.Marshal(followArgs{since})
	if err != nil {
		return err
	}
	// Silence is as good as a lost connection.
	lost := time.AfterFunc(silence, cancel)
	defer lost.Stop()
	at := c.use.Load()
	resp, _, err := c.send(ctx, c.urls[int(at)%len(c.urls)], "Follow", body)
	if err != nil {
		c.use.CompareAndSwap(at, at+1)
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var r reply
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxLine)).Decode(&r); err != nil || r.Fault == nil {
			return fault.From(fault.Unavailable, errors.Join(err, errors.New(resp.Status)), "the directory cannot be reached")
		}
		return r.Fault.error()
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for lines.Scan() {
		lost.Reset(silence)
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fault.From(fault.Unavailable, err, "the directory's feed makes no sense")
		}
		if l.Fault != nil {
			return l.Fault.error()
		}
		if len(l.Changes) > 0 {
			if err := fn(l.Changes); err != nil {
				return err
			}
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fault.From(fault.Unavailable, err, "the directory cannot be reached")
}
