package e2e

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/config"
	"waypost/internal/pgcluster"
	"waypost/internal/tlsconf"
	"waypost/migrations"
)

// root is the project's root, as seen from this package.
const root = "../.."

// service is what the tests need of a service of docker-compose.yml.
type service struct {
	Entrypoint  []string          `json:"entrypoint"`
	Command     []string          `json:"command"`
	Environment map[string]string `json:"environment"`
	Ports       []json.RawMessage `json:"ports"`
	Volumes     []json.RawMessage `json:"volumes"`
	Depends     map[string]struct {
		Condition string `json:"condition"`
	} `json:"depends_on"`
	Healthcheck struct {
		Test []string `json:"test"`
	} `json:"healthcheck"`
}

// compose has docker-compose validate docker-compose.yml and gives the services.
func compose(t *testing.T) map[string]service {
	t.Helper()
	env := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(env, []byte("POSTGRES_PASSWORD=adminword\nDIRECTORY_PASSWORD=dirword\nMAIL_PASSWORD=mailword\nQUEUE_PASSWORD=queueword\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", filepath.Join(root, "docker-compose.yml"), "--env-file", env, "--profile", "admin", "config"}
	// The first, written in Python, speaks YAML only, but brings a library for it.
	line := []string{"bash", "-c", `set -o pipefail; docker-compose "$@" | python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)'`, "-"}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		if exec.Command("docker", "compose", "version").Run() != nil {
			t.Skip("docker-compose is not installed: apt-get install docker-compose")
		}
		line, args = []string{"docker", "compose"}, append(args, "--format", "json")
	}
	cmd := exec.Command(line[0], append(line[1:], args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker-compose config: %v\n%s", err, errs.String())
	}
	var file struct {
		Services map[string]service `json:"services"`
	}
	if err := json.Unmarshal(out.Bytes(), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

// databaseKeys are the databases that a service is told of.
func (s service) databaseKeys() (keys []string) {
	for k := range s.Environment {
		if strings.HasPrefix(k, "WAYPOST_DATABASE_") {
			keys = append(keys, strings.TrimPrefix(k, "WAYPOST_DATABASE_"))
		}
	}
	slices.Sort(keys)
	return keys
}

// TestCompose holds docker-compose.yml to the separation of the programs: each
// knows its own database, and what is published is what listens.
func TestCompose(t *testing.T) {
	services := compose(t)
	conf, err := config.Load(config.Source{File: filepath.Join(root, "deployments", "waypost.toml")})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		program   string
		databases []string
		ports     []config.Address
	}{
		"directory": {"waypost-directory", []string{"DIRECTORY_URL"}, []config.Address{conf.Listen.LDAP, conf.Listen.LDAPS, conf.Listen.GC, conf.Listen.GCS}},
		"store":     {"waypost-store", []string{"MAIL_URL"}, []config.Address{conf.Listen.IMAP, conf.Listen.IMAPS}},
		"smtp":      {"waypost-smtp", []string{"QUEUE_URL"}, []config.Address{conf.Listen.SMTP, conf.Listen.Submission, conf.Listen.Submissions}},
		"frontend":  {"waypost-frontend", []string{"MAIL_URL"}, []config.Address{conf.Listen.HTTPS, conf.Listen.HTTP}},
		"init":      {"", []string{"ADMIN_URL", "DIRECTORY_URL", "MAIL_URL", "QUEUE_URL"}, nil},
		"admin":     {"", []string{"DIRECTORY_URL", "MAIL_URL", "QUEUE_URL"}, nil},
	} {
		s, ok := services[name]
		if !ok {
			t.Errorf("there is no service %s", name)
			continue
		}
		if got := path.Base(strings.Join(s.Entrypoint, " ")); want.program != "" && got != want.program {
			t.Errorf("%s runs %q, want %q", name, got, want.program)
		}
		if got := s.databaseKeys(); !slices.Equal(got, want.databases) {
			t.Errorf("%s is told of the databases %v, want %v", name, got, want.databases)
		}
		var ports []string
		for _, a := range want.ports {
			_, port, _ := net.SplitHostPort(string(a))
			ports = append(ports, port+":"+port)
		}
		if got := published(t, s.Ports); !slices.Equal(got, ports) {
			t.Errorf("%s publishes %v, but listens at %v", name, got, ports)
		}
		if volumes := fmt.Sprintf("%s", s.Volumes); !strings.Contains(volumes, "/etc/waypost/waypost.toml") || !strings.Contains(volumes, conf.Data) {
			t.Errorf("%s has not got the configuration and the data folder: %s", name, volumes)
		}
	}
	if got := services["init"].Command; !slices.Contains(got, "migrate") || !slices.Contains(got, "--roles") {
		t.Errorf("init runs %v", got)
	}
}

// published reads "25:25" and the long form alike.
func published(t *testing.T, raw []json.RawMessage) (ports []string) {
	t.Helper()
	for _, r := range raw {
		var text string
		if json.Unmarshal(r, &text) == nil {
			ports = append(ports, strings.TrimSuffix(text, "/tcp"))
			continue
		}
		var long struct {
			Target    int
			Published any
		}
		if err := json.Unmarshal(r, &long); err != nil {
			t.Fatal(err)
		}
		ports = append(ports, fmt.Sprintf("%v:%d", long.Published, long.Target))
	}
	return ports
}

// entrypoint is the image's, from the Dockerfile.
func entrypoint(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deployments", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ENTRYPOINT (\[.*\])$`).FindSubmatch(text)
	var line []string
	if m == nil || json.Unmarshal(m[1], &line) != nil {
		t.Fatal("the Dockerfile has no ENTRYPOINT")
	}
	return line
}

// TestComposeRuns starts what docker-compose.yml describes, entrypoint, command,
// environment and configuration file, as plain processes: only addresses and
// folders differ, since one machine stands for all containers.
func TestComposeRuns(t *testing.T) {
	services := compose(t)
	s := newSite(t)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var roles []string
	for _, sc := range migrations.Schemas() {
		roles = append(roles, sc.Role())
	}
	pg, err := pgcluster.Start(context.WithoutCancel(t.Context()), pgcluster.Config{Dir: filepath.Join(s.dir, "external"), Roles: roles, MaxConns: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	t.Cleanup(s.stopAll) // before the database
	admin, err := url.Parse(pg.AdminURL())
	if err != nil {
		t.Fatal(err)
	}

	s.conf = filepath.Join(filepath.Dir(s.dir), "waypost.toml")
	s.addr = s.moveIn(services)
	here := func(text string) string {
		text = strings.ReplaceAll(text, "/etc/waypost/waypost.toml", s.conf)
		text = strings.ReplaceAll(text, "/var/lib/waypost", s.dir)
		if u, err := url.Parse(text); err == nil && u.Scheme == "postgres" && u.Host == "postgres" {
			if u.User.Username() == admin.User.Username() {
				u.User = admin.User // the container makes its superuser with the password of .env
			}
			u.Host, u.RawQuery = "", admin.RawQuery
			return u.String()
		}
		return text
	}
	start := func(name string, more ...string) *proc {
		c := services[name]
		line := c.Entrypoint
		if len(line) == 0 {
			line = entrypoint(t)
		}
		var args []string
		for _, a := range append(append(line[1:len(line):len(line)], c.Command...), more...) {
			args = append(args, here(a))
		}
		s.env = []string{"WAYPOST_LISTEN_METRICS=127.0.0.1:0"} // each container has a port 2081 of its own
		for k, v := range c.Environment {
			s.env = append(s.env, k+"="+here(v))
		}
		return s.start(strings.TrimPrefix(line[0], "/usr/local/bin/"), args...)
	}

	if code := start("init").ended(t, 2*time.Minute); code != 0 {
		t.Fatalf("init: exit %d\n%s", code, s.logTail())
	}
	// It may run again, as it does at every "up".
	if code := start("init").ended(t, 2*time.Minute); code != 0 {
		t.Fatalf("init a second time: exit %d\n%s", code, s.logTail())
	}
	programs := []string{"frontend", "smtp", "store", "directory"}
	for _, name := range programs {
		if c := services[name].Depends["init"].Condition; c != "service_completed_successfully" {
			t.Errorf("%s does not wait for init: %q", name, c)
		}
		start(name)
	}
	for _, name := range programs {
		test := services[name].Healthcheck.Test
		if len(test) < 2 || test[0] != "CMD" {
			t.Errorf("%s: health check %q", name, test)
			continue
		}
		var args []string
		for _, a := range test[2:] {
			args = append(args, here(a))
		}
		eventually(t, 90*time.Second, name+" is healthy\n"+s.logTail(), func() error {
			return exec.Command(filepath.Join(s.bin, path.Base(test[1])), args...).Run()
		})
	}

	for _, line := range [][]string{
		{"domain", "add", domain},
		{"user", "add", "alice@" + domain, "--name", "Alice", "--json"},
		{"user", "add", "bob@" + domain, "--name", "Bob", "--json"},
		{"doctor", "--local"},
	} {
		if code := start("admin", line...).ended(t, time.Minute); code != 0 {
			t.Fatalf("admin %v: exit %d\n%s", line, code, s.logTail())
		}
	}
	s.useAdmin(t, services, here)
	if err := deliver(s.addr["smtp"], "x@example.net", [][]string{{"alice@" + domain}}, func(int) io.Reader {
		return strings.NewReader("Subject: through containers\r\n\r\nhello\r\n")
	}, func(int) {}); err != nil {
		t.Fatalf("%v\n%s", err, s.logTail())
	}
	c := s.imap("alice", nil)
	if box, err := c.Select("INBOX", nil).Wait(); err != nil || box.NumMessages != 1 {
		t.Errorf("the inbox: %+v, %v", box, err)
	}
	p := s.phone("bob", "compose1", "14.1")
	if err := p.provision(t.Context()); err != nil {
		t.Errorf("a phone: %v\n%s", err, s.logTail())
	}
	if err := p.folderSync(t.Context()); err != nil {
		t.Errorf("a phone: %v\n%s", err, s.logTail())
	}
}

// useAdmin sets passwords by the service admin, which reads them from its input.
func (s *site) useAdmin(t *testing.T, services map[string]service, here func(string) string) {
	t.Helper()
	s.env = nil
	for k, v := range services["admin"].Environment {
		s.env = append(s.env, k+"="+here(v))
	}
	for _, u := range []string{"alice", "bob"} {
		if out, err := s.cli(password+"\n", "user", "passwd", u+"@"+domain, "--password-stdin"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// moveIn writes deployments/waypost.toml with other ports and folders, and gives
// the addresses by door. A link to a port at which nobody listens stays as it
// is, and the test fails over it.
func (s *site) moveIn(services map[string]service) map[string]string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deployments", "waypost.toml"))
	if err != nil {
		s.t.Fatal(err)
	}
	moved, at := strings.ReplaceAll(string(text), "/var/lib/waypost", s.dir), map[string]string{}
	hosts := append(slices.Sorted(maps.Keys(services)), "0.0.0.0")
	for _, m := range regexp.MustCompile(`(?m)^(\w+) = "0\.0\.0\.0:(\d+)"$`).FindAllStringSubmatch(moved, -1) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		at[m[1]] = l.Addr().String()
		_ = l.Close()
		moved = regexp.MustCompile(`\b(`+strings.Join(hosts, "|")+`):`+m[2]+`\b`).ReplaceAllString(moved, at[m[1]])
	}
	if err := os.WriteFile(s.conf, []byte(moved), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return at
}

// TestStaticBinary: the image of docker-compose.yml has no C library.
func TestStaticBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds without cgo")
	}
	bin := filepath.Join(t.TempDir(), "waypost")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "waypost/cmd/waypost") // as make build does
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program wants a dynamic linker")
		}
	}
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("the program wants libraries: %v (%v)", libs, err)
	}
}

