package serve

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	checkTimeout = 3 * time.Second
	// checkLife is how long answers are reused: whoever asks often does not
	// turn questions into load.
	checkLife = time.Second
)

// Health answers whether the program is alive (/healthz), whether it can do
// its work (/readyz) and how much it does (/metrics).
type Health struct {
	// Registry collects the program's figures.
	Registry *prometheus.Registry

	open   atomic.Bool
	mu     sync.Mutex
	checks []check
	last   report
	at     time.Time
}

type check struct {
	name string
	ask  func(context.Context) error
}

type report struct {
	Ready  bool              `json:"ready"`
	Checks map[string]result `json:"checks"`
}

type result struct {
	OK    bool    `json:"ok"`
	Error string  `json:"error,omitempty"`
	Dur   float64 `json:"dur_ms"`
}

// NewHealth makes a Health; with runtime it has figures of Go and the process too.
func NewHealth(runtime bool) *Health {
	h := &Health{Registry: prometheus.NewRegistry()}
	if runtime {
		h.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return h
}

// Check adds a readiness check. ask must heed its context.
func (h *Health) Check(name string, ask func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name, ask})
}

// Open says that the doors are open, or that the end has begun: without it
// /readyz answers 503 whatever the checks say.
func (h *Health) Open(yes bool) { h.open.Store(yes) }

// Ready runs every check; nil when the program can do its work.
func (h *Health) Ready(ctx context.Context) error {
	r := h.report(ctx)
	var errs []error
	for name, c := range r.Checks {
		if !c.OK {
			errs = append(errs, errors.New(name+": "+c.Error))
		}
	}
	return errors.Join(errs...)
}

func (h *Health) report(ctx context.Context) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.at) < checkLife && len(h.last.Checks) == len(h.checks)+1 {
		if h.last.Checks["doors"].OK == h.open.Load() {
			return h.last
		}
	}
	r := report{Ready: true, Checks: map[string]result{"doors": {OK: h.open.Load()}}}
	if !h.open.Load() {
		r.Checks["doors"] = result{Error: "not open"}
	}
	// A caller who goes away must not leave his impatience in the answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	results := make([]result, len(h.checks))
	var wg sync.WaitGroup
	for i, c := range h.checks {
		wg.Go(func() {
			began := time.Now()
			err := c.ask(ctx)
			results[i] = result{OK: err == nil, Dur: float64(time.Since(began).Microseconds()) / 1000}
			if err != nil {
				results[i].Error = redact(err.Error())
			}
		})
	}
	wg.Wait()
	for i, c := range h.checks {
		r.Checks[c.name] = results[i]
	}
	for _, c := range r.Checks {
		r.Ready = r.Ready && c.OK
	}
	h.last, h.at = r, time.Now()
	return r
}

// Handler serves /healthz, /readyz, /metrics and, with profile, /debug/pprof/.
func (h *Health) Handler(profile bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		rep := h.report(r.Context())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !rep.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(rep)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 8, Timeout: 10 * time.Second}))
	if profile {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// HTTP serves h on l until ctx ends, then lets requests under way finish.
func HTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), Grace/2)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	<-ended // http.ErrServerClosed
	return nil
}
