// Package browsertest drives a real Chromium for tests, by the DevTools protocol.
//
// Its law: a test waits for what a page shows, never for a time to pass by. A page
// has a browser profile of its own. Without Chromium a test is skipped, except
// where CI demands it.
package browsertest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

const (
	startIn = 60 * time.Second
	callIn  = 30 * time.Second
	// WaitFor is how long Until waits: test machines are busy.
	WaitFor = 30 * time.Second
)

// Browser is one Chromium.
type Browser struct {
	ws *websocket.Conn

	mu    sync.Mutex
	next  int
	calls map[int]chan reply
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Open starts a Chromium that ends with the test.
func Open(t testing.TB) *Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("WAYPOST_REQUIRE_CHROMIUM") != "" {
			t.Fatal("no chromium: apt-get install chromium")
		}
		t.Skip("no chromium")
	}
	profile, err := os.MkdirTemp("", "waypost-browser-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors", "--hide-scrollbars",
		"--host-resolver-rules=MAP *.example.test 127.0.0.1", "--remote-debugging-port=0", "--remote-allow-origins=*", "--user-data-dir="+profile, "about:blank")
	c.WaitDelay = 5 * time.Second
	// Its helpers write into the profile as long as they live: all end together.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = c.Wait()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if err := os.RemoveAll(profile); err == nil {
				return
			} else if time.Now().After(end) {
				t.Errorf("the browser's profile stays: %v", err)
				return
			}
		}
	})
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "DevTools listening on "); ok {
				found <- at
			}
		}
	}()
	var at string
	select {
	case at = <-found:
	case <-time.After(startIn):
		t.Fatal("chromium does not start")
	}
	ws, err := websocket.Dial(at, "", "http://127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	ws.MaxPayloadBytes = 64 << 20
	b := &Browser{ws: ws, calls: map[int]chan reply{}}
	t.Cleanup(func() { _ = ws.Close() })
	go b.read()
	return b
}

func (b *Browser) read() {
	for {
		var r reply
		if err := websocket.JSON.Receive(b.ws, &r); err != nil {
			return
		}
		b.mu.Lock()
		if c := b.calls[r.ID]; c != nil && r.ID != 0 {
			delete(b.calls, r.ID)
			c <- r
		}
		b.mu.Unlock()
	}
}

func (b *Browser) call(session, method string, params, into any) error {
	b.mu.Lock()
	b.next++
	id, c := b.next, make(chan reply, 1)
	b.calls[id] = c
	m := map[string]any{"id": id, "method": method, "params": params}
	if session != "" {
		m["sessionId"] = session
	}
	err := websocket.JSON.Send(b.ws, m)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case r := <-c:
		if r.Error != nil {
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		if into == nil {
			return nil
		}
		return json.Unmarshal(r.Result, into)
	case <-time.After(callIn):
		return fmt.Errorf("%s: no answer", method)
	}
}

// Page is a tab with a profile of its own.
type Page struct {
	t       testing.TB
	b       *Browser
	session string
}

type none struct{}

// Page opens one.
func (b *Browser) Page(t testing.TB) *Page {
	t.Helper()
	var profile struct{ BrowserContextID string }
	var target struct{ TargetID string }
	var at struct{ SessionID string }
	for _, step := range []func() error{
		func() error { return b.call("", "Target.createBrowserContext", none{}, &profile) },
		func() error {
			return b.call("", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": profile.BrowserContextID}, &target)
		},
		func() error {
			return b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &at)
		},
		func() error { return b.call(at.SessionID, "Page.enable", none{}, nil) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return &Page{t, b, at.SessionID}
}

// Do gives one command of the DevTools protocol.
func (p *Page) Do(method string, params, into any) {
	p.t.Helper()
	if err := p.b.call(p.session, method, params, into); err != nil {
		p.t.Fatal(err)
	}
}

// Go opens an address and waits until it is there.
func (p *Page) Go(url string) {
	p.t.Helper()
	var r struct{ ErrorText string }
	p.Do("Page.navigate", map[string]any{"url": url}, &r)
	if r.ErrorText != "" {
		p.t.Fatalf("%s: %s", url, r.ErrorText)
	}
	p.Until(`document.readyState === "complete" && location.href !== "about:blank"`)
}

func (p *Page) eval(js string) (value json.RawMessage, err error) {
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err = p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &r)
	if err == nil && r.ExceptionDetails != nil {
		err = fmt.Errorf("%s: %s %s", js, r.ExceptionDetails.Text, r.ExceptionDetails.Exception.Description)
	}
	return r.Result.Value, err
}

// Eval runs a script and gives its value as text.
func (p *Page) Eval(js string) string {
	p.t.Helper()
	v, err := p.eval(js)
	if err != nil {
		p.t.Fatal(err)
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

// Until waits until a script answers true.
func (p *Page) Until(js string) {
	p.t.Helper()
	end := time.Now().Add(WaitFor)
	for {
		v, err := p.eval(js) // a page that goes away meanwhile is asked again
		if err == nil && string(v) == "true" {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("never: %s (%v); the page at %s shows:\n%s", js, err, p.Eval("location.href"), p.Text())
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// Text is what the page shows.
func (p *Page) Text() string { p.t.Helper(); return p.Eval("document.body.innerText") }

// At waits until the page is at a path.
func (p *Page) At(path string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`location.pathname === %q && document.readyState === "complete"`, path))
}

// Shows waits until the page shows a text.
func (p *Page) Shows(text string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`document.readyState === "complete" && document.body.innerText.includes(%q)`, text))
}

// Fill types into a field.
func (p *Page) Fill(selector, text string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.focus(); e.value = ""; })()`, selector))
	p.Do("Input.insertText", map[string]any{"text": text}, nil)
}

// Click presses what a selector finds.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf(`document.querySelector(%q).click()`, selector))
}

// Look sets the width of the window and the theme.
func (p *Page) Look(width, height int, dark bool) {
	p.t.Helper()
	theme := "light"
	if dark {
		theme = "dark"
	}
	p.Do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.Do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
}

// Shot writes a picture of the whole page, as PNG.
func (p *Page) Shot(path string) {
	p.t.Helper()
	var r struct{ Data string }
	p.Do("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": false}, &r)
	raw, err := base64.StdEncoding.DecodeString(r.Data)
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Passkeys gives the page an authenticator that holds passkeys and says yes.
func (p *Page) Passkeys() (authenticator string) {
	p.t.Helper()
	var r struct{ AuthenticatorID string }
	p.Do("WebAuthn.enable", none{}, nil)
	p.Do("WebAuthn.addVirtualAuthenticator", map[string]any{"options": map[string]any{
		"protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
		"isUserVerified": true, "automaticPresenceSimulation": true,
	}}, &r)
	return r.AuthenticatorID
}
