package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// Rights say what a peer may call.
type Rights int

const (
	// Look: Resolve, Expand, MaySendAs, SignIn, Keys, Follow, and User, which a
	// gate needs to know epochs.
	Look Rights = 1 << iota
	// Read: everything that changes nothing.
	Read
	// Change: every method, for a person who has the right.
	Change
	// Own: changes also as the product itself.
	Own
	// All of them.
	All = Look | Read | Change | Own
)

// Roles are the rights of the product's programs by the name in their
// certificate.
func Roles() map[string]Rights {
	return map[string]Rights{
		"waypost-smtp":      Look,
		"waypost-store":     Look | Read,
		"waypost-frontend":  Look | Read | Change,
		"waypost-directory": All,
		"waypost":           All,
	}
}

// ServerOptions of a Server.
type ServerOptions struct {
	// TLS must require and verify client certificates; nil on loopback only.
	TLS *tls.Config
	// Peers are the rights by a name (common name or DNS name) in the peer's
	// certificate; a peer with none of these names may nothing. nil: Roles().
	Peers map[string]Rights
	// Log is slog.Default when nil.
	Log *slog.Logger
}

// Server serves a directory to other processes.
type Server struct {
	dir   directory.Directory
	log   *slog.Logger
	tls   *tls.Config
	peers map[string]Rights
}

// NewServer makes a server for dir.
func NewServer(dir directory.Directory, o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Peers == nil {
		o.Peers = Roles()
	}
	return &Server{dir: dir, log: o.Log, tls: o.TLS, peers: o.Peers}
}

const (
	readHeader = 10 * time.Second
	readBody   = 30 * time.Second
	writeLine  = 10 * time.Second
	connIdle   = 5 * time.Minute
	stopIn     = 5 * time.Second
	streams    = 1000
)

// Serve answers on l until ctx ends and the last request is over. Without TLS
// it refuses a listener that is not on loopback.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	switch {
	case s.tls == nil && !loopback(l.Addr()):
		return fault.New(fault.Invalid, "the directory is served without TLS on loopback only, not on %v", l.Addr())
	case s.tls != nil && s.tls.ClientAuth != tls.RequireAndVerifyClientCert:
		return fault.New(fault.Invalid, "the directory must verify its peers' certificates")
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(s.tls == nil)
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeader,
		IdleTimeout:       connIdle,
		MaxHeaderBytes:    16 << 10,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streams, SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if s.tls != nil {
		h.TLSConfig = s.tls.Clone()
	}
	done := make(chan error, 1)
	go func() {
		if s.tls != nil {
			done <- h.ServeTLS(l, "", "")
		} else {
			done <- h.Serve(l)
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, release := context.WithTimeout(context.WithoutCancel(ctx), stopIn)
	defer release()
	if err := h.Shutdown(stop); err != nil {
		_ = h.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

func loopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// rights are what the peer of r may call.
func (s *Server) rights(r *http.Request) (have Rights, name string) {
	if r.TLS == nil {
		if s.tls != nil {
			return 0, ""
		}
		return All, "loopback"
	}
	if len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
		return 0, ""
	}
	leaf := r.TLS.PeerCertificates[0]
	for _, n := range append([]string{leaf.Subject.CommonName}, leaf.DNSNames...) {
		have |= s.peers[n]
	}
	return have, leaf.Subject.CommonName
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	method, ok := strings.CutPrefix(r.URL.Path, prefix)
	have, peer := s.rights(r)
	var err error
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Internal, "internal error")
			s.log.ErrorContext(r.Context(), "panic", slog.String("proto", "directory"), slog.String("cmd", method), slog.Any("fault", p), slog.String("stack", string(debug.Stack())))
			s.answer(w, nil, err)
		}
		level, result := slog.LevelDebug, "ok"
		if err != nil {
			result = fault.Of(err).String()
			if fault.Of(err) == fault.Internal {
				level = slog.LevelError
			}
		}
		s.log.LogAttrs(r.Context(), level, "request", slog.String("proto", "directory"), slog.String("cmd", method),
			slog.String("peer", peer), slog.Duration("dur", time.Since(begin)), slog.String("result", result), slog.Any("fault", err))
	}()
	m, known := methods[method]
	switch {
	case !ok || !known && method != "Follow":
		err = fault.New(fault.NotFound, "no such method")
	case r.Method != http.MethodPost:
		err = fault.New(fault.Invalid, "POST it")
	case method == "Follow":
		if have&Look == 0 {
			err = errPeer
			break
		}
		err = s.follow(w, r)
		return
	case have&m.needs == 0:
		err = errPeer
	}
	if err != nil {
		s.answer(w, nil, err)
		return
	}
	if err = s.call(w, r, m, have); err != nil {
		s.answer(w, nil, err)
	}
}

var errPeer = fault.New(fault.Denied, "this peer may not ask that")

func (s *Server) call(w http.ResponseWriter, r *http.Request, m method, have Rights) error {
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	// Told before the answer is computed: it is at least as new as this.
	if at, ok := s.dir.(interface{ USN() directory.USN }); ok {
		w.Header().Set(usnHeader, strconv.FormatInt(int64(at.USN()), 10))
	}
	ctx := r.Context()
	if from := r.Header.Get(clientHeader); from != "" && len(from) <= maxClient {
		ctx = directory.WithClient(ctx, from)
	}
	result, err := m.run(ctx, s.dir, body, have)
	if err != nil {
		return err
	}
	s.answer(w, result, nil)
	return nil
}

func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readBody))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fault.New(fault.TooLarge, "a request has at most %d bytes", maxRequest)
	case err != nil:
		return nil, fault.From(fault.Invalid, err, "the request could not be read")
	}
	return body, nil
}

func (s *Server) answer(w http.ResponseWriter, result any, err error) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(readBody))
	w.Header().Set("Content-Type", "application/json")
	var out reply
	if err == nil {
		out.Result, err = json.Marshal(result)
	}
	if err != nil {
		out = reply{Fault: toWire(err)}
		w.WriteHeader(status[fault.Of(err)])
	}
	_ = json.NewEncoder(w).Encode(out) // a peer that went away hears nothing
}

// follow streams the feed. The peer's slowness holds nothing but its own
// stream, and no longer than the write deadline.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) error {
	var in followArgs
	body, err := s.body(w, r)
	if err == nil {
		err = unmarshal(body, &in)
	}
	if err != nil {
		s.answer(w, nil, err)
		return err
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})
	enc := json.NewEncoder(w)
	begun := false
	send := func(l line) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		if err := control.SetWriteDeadline(time.Now().Add(writeLine)); err != nil {
			return err
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
		return control.Flush()
	}
	err = s.dir.Follow(r.Context(), in.Since, func(changes []directory.Change) error {
		for part := range slices.Chunk(changes, perLine) {
			if err := send(line{Changes: part}); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil || r.Context().Err() != nil:
		return nil
	case !begun:
		s.answer(w, nil, err)
	default:
		_ = send(line{Fault: toWire(err)})
	}
	return err
}
