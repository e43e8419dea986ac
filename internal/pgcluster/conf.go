package pgcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"waypost/internal/fault"
)

const passwordFile = "password.new" // for initdb, as long as it runs

// binaries chooses the server: the newest for a new cluster, and for an old
// one that of its own version.
func (c *Cluster) binaries(ctx context.Context) (Binaries, error) {
	text, err := os.ReadFile(filepath.Join(c.home, dataDir, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return Find(ctx)
	}
	if err != nil {
		return Binaries{}, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return Binaries{}, fmt.Errorf("PG_VERSION says %q", text)
	}
	newest, err := Find(ctx)
	if err != nil || newest.Major == major {
		return newest, err
	}
	if b, err := FindMajor(ctx, major); err == nil {
		return b, nil
	}
	return Binaries{}, fault.New(fault.Unavailable, "%s", c.upgrade(major, newest))
}

// upgrade says what to do with a cluster of another major version.
func (c *Cluster) upgrade(from int, to Binaries) string {
	old, fresh := filepath.Join(c.home, dataDir), filepath.Join(c.home, dataDir+"-"+strconv.Itoa(to.Major))
	as := ""
	if c.acc.other {
		as = "runuser -u " + c.acc.Name + " -- "
	}
	return fmt.Sprintf("the data folder %[1]s was made by PostgreSQL %[2]d, but PostgreSQL %[3]d is installed. "+
		"Install version %[2]d (apt-get install postgresql-%[2]d), or upgrade with both installed:\n"+
		"  cd %[7]s && %[6]s%[5]s -D %[4]s -U %[8]s --encoding=UTF8 --locale=C --data-checksums\n"+
		"  %[6]s%[9]s -U %[8]s -b /usr/lib/postgresql/%[2]d/bin -B %[10]s -d %[1]s -D %[4]s\n"+
		"  mv %[1]s %[1]s.old && mv %[4]s %[1]s",
		old, from, to.Major, fresh, to.Path("initdb"), as, c.home, superuser, to.Path("pg_upgrade"), to.Dir)
}

// init makes the cluster unless it exists, and writes its settings. The folder
// gets its name when it is complete: a killed initdb leaves nothing to repair.
func (c *Cluster) init(ctx context.Context) error {
	data := filepath.Join(c.home, dataDir)
	_ = os.Remove(filepath.Join(c.home, passwordFile)) // of a killed initdb
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := c.initdb(ctx, data); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"postgresql.conf": c.conf(ctx, data),
		"pg_hba.conf":     c.hba(),
	} {
		if err := writeFile(filepath.Join(data, name), text, 0o600, &c.acc); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) initdb(ctx context.Context, data string) error {
	if entries, err := os.ReadDir(data); err == nil && len(entries) > 0 {
		return fault.New(fault.Invalid, "%s is neither a cluster nor empty", data)
	}
	fresh, password := data+".new", filepath.Join(c.home, passwordFile)
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := writeFile(password, c.Password(superuser)+"\n", 0o600, &c.acc); err != nil {
		return err
	}
	defer os.Remove(password)
	cmd := exec.CommandContext(ctx, c.bin.Path("initdb"), "-D", fresh, "-U", superuser,
		"--pwfile="+password, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
		"--data-checksums", "--no-instructions")
	c.acc.Apply(cmd)
	c.log.InfoContext(ctx, "making the database cluster")
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(fresh)
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	_ = os.Remove(data) // empty, if it exists
	if err := os.Rename(fresh, data); err != nil {
		return err
	}
	return syncDir(c.home)
}

// hba lets in the superuser and the roles, with their passwords, through the
// socket. There is no other line, so nobody else.
func (c *Cluster) hba() string {
	text := "# Written by waypost at every start.\n" +
		"local all " + superuser + " scram-sha-256\n" +
		"local replication " + superuser + " scram-sha-256\n" // pg_basebackup
	for _, role := range c.cfg.Roles {
		text += "local " + database + " " + strconv.Quote(role) + " scram-sha-256\n"
	}
	return text
}

func (c *Cluster) conf(ctx context.Context, data string) string {
	memory := memoryMiB()
	conns := c.cfg.MaxConns
	if conns <= 0 {
		conns = 64
	}
	var b strings.Builder
	b.WriteString("# Written by waypost at every start; put your own settings into custom.conf.\n")
	set := func(name string, value any) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(fmt.Sprint(value), "'", "''"))
	}
	set("listen_addresses", "")
	set("unix_socket_directories", strings.ReplaceAll(c.socket, ",", `\,`))
	set("unix_socket_permissions", "0700")
	set("max_connections", conns)
	set("password_encryption", "scram-sha-256")
	set("shared_buffers", fmt.Sprintf("%dMB", min(max(memory/8, 64), 1024)))
	set("effective_cache_size", fmt.Sprintf("%dMB", max(memory/2, 256)))
	set("maintenance_work_mem", "64MB")
	set("wal_compression", c.walCompression(ctx, data))
	set("max_wal_size", "2GB")
	set("checkpoint_timeout", "15min")
	set("random_page_cost", "1.1")
	set("jit", "off")
	// Mailbox counters are rows that are updated all the time.
	set("autovacuum_vacuum_scale_factor", "0.05")
	set("autovacuum_analyze_scale_factor", "0.05")
	set("autovacuum_naptime", "20s")
	set("timezone", "UTC")
	set("log_timezone", "UTC")
	set("lc_messages", "C")
	// LOG, FATAL and PANIC. An ERROR is an answer to its client, who logs it;
	// here its text could tell addresses and passwords.
	set("log_min_messages", "log")
	set("log_min_error_statement", "panic")
	set("log_line_prefix", "")
	b.WriteString("include_if_exists 'custom.conf'\n")
	b.WriteString("# Not for discussion: an accepted message is on disk. (The command line says it too.)\n")
	set("fsync", "on")
	set("synchronous_commit", "on")
	set("full_page_writes", "on")
	return b.String()
}

// walCompression is lz4 where the server was built with it: pglz costs several
// times the processor time for page images.
func (c *Cluster) walCompression(ctx context.Context, data string) string {
	cmd := exec.CommandContext(ctx, c.bin.Path("postgres"), "-D", data, "-C", "wal_compression", "-c", "wal_compression=lz4")
	c.acc.Apply(cmd)
	if cmd.Run() == nil {
		return "lz4"
	}
	return "on"
}

func memoryMiB() int {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 1024
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int
		if _, err := fmt.Sscanf(s.Text(), "MemTotal: %d kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 1024
}
