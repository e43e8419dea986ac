// Command bench measures Waypost beside the established servers, in the same
// run on the same machine, and writes what it finds as JSON lines below
// bench/results and as a table for docs/benchmarks.md.
//
// It drives a load generator and the peers' start scripts that are not part of
// the project (-tools, by default ../shared); where they are missing it says so
// and ends without an error, and "go test -bench" remains.
//
// A figure counts only as a ratio: each comparison runs the peer and Waypost in
// turn, -rounds times, and shows the medians. Both must write durably; bench
// fails when fsync, synchronous_commit or full_page_writes is off.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(log.Ltime)
	b := &bench{prepared: map[string]bool{}}
	flag.StringVar(&b.tools, "tools", "../shared", "folder with bench/ and peers/")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each comparison runs")
	flag.StringVar(&b.only, "only", "", "comma-separated comparisons; all if empty")
	flag.IntVar(&b.entries, "entries", 480_000, "objects in the directory's comparisons")
	flag.BoolVar(&b.alone, "alone", false, "measure Waypost without the peers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		log.Fatal(err)
	}
}

const (
	password = "Passw0rd-bench" // the peers' scripts set the same for their users
	users    = 240
)

type bench struct {
	tools, only string
	rounds      int
	entries     int
	alone       bool

	dir   string            // everything temporary
	gen   string            // the load generator
	addr  map[string]string // Waypost's doors
	serve *exec.Cmd
	out   *os.File

	calendar string    // everybody's, with {user}
	radicale *exec.Cmd // nil: not started
	rows     []row

	prepared map[string]bool // by what was run
}

type row struct {
	name, unit  string
	ours, peers []float64
	cpu, pcpu   []float64 // milliseconds of the server's processor time per operation
	lower       bool      // a smaller figure is better
}

func (b *bench) run(ctx context.Context) (err error) {
	if _, err := os.Stat(filepath.Join(b.tools, "bench", "main.go")); err != nil {
		fmt.Printf("bench: skipped: no load generator below %s (-tools names its folder); go test -bench . ./store/postgres ./services/imap measures the parts\n", b.tools)
		return nil
	}
	if b.dir, err = os.MkdirTemp("", "waypost-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	b.gen = filepath.Join(b.dir, "gen")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.gen, ".")
	build.Dir = filepath.Join(b.tools, "bench")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the load generator: %w", err)
	}
	if err := os.MkdirAll("bench/results", 0o755); err != nil {
		return err
	}
	if b.out, err = os.Create(filepath.Join("bench", "results", time.Now().UTC().Format("2006-01-02T150405")+".jsonl")); err != nil {
		return err
	}
	defer b.out.Close()
	b.wipePeers()
	for _, site := range []struct {
		fill func(context.Context) error
		list []comparison
	}{
		{b.addUsers, comparisons()},
		{b.makeGroupware, b.groupwareComparisons()},
		{b.fillDirectory, b.directoryComparisons()},
	} {
		list := slices.DeleteFunc(site.list, func(c comparison) bool {
			return b.only != "" && !slices.Contains(strings.Split(b.only, ","), c.name)
		})
		if err := b.runSite(ctx, site.fill, list); err != nil {
			return err
		}
	}
	b.table()
	return nil
}

