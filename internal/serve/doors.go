package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"waypost/internal/fault"
)

// Doors are the listeners of a program and where they really listen.
type Doors struct {
	mu   sync.Mutex
	open map[string]net.Listener
}

// Listen opens the door of that name. It gives nil without an error when addr
// is empty: the door is closed by configuration.
func (d *Doors) Listen(ctx context.Context, name, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.From(fault.Unavailable, err, "door %s (listen.%s) cannot be opened", name, name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = map[string]net.Listener{}
	}
	if _, twice := d.open[name]; twice {
		l.Close()
		return nil, fmt.Errorf("door %s is opened twice", name)
	}
	d.open[name] = l
	return l, nil
}

// Addresses gives the address of every open door.
func (d *Doors) Addresses() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]string, len(d.open))
	for name, l := range d.open {
		all[name] = l.Addr().String()
	}
	return all
}

// Close closes every door; those who listen there have usually done so.
func (d *Doors) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.open {
		_ = l.Close()
	}
}

// BeyondLoopback names the doors that other machines can reach.
func (d *Doors) BeyondLoopback() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, l := range d.open {
		if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func addressFile(data string) string { return filepath.Join(data, "run", "addresses.json") }

// Publish writes run/addresses.json below the data folder, as a whole. Call it
// when every door is open.
func (d *Doors) Publish(data string) error {
	text, err := json.MarshalIndent(d.Addresses(), "", "  ")
	if err != nil {
		return err
	}
	path := addressFile(data)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Several programs on one data folder would be a mistake, but not one that
	// may leave half a file.
	tmp, err := os.CreateTemp(filepath.Dir(path), "addresses-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// Withdraw removes run/addresses.json: at the start, what a killed process
// left, and at the end.
func Withdraw(data string) error {
	err := os.Remove(addressFile(data))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Published reads run/addresses.json; NotFound when nothing runs there.
func Published(data string) (map[string]string, error) {
	f, err := os.Open(addressFile(data))
	if err != nil {
		return nil, fault.From(fault.NotFound, err, "nothing runs on the data folder %s", data)
	}
	defer f.Close()
	var all map[string]string
	if err := json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(&all); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return all, nil
}

// AwaitReady waits until the program on the data folder has published its
// doors, each of them accepts a connection, and /readyz agrees. The error of
// ctx's end says what was missing.
func AwaitReady(ctx context.Context, data string) (map[string]string, error) {
	for {
		doors, err := Published(data)
		if err == nil {
			err = answer(ctx, doors)
		}
		if err == nil {
			return doors, nil
		}
		select {
		case <-ctx.Done():
			return nil, fault.From(fault.Unavailable, err, "not ready")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func answer(ctx context.Context, doors map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(doors)) {
		var dialer net.Dialer
		c, err := dialer.DialContext(ctx, "tcp", doors[name])
		if err != nil {
			return fmt.Errorf("door %s does not answer: %w", name, err)
		}
		_ = c.Close()
	}
	addr, ok := doors["metrics"]
	if !ok {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("/readyz: %s", text)
	}
	return err
}