// TestUnits has systemd read the units, with the programs where they are here.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed: apt-get install systemd")
	}
	units, err := filepath.Glob(filepath.Join(root, "deployments", "systemd", "*.service"))
	if err != nil || len(units) != 5 {
		t.Fatalf("units: %v (%v)", units, err)
	}
	bin, dir := bins(t), t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, u := range units {
		text, err := os.ReadFile(u)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(u), ".service")
		if !strings.Contains(string(text), "StateDirectory="+name+"\n") || !strings.Contains(string(text), "--data /var/lib/"+name+" ") {
			t.Errorf("%s has no data folder of its own", name)
		}
		copied := filepath.Join(dir, filepath.Base(u))
		if err := os.WriteFile(copied, []byte(strings.ReplaceAll(string(text), "/usr/local/bin", bin)), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, copied)
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) || strings.Contains(line, "waypost") {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}

// TestProxy puts nginx with deployments/proxy/nginx.conf in front of Waypost.
func TestProxy(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("nginx is not installed: apt-get install nginx-light")
		}
	}
	s := newSite(t)
	s.anyPorts()
	s.serve()
	s.organisation("alice")

	dir := t.TempDir()
	if _, err := tlsconf.Open(tlsconf.Options{Dir: dir, Names: []string{"mail.example.org"}}); err != nil {
		t.Fatal(err)
	}
	var ports [2]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().String()
		_ = l.Close()
	}
	text, err := os.ReadFile(filepath.Join(root, "deployments", "proxy", "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	conf := string(text)
	for _, r := range [][2]string{
		{"    listen [::]:80;\n", ""},
		{"    listen [::]:443 ssl;\n", ""},
		{"listen 80;", "listen " + ports[0] + ";"},
		{"listen 443 ssl;", "listen " + ports[1] + " ssl;"},
		{"/etc/letsencrypt/live/mail.example.org/fullchain.pem", filepath.Join(dir, "cert.pem")},
		{"/etc/letsencrypt/live/mail.example.org/privkey.pem", filepath.Join(dir, "key.pem")},
		{"http://127.0.0.1:2080", "http://" + s.addr["http"]},
	} {
		if !strings.Contains(conf, r[0]) {
			t.Fatalf("nginx.conf has no %q", r[0])
		}
		conf = strings.ReplaceAll(conf, r[0], r[1])
	}
	main := filepath.Join(dir, "nginx.conf")
	head := fmt.Sprintf("daemon off;\nmaster_process off;\npid %[1]s/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path %[1]s/a;\nproxy_temp_path %[1]s/b;\nfastcgi_temp_path %[1]s/c;\nuwsgi_temp_path %[1]s/d;\nscgi_temp_path %[1]s/e;\n", dir)
	if err := os.WriteFile(main, []byte(head+conf+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(nginx, "-t", "-c", main, "-p", dir).CombinedOutput(); err != nil {
		t.Fatalf("nginx -t: %v\n%s", err, out)
	}
	proxy := exec.Command(nginx, "-c", main, "-p", dir)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Process.Kill(); _ = proxy.Wait() })

	client := &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: noVerify.Clone()},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ask := func(base, pw string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, base+"/Microsoft-Server-ActiveSync", nil)
		if err != nil {
			return nil, err
		}
		req.SetBasicAuth("alice@"+domain, pw)
		req.Host = "mail.example.org"
		req.Header.Set("X-Forwarded-For", "203.0.113.9") // the client's own word, which nobody believes
		res, err := client.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return res, err
	}
	eventually(t, 20*time.Second, "a phone through nginx", func() error {
		res, err := ask("https://"+ports[1], password)
		if err == nil && (res.StatusCode != http.StatusOK || res.Header.Get("MS-ASProtocolVersions") == "") {
			err = fmt.Errorf("%s %v", res.Status, res.Header)
		}
		return err
	})
	res, err := ask("http://"+ports[0], password)
	if err != nil || res.StatusCode != http.StatusPermanentRedirect || res.Header.Get("Location") != "https://mail.example.org/Microsoft-Server-ActiveSync" {
		t.Errorf("in clear: %v %v", res, err)
	}
	if res, err = ask("https://"+ports[1], "wrong-password"); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %v %v", res, err)
	}
	log := s.logTail()
	if strings.Contains(log, "203.0.113.9") {
		t.Errorf("an address that the client made up is in the log:\n%s", log)
	}
}
