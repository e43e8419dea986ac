package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// comparison is one kind of load, for the peer and for Waypost alike.
type comparison struct {
	name    string
	peer    string // the peer's start script; "" if Waypost is measured alone
	script  string // instead of the load generator
	mayFail bool   // the script's exit status says nothing
	rounds  int    // at most this many; 0: as asked for
	figures []figure

	// prepare, if not nil, runs once on each side before the first round.
	prepare func(s side) []string
	// before, if not nil, runs before each round.
	before func(s side) error
	args   func(s side, round int) []string
	env    func(s side) []string
}

// side is one of the two servers that are compared.
type side struct {
	smtp, imap, ldap, http, eas string // host:port, and the URL of ActiveSync
	peer                        bool
}

// figure is one number of a result.
type figure struct {
	name, unit string
	lower      bool // a smaller figure is better
	pick       func(map[string]any) (float64, bool)
}

// at picks a number by its path in the result.
func at(path ...string) func(map[string]any) (float64, bool) {
	return func(m map[string]any) (float64, bool) {
		for _, p := range path[:len(path)-1] {
			next, ok := m[p].(map[string]any)
			if !ok {
				return 0, false
			}
			m = next
		}
		v, ok := m[path[len(path)-1]].(float64)
		return v, ok
	}
}

// peerSide is where the peers' scripts make them listen.
var peerSide = side{smtp: "127.0.0.1:10025", imap: "127.0.0.1:10143", ldap: "127.0.0.1:10389", eas: "http://127.0.0.1:10080/Microsoft-Server-ActiveSync", peer: true}

func ourSide(a map[string]string) side {
	return side{smtp: a["smtp"], imap: a["imap"], ldap: a["ldap"], http: a["http"], eas: "https://" + a["https"] + "/Microsoft-Server-ActiveSync"}
}

