package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What the peer's script makes too: one object in a hundred is a group.
const (
	groupMembers = 100
	bigGroup     = 5000 // members of one group in a thousand
	binders      = 100  // people with a password
	base         = "dc=example,dc=test"
)

// directoryComparisons are those of the directory with b.entries objects.
func (b *bench) directoryComparisons() []comparison {
	people := b.entries - b.entries/100
	ldap := func(name, what string, peer, ours []string, args ...string) comparison {
		return comparison{
			name: name, peer: "slapd", figures: []figure{{name: "LDAP: " + what, unit: "/s", pick: at("ops_per_s")}},
			// The first sign-in of each costs what a password hash must cost.
			prepare: func(s side) []string {
				return []string{"ldap", "-addr", s.ldap, "-mode", "bind", "-users", fmt.Sprintf("1-%d", binders), "-conns", "4", "-count", strconv.Itoa(8 * binders)}
			},
			args: func(s side, _ int) []string {
				to := append([]string{"ldap", "-addr", s.ldap, "-users", fmt.Sprintf("1-%d", people), "-conns", "8", "-duration", "4s"}, args...)
				if s.peer {
					return append(to, peer...)
				}
				return append(append(to, "-admin-dn", "admin@example.test"), ours...)
			},
		}
	}
	paged := ldap("ldap-paged", "", nil, nil,
		"-mode", "paged", "-filter", "(objectClass=inetOrgPerson)", "-attrs", "cn,mail", "-conns", "1", "-duration", "0s", "-count", "1", "-expect-entries", strconv.Itoa(people))
	paged.figures = []figure{{name: "LDAP: all people in pages of 1,000, two attributes", unit: "ms", lower: true, pick: at("by_op", "paged", "p50_ms")}}
	return []comparison{
		ldap("ldap-mail", "equality search by mail, all attributes, 8 connections", nil, nil, "-mode", "search"),
		ldap("ldap-account", "equality search by account name", []string{"-filter", "(uid={uid})"}, []string{"-filter", "(sAMAccountName={uid})"}, "-mode", "search"),
		ldap("ldap-substring", "substring search, (cn=* NUMBER)", nil, nil, "-mode", "search", "-filter", "(cn=* {n})"),
		ldap("ldap-anr", "ambiguous name, as a person types (slapd: mail or cn or sn, all indexed)",
			[]string{"-filter", "(|(mail={mail})(cn={mail}*)(sn={mail}))"}, []string{"-filter", "(anr={mail})"}, "-mode", "search"),
		ldap("ldap-bind", "repeated bind, kept connections", nil, nil, "-mode", "bind", "-users", fmt.Sprintf("1-%d", binders)),
		ldap("ldap-add", "durable add, find, delete; 4 connections", nil, nil, "-mode", "add", "-conns", "4", "-container", "ou=people,"+base),
		paged,
	}
}

// fillDirectory loads the objects that the peer's script makes, and measures
// that and a start with them.
func (b *bench) fillDirectory(ctx context.Context) error {
	file := filepath.Join(b.dir, "directory.ldif")
	if err := writeDirectory(file, b.entries); err != nil {
		return err
	}
	log.Printf("loading %d objects", b.entries)
	begun := time.Now()
	if err := b.waypost(ctx, nil, "directory", "import", file); err != nil {
		return err
	}
	load := row{name: fmt.Sprintf("LDAP: loading %d objects", b.entries), unit: "s", lower: true, ours: []float64{time.Since(begun).Seconds()}}
	if !b.alone {
		if err := b.peerUp(ctx, "slapd"); err != nil {
			return err
		}
		if s, ok := b.slapdLoaded(); ok {
			load.peers = []float64{s}
		}
	}
	log.Printf("loaded in %.1f s", load.ours[0])
	if err := b.waypostIn(ctx, password, "user", "add", "admin@example.test", "--name", "Admin", "--admin", "--password-stdin"); err != nil {
		return err
	}
	for i := 1; i <= binders; i++ {
		if err := b.waypostIn(ctx, password, "user", "passwd", fmt.Sprintf("u%04d@example.test", i), "--password-stdin"); err != nil {
			return err
		}
	}
	begun = time.Now()
	if err := b.restart(ctx); err != nil {
		return err
	}
	b.rows = append(b.rows, load,
		row{name: "start with them to the first answer, the database included", unit: "s", lower: true, ours: []float64{time.Since(begun).Seconds()}},
		row{name: "resident memory of the process then", unit: "MiB", lower: true, ours: []float64{b.rss()}})
	return nil
}

// rss is the resident memory of the server process in MiB.
func (b *bench) rss() float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.serve.Process.Pid))
	if err != nil {
		return 0
	}
	m := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`).FindSubmatch(raw)
	if m == nil {
		return 0
	}
	kb, _ := strconv.ParseFloat(string(m[1]), 64)
	return kb / 1024
}

var loadSeconds = regexp.MustCompile(`load_seconds=([0-9.]+)`)

// slapdLoaded is how long the peer's last load took, as its script says.
func (b *bench) slapdLoaded() (float64, bool) {
	out, err := exec.Command(filepath.Join(b.tools, "peers", "slapd"), "status").Output()
	m := loadSeconds.FindSubmatch(out)
	if err != nil || m == nil {
		return 0, false
	}
	s, err := strconv.ParseFloat(string(m[1]), 64)
	return s, err == nil
}

var (
	given  = strings.Fields("Anna Ben Carla David Eva Felix Greta Hugo Ines Jan Karin Luis Maria Nils Olga Paul Rosa Stefan Tina Uwe Vera Walter Xenia Yusuf Zoe Amir Bianca Cyril Dora Emil")
	family = strings.Fields("Abel Berg Costa Dietz Ebert Fuchs Gruber Haas Ivanov Jensen Keller Lange Meyer Novak Otto Peters Quast Richter Sommer Thaler Ulrich Vogel Weber Xu Yilmaz Zimmer Adler Brandt Conrad Dahl")
)

// writeDirectory writes LDIF of the same shape as the peer's: people with the
// same attributes and an account name, and groups of them.
func writeDirectory(file string, n int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	r := rand.New(rand.NewPCG(20261122, 1))
	for _, ou := range []string{"people", "groups"} {
		fmt.Fprintf(w, "dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n", ou, base, ou)
	}
	groups := n / 100
	people := n - groups
	for i := 1; i <= people; i++ {
		g, s := given[r.IntN(len(given))], family[r.IntN(len(family))]
		fmt.Fprintf(w, "dn: uid=u%04d,ou=people,%s\nobjectClass: inetOrgPerson\nuid: u%04d\nsAMAccountName: u%04d\ncn: %s %s %d\nsn: %s\ngivenName: %s\n"+
			"displayName: %s, %s\nmail: u%04d@example.test\ntelephoneNumber: +41 31 %07d\ntitle: Engineer\nou: Sales\nl: Bern\nemployeeNumber: %d\n\n",
			i, base, i, i, g, s, i, s, g, s, g, i, i, i)
	}
	for g := 1; g <= groups; g++ {
		fmt.Fprintf(w, "dn: cn=g%05d,ou=groups,%s\nobjectClass: group\nsAMAccountName: g%05d\ndescription: Group %d\n", g, base, g, g)
		m := groupMembers
		if g%1000 == 1 && people >= bigGroup {
			m = bigGroup
		}
		m = min(m, people)
		first := r.IntN(people - m + 1)
		for k := 1; k <= m; k++ {
			fmt.Fprintf(w, "member: uid=u%04d,ou=people,%s\n", first+k, base)
		}
		w.WriteByte('\n')
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