// runSite runs comparisons against an installation of their own.
func (b *bench) runSite(ctx context.Context, fill func(context.Context) error, list []comparison) error {
	if len(list) == 0 {
		return nil
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	defer b.stop()
	if err := b.durable(ctx); err != nil {
		return err
	}
	if err := fill(ctx); err != nil {
		return err
	}
	for _, c := range list {
		if err := b.compare(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// start brings Waypost up with its users.
func (b *bench) start(ctx context.Context) error {
	if err := b.restart(ctx); err != nil {
		return err
	}
	return b.waypost(ctx, nil, "domain", "add", "example.test")
}

// restart starts the server, and stops it first if it runs.
func (b *bench) restart(ctx context.Context) error {
	if b.serve != nil {
		b.end()
	}
	data := filepath.Join(b.dir, "data")
	b.serve = exec.CommandContext(ctx, "bin/waypost", "serve", "--data", data)
	b.serve.Cancel = func() error { return b.serve.Process.Signal(os.Interrupt) }
	b.serve.Env = os.Environ()
	for _, door := range []string{"SMTP", "SUBMISSION", "SUBMISSIONS", "LMTP", "IMAP", "IMAPS", "POP3", "POP3S", "LDAP", "LDAPS", "GC", "GCS", "HTTP", "HTTPS", "METRICS"} {
		b.serve.Env = append(b.serve.Env, "WAYPOST_LISTEN_"+door+"=127.0.0.1:0")
	}
	logFile, err := os.Create(filepath.Join(b.dir, "serve.log"))
	if err != nil {
		return err
	}
	b.serve.Stdout, b.serve.Stderr = logFile, logFile
	if err := b.serve.Start(); err != nil {
		return err
	}
	if err := b.waypost(ctx, nil, "ready", "--wait", "120s"); err != nil {
		tail, _ := os.ReadFile(logFile.Name())
		return fmt.Errorf("%w\n%s", err, tail[max(0, len(tail)-4000):])
	}
	raw, err := os.ReadFile(filepath.Join(data, "run", "addresses.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, &b.addr)
}

// addUsers makes the users of the mail comparisons.
func (b *bench) addUsers(ctx context.Context) error {
	var csv bytes.Buffer
	csv.WriteString("address,name,password\n")
	for i := 1; i <= users; i++ {
		fmt.Fprintf(&csv, "u%04d@example.test,User %d,%s\n", i, i, password)
	}
	file := filepath.Join(b.dir, "users.csv")
	if err := os.WriteFile(file, csv.Bytes(), 0o600); err != nil {
		return err
	}
	log.Printf("adding %d users", users)
	return b.waypost(ctx, nil, "user", "import", file)
}

func (b *bench) end() {
	_ = b.serve.Process.Signal(os.Interrupt)
	_ = b.serve.Wait()
	b.serve = nil
}

func (b *bench) stop() {
	b.end()
	if b.radicale != nil {
		_ = b.radicale.Process.Kill()
		_ = b.radicale.Wait()
		b.radicale = nil
	}
	_ = os.RemoveAll(filepath.Join(b.dir, "data"))
	b.wipePeers()
}

// wipePeers stops the peers and removes their mail, so that both sides begin
// with empty mailboxes.
func (b *bench) wipePeers() {
	if b.alone {
		return
	}
	for _, p := range []string{"sogo", "postfix", "dovecot", "slapd"} {
		if out, err := exec.Command(filepath.Join(b.tools, "peers", p), "wipe").CombinedOutput(); err != nil {
			log.Printf("wiping %s: %v: %s", p, err, out)
		}
	}
}

// waypost runs the command line against the server; into, if not nil, takes its JSON.
func (b *bench) waypost(ctx context.Context, into any, args ...string) error {
	out, err := b.command(ctx, "", args)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(out, into)
}

// waypostIn runs the command line with a line on its standard input.
func (b *bench) waypostIn(ctx context.Context, line string, args ...string) error {
	_, err := b.command(ctx, line+"\n", args)
	return err
}

func (b *bench) command(ctx context.Context, stdin string, args []string) ([]byte, error) {
	args = append(args, "--data", filepath.Join(b.dir, "data"), "--json")
	cmd := exec.CommandContext(ctx, "bin/waypost", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("waypost %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// durable refuses to measure a server that does not wait for the disk.
func (b *bench) durable(ctx context.Context) error {
	var d struct {
		Database map[string]string `json:"database"`
	}
	if err := b.waypost(ctx, &d, "doctor", "--local"); err != nil {
		return err
	}
	for _, k := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if d.Database[k] != "on" {
			return fmt.Errorf("%s is %q: such figures would not be honest", k, d.Database[k])
		}
	}
	return b.record(map[string]any{"durability": d.Database})
}

func (b *bench) record(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = b.out.Write(append(line, '\n'))
	return err
}

// peerUp starts a peer unless it is up.
func (b *bench) peerUp(ctx context.Context, name string) error {
	if name == "radicale" {
		return b.radicaleUp(ctx)
	}
	up := exec.CommandContext(ctx, filepath.Join(b.tools, "peers", name), "up")
	up.Env = append(os.Environ(), fmt.Sprintf("LDAP_ENTRIES=%d", b.entries))
	up.Stderr = os.Stderr
	if err := up.Run(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	return nil
}

// compare runs one comparison: the peer and Waypost in turn.
func (b *bench) compare(ctx context.Context, c comparison) error {
	r := make([]row, len(c.figures))
	for i, f := range c.figures {
		r[i] = row{name: f.name, unit: f.unit, lower: f.lower}
	}
	if c.peer != "" && !b.alone {
		if err := b.peerUp(ctx, c.peer); err != nil {
			return err
		}
	}
	sides := []side{ourSide(b.addr)}
	if c.peer != "" && !b.alone {
		sides = []side{peerSide, sides[0]}
	}
	rounds := b.rounds
	if c.rounds != 0 {
		rounds = min(rounds, c.rounds)
	}
	for _, s := range sides {
		if c.prepare == nil {
			continue
		}
		args := c.prepare(s)
		key := strings.Join(args, " ")
		if b.prepared[key] {
			continue
		}
		b.prepared[key] = true
		log.Printf("%s: preparing", c.name)
		if _, err := b.load(ctx, comparison{name: c.name + " prepare"}, args, nil); err != nil {
			return fmt.Errorf("preparing: %w", err)
		}
	}
	for round := range rounds {
		for _, s := range sides {
			var env []string
			if c.env != nil {
				env = c.env(s)
			}
			if c.before != nil {
				if err := c.before(s); err != nil {
					return fmt.Errorf("round %d: %w", round+1, err)
				}
			}
			res, err := b.load(ctx, c, c.args(s, round), env)
			if err != nil {
				return fmt.Errorf("round %d: %w", round+1, err)
			}
			for i, f := range c.figures {
				v, ok := f.pick(res)
				switch {
				case !ok:
				case s.peer:
					r[i].peers, r[i].pcpu = append(r[i].peers, v), append(r[i].pcpu, cpu(res))
				default:
					r[i].ours, r[i].cpu = append(r[i].ours, v), append(r[i].cpu, cpu(res))
				}
			}
		}
	}
	b.rows = append(b.rows, r...)
	for _, x := range r {
		log.Printf("%-46s waypost %10.1f %s   peer %10.1f", x.name, median(x.ours), x.unit, median(x.peers))
	}
	return nil
}

// load runs the load generator, or a script beside it, once.
func (b *bench) load(ctx context.Context, c comparison, args, env []string) (map[string]any, error) {
	name := b.gen
	if c.script != "" {
		name = filepath.Join(b.tools, "bench", c.script)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	before := machineCPU()
	err := cmd.Run()
	after := machineCPU()
	res := map[string]any{}
	if jerr := json.Unmarshal(out.Bytes(), &res); jerr != nil {
		return nil, errors.Join(err, fmt.Errorf("%s: %s", jerr, errs.String()))
	}
	if _, ok := res["machine_cpu_s"]; !ok {
		own := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		res["machine_cpu_s"], res["client_cpu_s"] = after-before, own.Seconds()
	}
	if rerr := b.record(map[string]any{"comparison": c.name, "args": strings.Join(args, " "), "result": res}); rerr != nil {
		return nil, rerr
	}
	if err != nil && !c.mayFail {
		return nil, fmt.Errorf("%w: %s %.600s", err, errs.String(), out.String())
	}
	return res, nil
}

// cpu is the server's processor time per operation in milliseconds: what the
// machine used less what the generator did.
func cpu(res map[string]any) float64 {
	m, _ := res["machine_cpu_s"].(float64)
	c, _ := res["client_cpu_s"].(float64)
	ops, _ := res["ops"].(float64)
	if ops == 0 {
		return 0
	}
	return 1000 * (m - c) / ops
}

// machineCPU is the processor time in seconds that all of the machine used.
func machineCPU() float64 {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	total := 0.0
	for i, f := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // idle and waiting do not count
			continue
		}
		n, _ := strconv.ParseFloat(f, 64)
		total += n
	}
	return total / 100
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// table prints the medians as Markdown.
func (b *bench) table() {
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	fmt.Fprintln(w, "\n| what | Waypost | peer | ratio | server CPU, Waypost | peer |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|")
	for _, r := range b.rows {
		o, p := median(r.ours), median(r.peers)
		peer, ratio := "-", "-"
		if p != 0 && o != 0 {
			peer = fmt.Sprintf("%.4g %s", p, r.unit)
			if r.lower {
				ratio = fmt.Sprintf("%.3g x", p/o)
			} else {
				ratio = fmt.Sprintf("%.3g x", o/p)
			}
		}
		ms := func(v []float64) string {
			if m := median(v); m != 0 {
				return fmt.Sprintf("%.3g ms", m)
			}
			return "-"
		}
		fmt.Fprintf(w, "| %s | %.4g %s | %s | %s | %s | %s |\n", r.name, o, r.unit, peer, ratio, ms(r.cpu), ms(r.pcpu))
		_ = b.record(map[string]any{"median": r.name, "unit": r.unit, "waypost": o, "peer": p, "waypost_all": r.ours, "peer_all": r.peers})
	}
}