func comparisons() []comparison {
	// imap is a comparison of the generator's imap modes against Dovecot.
	imap := func(name string, figures []figure, args ...string) comparison {
		return comparison{
			name: name, peer: "dovecot", figures: figures,
			prepare: func(s side) []string {
				return []string{"imap", "-addr", s.imap, "-mode", "fill", "-users", "111-112", "-fill", "10000", "-conns", "4"}
			},
			args: func(s side, _ int) []string { return append([]string{"imap", "-addr", s.imap}, args...) },
		}
	}
	eas := func(name string, rounds int, figures []figure, args ...string) comparison {
		args = append(args, "--user-format", "u%04d@example.test", "--first", "1", "--count", "8", "--devices", "8")
		return comparison{
			name: name, peer: "sogo", script: "eas/load.py", rounds: rounds, figures: figures, mayFail: true,
			args: func(side, int) []string { return args },
			env: func(s side) []string {
				env := []string{"EAS_URL=" + s.eas, "EAS_INSECURE_TLS=1", "EAS_PASSWORD=" + password, "IMAP_ADDR=" + s.imap, "SMTP_ADDR=" + s.smtp}
				return env
			},
			// SOGo makes its keys from HIGHESTMODSEQ, which Dovecot keeps only
			// for mailboxes that somebody once opened so.
			before: func(s side) error {
				if !s.peer {
					return nil
				}
				for i := 1; i <= 8; i++ {
					if err := openCondstore(s.imap, fmt.Sprintf("u%04d@example.test", i)); err != nil {
						return err
					}
				}
				return nil
			},
		}
	}
	return []comparison{
		{
			name: "smtp", peer: "postfix",
			figures: []figure{
				{name: "SMTP, 10 KiB, 8 connections: visible over IMAP", unit: "/s", pick: at("extra", "e2e_per_s")},
				{name: "SMTP, 10 KiB, 8 connections: accepted", unit: "/s", pick: at("ops_per_s")},
			},
			args: func(s side, _ int) []string {
				return []string{"smtp", "-addr", s.smtp, "-users", "1-100", "-count", "2000", "-conns", "8", "-sizes", "10k", "-verify-imap", s.imap, "-empty-first"}
			},
		},
		{
			name: "append", peer: "dovecot",
			figures: []figure{{name: "APPEND, 10 KiB, 4 mailboxes", unit: "/s", pick: at("ops_per_s")}},
			args: func(s side, round int) []string {
				return []string{"imap", "-addr", s.imap, "-mode", "fill", "-users", "115-118", "-fill", fmt.Sprint(500 * (round + 1)), "-conns", "4"}
			},
		},
		imap("list", []figure{
			{name: "UID FETCH 1:* (FLAGS ENVELOPE), 10,000 messages, one at a time", unit: "ms", lower: true, pick: at("by_op", "list", "p50_ms")},
		}, "-mode", "mix", "-mix", "list:1", "-users", "111-111", "-conns", "1", "-count", "20", "-ops-per-login", "0"),
		imap("body", []figure{{name: "UID FETCH BODY.PEEK[], warm, 4 connections", unit: "/s", pick: at("ops_per_s")}},
			"-mode", "mix", "-mix", "body:1", "-users", "111-112", "-conns", "4", "-duration", "5s", "-ops-per-login", "0"),
		imap("mix", []figure{
			{name: "a mail program's mix, 10,000 messages, 4 connections", unit: "/s", pick: at("ops_per_s")},
			{name: "SELECT of 10,000", unit: "ms", lower: true, pick: at("by_op", "select", "p50_ms")},
			{name: "STORE of one flag", unit: "ms", lower: true, pick: at("by_op", "store", "p50_ms")},
			{name: "SEARCH by Message-ID or subject", unit: "ms", lower: true, pick: at("by_op", "search", "p50_ms")},
			{name: "connect and LOGIN", unit: "ms", lower: true, pick: at("by_op", "connect+login", "p50_ms")},
		}, "-mode", "mix", "-users", "111-112", "-conns", "4", "-duration", "8s"),
		{
			name: "idle", peer: "postfix",
			figures: []figure{{name: "push: accepted by SMTP to EXISTS on IDLE", unit: "ms", lower: true, pick: at("by_op", "push_after_accept", "p50_ms")}},
			args: func(s side, _ int) []string {
				return []string{"imap", "-addr", s.imap, "-mode", "idle", "-users", "121-220", "-conns", "100", "-senders", "4", "-count", "60", "-via", "smtp", "-via-addr", s.smtp}
			},
		},
		eas("eas-initial", 0, []figure{
			{name: "ActiveSync, initial sync of 1,000 messages, 8 phones", unit: "messages/s", pick: at("setup", "messages_per_s")},
		}, "initial", "--messages", "1000", "--window", "100"),
		eas("eas-incremental", 0, []figure{
			{name: "ActiveSync, a sync that shows one new message: rate", unit: "/s", pick: at("operations", "Sync shows one new message", "ops_per_s")},
			{name: "ActiveSync, a sync that shows one new message: time", unit: "ms", lower: true, pick: at("operations", "Sync", "p50_ms")},
		}, "incremental", "--rounds", "5"),
		eas("eas-ping", 3, []figure{
			{name: "push: accepted by SMTP to the answer of Ping", unit: "ms", lower: true, pick: at("operations", "delivery to Ping", "p50_ms")},
		}, "ping", "--rounds", "1", "--heartbeat", "60"),
	}
}

// openCondstore opens a user's INBOX over IMAP with CONDSTORE (RFC 7162).
func openCondstore(addr, user string) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	for i, cmd := range []string{"LOGIN " + user + " " + password, "SELECT INBOX (CONDSTORE)", "LOGOUT"} {
		tag := fmt.Sprintf("a%d ", i)
		if _, err := c.Write([]byte(tag + cmd + "\r\n")); err != nil {
			return err
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if answer, ok := strings.CutPrefix(line, tag); ok {
				if !strings.HasPrefix(answer, "OK") {
					return fmt.Errorf("%s: %s", strings.Fields(cmd)[0], answer)
				}
				break
			}
		}
	}
	return nil
}
